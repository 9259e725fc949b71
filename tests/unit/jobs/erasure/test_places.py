"""What a recording is called elsewhere than in its id goes with it, and what others are called stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from jobs.tables.ledger import ledgers
from tests.support.audio import encoded, tone
from tests.support.containers import tarred
from tests.support.nightly_runs import DIM, Recording, night
from tests.unit.jobs.erasure.outputs import rows
from tests.unit.jobs.erasure.test_histories import files, holds

Run = Callable[..., tuple[int, str, str]]


def embed(bonafide: Run, archive: Path, output: Path, *, given: str | None = None) -> None:
    where = archive if given is None else archive / "list.csv"
    if given is not None:
        where.write_text(given)
    code, _, err = bonafide(
        "embed", "--input", where, "--backbone", "melstats", "--runner", "local", "--output", output
    )
    assert code == 0, err


def archive_of(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for number, name in enumerate(names, start=1):
        (folder / name).write_bytes(encoded(tone(0.5 * number)))
    return folder


def test_a_recording_that_is_called_like_its_folder_leaves_the_rule_of_ids_as_it_is(
    tmp_path: Path, bonafide: Run
) -> None:
    archive = archive_of(tmp_path / "arch.2026", "0first call.flac", "arch.2026", "zother.flac")
    output = tmp_path / "tables"
    embed(bonafide, archive, output)

    assert bonafide("erase", "arch.2026", "--output", output)[0] == 0

    (table,) = ledgers(str(output))
    assert table.first_plan().detail["id_roots"] == [f"{archive}/"]
    (record,) = (output / "runs").glob("*.json")
    assert f'"{archive}"' in record.read_text()
    assert f'"output": "{output}"' in record.read_text()
    assert bonafide("erase", "0first call.flac", "--output", output)[0] == 0
    assert [path for path in files(output) if holds(path, "0first call.flac")] == []


def test_a_recording_that_is_called_like_its_output_leaves_the_record_as_it_is(tmp_path: Path, bonafide: Run) -> None:
    archive, output = archive_of(tmp_path / "audio", "o.2026", "b.flac"), tmp_path / "o.2026"
    embed(bonafide, archive, output)

    assert bonafide("erase", "o.2026", "--output", output)[0] == 0

    (record,) = (output / "runs").glob("*.json")
    assert f'"output": "{output}"' in record.read_text()


@pytest.mark.parametrize("stop", [None, 1, 2, 3])
def test_the_file_of_an_id_that_a_list_gave_is_erased_with_it(
    tmp_path: Path, bonafide: Run, monkeypatch: pytest.MonkeyPatch, stop: int | None
) -> None:
    archive, output = archive_of(tmp_path / "audio", "alice-smith.flac", "bob.flac"), tmp_path / "tables"
    embed(bonafide, archive, output, given="uri,utterance_id\nalice-smith.flac,rec-1\nbob.flac,rec-2\n")
    assert [path for path in files(output) if holds(path, "alice-smith.flac")]
    if stop is not None:
        stop_after(stop, monkeypatch, lambda: bonafide("erase", "rec-1", "--output", output))

    code, _, err = bonafide("erase", "rec-1", "--output", output)

    assert code == 0, err
    assert [path for path in files(output) if holds(path, "alice-smith.flac")] == []
    assert list(rows(str(output), "embeddings")) == ["rec-2"]
    assert bonafide("verify", output)[0] == 0


@pytest.mark.parametrize("stop", [None, 1, 2, 3])
def test_the_file_is_erased_from_an_output_of_scores_alone(
    tmp_path: Path, bonafide: Run, monkeypatch: pytest.MonkeyPatch, stop: int | None
) -> None:
    output = str(tmp_path / "tables")
    places = {"alice-smith.flac": "rec-1", "bob.flac": "rec-2", "carol.flac": "rec-3"}
    calls = [
        Listed(f"s3://archive/{name}", None, np.zeros(DIM, np.float32), given=each) for name, each in places.items()
    ]
    night(output, {"s3://archive/alice-smith.flac and 2 more": calls}, pages=False)
    leave_scores_alone(Path(output))
    if stop is not None:
        stop_after(stop, monkeypatch, lambda: bonafide("erase", "rec-1", "--output", output))

    code, _, err = bonafide("erase", "rec-1", "--output", output)

    assert code == 0, err
    assert [path for path in files(Path(output)) if holds(path, "alice-smith.flac")] == []
    assert sorted(rows(output, "scores")) == ["rec-2", "rec-3"]


def leave_scores_alone(output: Path) -> None:
    """Take the embeddings out of an output, as a user does who keeps them elsewhere."""
    for folder in ("_plans", "_commits"):
        for path in (output / folder).glob("embeddings-*"):
            shutil.rmtree(path)
    shutil.rmtree(output / "embeddings")
    shutil.rmtree(output / "failures", ignore_errors=True)


@dataclass
class Listed(Recording):
    """A recording whose id a list gave."""

    given: str = ""

    @property
    def utterance_id(self) -> str:
        return self.given


def stop_after(n: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], tuple[int, str, str]]) -> None:
    """Interrupt an erasure after some writes."""
    from jobs import storage

    put, done = storage.put, 0

    def dying(uri: str, content: bytes, expected: str) -> object:
        nonlocal done
        done += 1
        if done > n:
            raise KeyboardInterrupt
        return put(uri, content, expected)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "put", dying)
        assert act()[0] == 75


def test_a_note_that_names_the_file_is_refused(tmp_path: Path, bonafide: Run) -> None:
    archive, output = archive_of(tmp_path / "audio", "alice-smith.flac", "bob.flac"), tmp_path / "tables"
    embed(bonafide, archive, output, given="uri,utterance_id\nalice-smith.flac,rec-1\nbob.flac,rec-2\n")
    (output / "note.txt").write_text(f"listen to {archive}/alice-smith.flac")

    code, _, err = bonafide("erase", "rec-1", "--output", output)

    assert code == 65
    assert f"{output}/note.txt: mentions rec-1" in err


def test_the_file_stays_while_another_recording_is_read_from_it(tmp_path: Path, bonafide: Run) -> None:
    archive, output = archive_of(tmp_path / "audio", "a.flac", "alice-smith.flac"), tmp_path / "tables"
    lines = ["uri,start,end,utterance_id", "alice-smith.flac,0,0.5,rec-1", "alice-smith.flac,0.5,1,rec-2", ""]
    embed(bonafide, archive, output, given="\n".join(lines))

    assert bonafide("erase", "rec-1", "--output", output)[0] == 0

    assert list(rows(str(output), "embeddings")) == ["rec-2"]
    assert bonafide("verify", output)[0] == 0
    assert bonafide("erase", "rec-2", "--output", output)[0] == 0
    assert [path for path in files(output) if holds(path, "alice-smith.flac")] == []


def test_a_member_of_a_container_is_erased_with_the_id_that_a_list_gave_it(tmp_path: Path, bonafide: Run) -> None:
    archive, output = tmp_path / "audio", tmp_path / "tables"
    archive.mkdir()
    members = {f"{name}.flac": encoded(tone(1.0 + 0.1 * len(name))) for name in ("alice-smith", "bob")}
    (archive / "x.tar").write_bytes(tarred(members))
    lines = ["uri,member,utterance_id", "x.tar,alice-smith.flac,rec-1", "x.tar,bob.flac,rec-2", ""]
    embed(bonafide, archive, output, given="\n".join(lines))

    assert bonafide("erase", "rec-1", "--output", output)[0] == 0

    assert [path for path in files(output) if holds(path, "alice-smith.flac")] == []
    assert list(rows(str(output), "embeddings")) == ["rec-2"]
