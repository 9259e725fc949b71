"""Files of one name in several folders or buckets: each can be erased, and none stands in the way of another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.nightly_runs import DIM, Recording, night
from tests.unit.jobs.erasure.outputs import rows
from tests.unit.jobs.erasure.test_histories import files, holds
from tests.unit.jobs.erasure.test_places import Listed, archive_of, leave_scores_alone, stop_after

Run = Callable[..., tuple[int, str, str]]

OWN_IDS = "uri,utterance_id\nx.flac,rec-1\ny.flac,rec-2\n"


@pytest.fixture
def embed(bonafide: Run, tmp_path: Path) -> Callable[..., int]:
    """Embed inputs into the output `tables`; returns the exit code."""

    def run(*inputs: object, ids: str = "relative") -> int:
        where = [text for each in inputs for text in ("--input", each)]
        settings = ("--backbone", "melstats", "--runner", "local", "--output", tmp_path / "tables", "--ids", ids)
        code, _, err = bonafide("embed", *where, *settings)
        assert code in (0, 65), err
        return code

    return run


@pytest.fixture
def erase(bonafide: Run, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Erase from the output `tables`; returns the exit code, and what was said of the error."""

    def run(*ids: str) -> tuple[int, str]:
        code, _, err = bonafide("erase", *ids, "--output", tmp_path / "tables")
        return code, err

    return run


def mentions(output: Path, text: str) -> list[Path]:
    return [path for path in files(output) if holds(path, text)]


def test_a_file_of_the_same_path_that_a_list_gives_another_id_stays(
    tmp_path: Path, embed: Callable[..., int], erase: Callable[..., tuple[int, str]]
) -> None:
    output, a, b = tmp_path / "tables", *(archive_of(tmp_path / each, "x.flac", "y.flac") for each in "ab")
    (b / "list.csv").write_text(OWN_IDS)
    assert embed(a, b / "list.csv") == 0

    assert erase("x.flac") == (0, "")

    assert rows(str(output), "embeddings").keys() == {"y.flac", "rec-1", "rec-2"}
    assert mentions(output, f"{a}/x.flac") == []
    assert mentions(output, f"{b}/x.flac") != []
    assert erase("rec-1") == (0, "")
    assert mentions(output, "x.flac") == []


@pytest.mark.parametrize("label", ["s3://one/x.flac and 2 more", "s3://two/x.flac and 2 more"])
def test_a_key_of_another_bucket_that_a_list_gives_another_id_stays(
    tmp_path: Path, erase: Callable[..., tuple[int, str]], label: str
) -> None:
    output, places = tmp_path / "tables", {"s3://one/x.flac": "x.flac", "s3://two/x.flac": "rec-1", "s3://two/y": "y"}
    calls: list[Recording] = [Listed(uri, None, np.zeros(DIM, np.float32), given=name) for uri, name in places.items()]
    night(str(output), {label: calls})
    leave_scores_alone(output)

    assert erase("x.flac") == (0, "")

    assert rows(str(output), "scores").keys() == {"rec-1", "y"}
    assert mentions(output, "s3://one/x.flac") == []
    (marker,) = (output / "_commits").rglob("*-000001.json")
    assert ("s3://two/x.flac and 2 more" in marker.read_text()) == label.startswith("s3://two")


def test_a_file_that_was_given_another_id_since_is_erased_with_all_of_its_ids_as_the_refusal_says(
    tmp_path: Path, embed: Callable[..., int], erase: Callable[..., tuple[int, str]]
) -> None:
    output, a = tmp_path / "tables", archive_of(tmp_path / "a", "x.flac", "y.flac")
    assert embed(a) == 0
    (a / "list.csv").write_text(OWN_IDS)
    assert embed(a / "list.csv") == 0

    code, said = erase("x.flac")

    assert code == 65
    assert "other recordings, rec-1, are read from x.flac" in said
    assert "erase all of these ids at once" in said
    assert erase("x.flac", "rec-1") == (0, "")
    assert mentions(output, "x.flac") == []
    assert mentions(output, "rec-1") == []


@pytest.mark.parametrize("spelling", ["a link", "another place"])
@pytest.mark.parametrize("stop", [None, 1, 3, 5])
def test_what_was_not_heard_for_the_id_goes_with_the_recording(
    tmp_path: Path,
    embed: Callable[..., int],
    erase: Callable[..., tuple[int, str]],
    bonafide: Run,
    monkeypatch: pytest.MonkeyPatch,
    spelling: str,
    stop: int | None,
) -> None:
    output, a, b = tmp_path / "tables", archive_of(tmp_path / "a", "x.flac", "y.flac"), tmp_path / "b"
    assert embed(a) == 0
    if spelling == "a link":
        b.symlink_to(a)
    else:
        a.rename(b)
    assert embed(b) == 65  # another archive with the same names, for all that is known
    assert rows(str(output), "failures").keys() == {f"{b}/x.flac", f"{b}/y.flac"}
    if stop is not None:
        stop_after(stop, monkeypatch, lambda: bonafide("erase", "x.flac", "--output", output))

    assert erase("x.flac") == (0, "")

    assert mentions(output, "x.flac") == []
    assert rows(str(output), "embeddings").keys() == {"y.flac"}
    assert rows(str(output), "failures").keys() == {f"{b}/y.flac"}
    assert bonafide("verify", output)[0] == 0


def test_of_two_that_were_both_not_heard_none_is_left(
    tmp_path: Path, embed: Callable[..., int], erase: Callable[..., tuple[int, str]]
) -> None:
    output, a = tmp_path / "tables", archive_of(tmp_path / "a", "x.flac", "y.flac")
    (tmp_path / "b").symlink_to(a)
    assert embed(a, tmp_path / "b") == 65
    assert len(rows(str(output), "failures")) == 4

    assert erase(f"{a}/x.flac") == (0, "")

    assert mentions(output, "x.flac") == []
    assert rows(str(output), "failures").keys() == {f"{a}/y.flac", f"{tmp_path}/b/y.flac"}
    assert embed(a, tmp_path / "b") == 65  # they are there, and planned anew
    assert len(rows(str(output), "failures")) == 4
