"""A retraining takes nothing away from the head that is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support.heads import some_head

Run = Callable[..., tuple[int, str, str]]


def test_a_head_that_says_what_contains_spoof_is_refused_before_anything_is_written(
    tmp_path: Path, bonafide: Run
) -> None:
    judge = replace(some_head(), contains_rule="lowest-3", contains_numbers=(1.0, 0.0, -7.0, 7.0))
    (tmp_path / "head.json").write_text(judge.to_json())
    (tmp_path / "labels.csv").write_text("utterance_id,label\na,spoof\n")

    code, _, err = bonafide(
        *("retrain", "--input", tmp_path, "--labels", tmp_path / "labels.csv", "--head", tmp_path / "head.json"),
        *("--output", tmp_path / "out"),
    )

    assert code == 65
    assert "(`fit --parts`), which `retrain` does not fit" in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
