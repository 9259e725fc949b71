"""A report counts rows, folds and outcomes as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.groups import Names
from detector.metrics import cllr, equal_error_rate
from detector.training.report import HeldOut, outcomes
from tests.unit.detector.training.drawn import (
    draw,
    fit,
    held_out_scores,
)


def test_a_report_counts_the_rows_and_measures_the_held_out_ones() -> None:
    rows = draw(300, 200)

    head, report = fit(rows, folds=4, c=0.5)
    scores = held_out_scores(rows, head, folds=4, c=0.5)

    assert (report["bonafide"], report["spoof"], report["groups"], report["folds"], report["c"]) == (
        300,
        200,
        20,
        4,
        0.5,
    )
    bonafide, spoof = scores[rows.is_bonafide], scores[~rows.is_bonafide]
    assert report["held_out"]["equal_error_rate"] == equal_error_rate(bonafide, spoof)
    assert report["held_out"]["cllr"] == cllr(bonafide, spoof)
    assert head.training == report


@pytest.mark.parametrize(
    ("n_groups", "folds", "expected", "because"),
    [
        (3, None, 3, "fewer than 5, because bonafide rows are of 3 groups"),
        (8, None, 5, "the default"),
        (3, 4, 4, "as stated"),
    ],
)
def test_there_are_as_many_folds_as_the_groups_allow_and_the_report_states_why(
    n_groups: int, folds: int | None, expected: int, because: str
) -> None:
    rows = draw(200, 400)
    of_class = np.random.default_rng(1).integers([[n_groups], [9]], size=(2, 600))
    names = np.where(
        rows.is_bonafide, np.char.add("b", of_class[0].astype(str)), np.char.add("s", of_class[1].astype(str))
    )

    _, report = fit(replace(rows, groups=names), folds=folds)

    assert (report["folds"], report["folds_because"]) == (expected, because)


def test_outcomes_count_rejected_kept_and_wrong_rows() -> None:
    held_out = HeldOut(
        np.array([True, True, False, True]), np.zeros(3), np.array([True, False, True]), np.array([True, True, False])
    )
    is_bonafide = np.array([True, True, False, False])

    found = outcomes(held_out, is_bonafide, {"source": Names.of(["a", "a", "a", "b"])})

    assert found == {
        "source": {
            "bonafide a": {"rows": 2, "rejected": 1, "kept": 1, "wrong": 1},
            "spoof b": {"rows": 1, "rejected": 0, "kept": 1, "wrong": 0},
        }
    }
