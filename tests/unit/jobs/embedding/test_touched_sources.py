"""A local source that is replaced is heard whatever times it is given, and one that is only touched costs no row."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.cost import READ_BYTES
from jobs.embedding.result import EmbeddingRun
from jobs.inputs.config import InputConfig
from jobs.storage import local, tags, walk
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)
LONG_AGO = "2001-01-01"


def sound(seed: int) -> bytes:
    """A recording of the same size as any other."""
    return encoded(tone(1.0, seed=seed), kind="WAV")


def put_back_times(path: Path, content: bytes) -> None:
    """Replace a file by one of the same size and modification time, as `cp -p` can."""
    before = path.stat()
    assert before.st_size == len(content)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


class Archive:
    """A group of two files, a tar of one, and something that is no recording; and the runs over them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.output, self._monkeypatch = folder / "archive", folder / "output", monkeypatch
        self.place.mkdir()
        for number, name in enumerate(("a.wav", "b.wav")):
            (self.place / name).write_bytes(sound(number))
        (self.place / "other").write_bytes(b" " * len(sound(0)))
        self.inputs = (str(self.place),)

    def night(self, date: str | None = None) -> EmbeddingRun:
        inputs, output = InputConfig(input=self.inputs), OutputConfig(output=str(self.output))
        config = RunConfig() if date is None else RunConfig(run_date=date)
        return embed_archive(InProcessRunner(), inputs, RECIPE, ModelConfig(), output, config)

    def night_of_an_earlier_release(self, date: str | None = None) -> EmbeddingRun:
        """Tags were modification times alone."""
        with self._monkeypatch.context() as patched:
            for module in (walk, local):
                patched.setattr(module, "tag_of", lambda found, **_: tags.tag_of(found))
            return self.night(date)

    def list_them(self) -> None:
        table = "\n".join(["uri", *(str(self.place / name) for name in ("a.wav", "b.wav"))])
        self.place.with_suffix(".csv").write_text(table)
        self.inputs = (str(self.place.with_suffix(".csv")),)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    return Archive(tmp_path, monkeypatch)


def rows(run: EmbeddingRun) -> dict[str, dict[str, Any]]:
    _, tables = run.ledger.read_all("embeddings")
    return {Path(row["uri"]).name: row for each in tables for row in each.to_pylist()}


def n_read(run: EmbeddingRun) -> int:
    """Recordings that were read: all have one size."""
    return sum(marker.detail[READ_BYTES] for marker in run.markers) // len(sound(0))


def planned_tags(run: EmbeddingRun) -> set[str]:
    plans = sorted(Path(run.ledger.output, "_plans").rglob("*.json"))
    shards = [work for path in plans for _, _, work in json.loads(path.read_text())["shards"]]
    return {tag for work in shards for _, _, tag in work["sources"]}


@pytest.mark.parametrize("is_listed", [False, True])
def test_a_recording_that_is_replaced_under_its_former_time_is_heard(is_listed: bool, archive: Archive) -> None:
    if is_listed:
        archive.list_them()
    before = rows(archive.night())
    put_back_times(archive.place / "a.wav", sound(9))

    run = archive.night()

    after = rows(run)
    assert n_read(run) == 1
    assert after["a.wav"]["audio_sha256"] != before["a.wav"]["audio_sha256"]
    assert after["b.wav"] == before["b.wav"]
    assert archive.night().markers == []


def test_what_was_no_recording_is_looked_at_again_when_it_is_replaced(archive: Archive) -> None:
    assert "other" not in rows(archive.night())
    put_back_times(archive.place / "other", sound(9))

    assert "other" in rows(archive.night())


@pytest.mark.parametrize("touch", [lambda path: path.chmod(0o640), lambda path: os.link(path, path.parents[1] / "x")])
def test_one_that_is_only_touched_is_read_again_and_keeps_its_history(
    touch: Callable[[Path], object], archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    before = rows(archive.night("2026-01-01"))
    touch(archive.place / "b.wav")

    run = archive.night("2026-01-02")

    assert n_read(run) == 1
    kept = ("first_seen", "changed_at", "audio_sha256", "embedding", "removed_at")
    assert [[row[each] for each in kept] for row in rows(run).values()] == [
        [row[each] for each in kept] for row in before.values()
    ]
    assert "1 files have the size and the modification time that they were planned with" in caplog.text
    assert archive.night().markers == []


@pytest.mark.parametrize("is_listed", [False, True])
def test_an_output_of_an_earlier_release_is_not_embedded_again(is_listed: bool, archive: Archive) -> None:
    if is_listed:
        archive.list_them()
    before = archive.night_of_an_earlier_release()
    assert all("+" not in tag for tag in planned_tags(before))

    assert archive.night().markers == []

    # a file that is new in the group's place, or another one: only that one is read, and the group is planned anew
    (archive.place / "b.wav").write_bytes(sound(9))
    run = archive.night()
    assert n_read(run) == 1
    assert {tag.partition("@")[2] for tag in planned_tags(run) if "@" in tag} == {before.history.plans[0].run_date}
    assert archive.night().markers == []


@pytest.mark.parametrize("is_listed", [False, True])
def test_what_was_changed_after_the_date_of_such_a_plan_is_read_again(is_listed: bool, archive: Archive) -> None:
    if is_listed:
        archive.list_them()
    before = rows(archive.night_of_an_earlier_release(LONG_AGO))  # of before the files were made
    run = archive.night()

    assert n_read(run) == 2
    assert [row["changed_at"] for row in rows(run).values()] == [row["changed_at"] for row in before.values()]
    assert archive.night().markers == []
