"""A file that some tool leaves in a folder of ours is no head, record or list: verbs go on, and `verify` names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import nightly_runs

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", ["heads/.DS_Store", "heads/active.json~", "heads/README.json", "runs/note.json"])
def test_it_keeps_no_verb_from_its_work_and_verify_says_which_it_is(name: str, tmp_path: Path, bonafide: Run) -> None:
    output = tmp_path / "tables"
    vectors, _ = nightly_runs.drawn(5)
    rows = {"a": nightly_runs.recordings(vectors, "a")}
    nightly_runs.night(str(output), rows, pages=False)
    (output / name).write_text("x")

    answered = bonafide("sql", output, "SELECT count(*) AS n FROM heads, nights", "--format", "csv")
    compacted = bonafide("compact", output, "--to", tmp_path / "copy")
    code, said, err = bonafide("verify", output)

    assert (answered[0], answered[1].split()) == (0, ["n", "1"])
    assert compacted[0] == 0
    assert code == 65
    assert f"{output}/{name}: was not written by a run; remove it" in said + err


def test_a_foreign_file_among_the_lists_of_garbage_is_left_alone(tmp_path: Path, bonafide: Run) -> None:
    output = tmp_path / "tables"
    vectors, _ = nightly_runs.drawn(5)
    nightly_runs.night(str(output), {"a": nightly_runs.recordings(vectors, "a")}, pages=False)
    assert bonafide("gc", output)[0] == 0
    (output / "_garbage" / "._clock").write_text("x")

    assert bonafide("gc", output, "--grace-hours", 0)[0] == 0
    assert (output / "_garbage" / "._clock").read_text() == "x"
