"""Calibration errors agree with hand counts and with the expected error of perfect probabilities."""

from __future__ import annotations

import time

import numpy as np
import pytest

from detector.metrics import (
    brier_score,
    debiased_calibration_error,
    equal_mass_calibration_error,
    expected_calibration_error,
    reliability_diagram,
)
from tests.support.scores import UNTIED, untied


@pytest.mark.parametrize(
    ("p_spoof", "is_spoof", "n_bins", "error"),
    [
        # halves: |1 - 0.3| of two rows and |2 - 1.5| of two rows, over four rows
        ([0.1, 0.2, 0.6, 0.9], [False, True, True, True], 2, (0.7 + 0.5) / 4),
        # one bin: |3 - 1.8| over four rows; what is too low and too high cancels within a bin
        ([0.1, 0.2, 0.6, 0.9], [False, True, True, True], 1, 1.2 / 4),
        # a tenth said, a tenth seen
        ([0.1] * 10, [True] + [False] * 9, 15, 0.0),
        # certain and right, certain and wrong; 1 belongs to the last bin
        ([0.0, 1.0], [False, True], 15, 0.0),
        ([0.0, 1.0], [True, False], 15, 1.0),
        # an edge belongs to the bin that it starts: 0.5 is not with 0.4
        ([0.4, 0.5], [True, False], 2, (0.6 + 0.5) / 2),
    ],
)
def test_calibration_error_is_the_hand_count(
    p_spoof: list[float], is_spoof: list[bool], n_bins: int, error: float
) -> None:
    found = expected_calibration_error(np.array(p_spoof), np.array(is_spoof), n_bins)

    assert found == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("case", UNTIED)
def test_calibration_error_is_that_of_the_published_code(case: tuple[float, ...]) -> None:
    bonafide, spoof = untied(*case)
    p_spoof = 1.0 / (1.0 + np.exp(np.concatenate([bonafide, spoof])))

    error = expected_calibration_error(p_spoof, np.arange(len(p_spoof)) >= len(bonafide))

    assert error == pytest.approx(UNTIED[case]["pascu_ece"], abs=1e-12)


def test_bins_of_equal_mass_are_the_hand_count() -> None:
    # two bins of two: {0.01, 0.02} of which one is spoof, {0.03, 0.9} of which one is spoof
    error = equal_mass_calibration_error(np.array([0.9, 0.01, 0.03, 0.02]), np.array([True, True, False, False]), 2)

    assert error == pytest.approx((abs(1 - 0.03) + abs(1 - 0.93)) / 4)


def test_equal_probabilities_share_a_bin_of_equal_mass() -> None:
    # three 0.5 and one 0.9 in two bins: the first two and the third are alike, so only 0.9 could be alone, and
    # its first place, 3, is in the second bin
    error = equal_mass_calibration_error(np.array([0.5, 0.5, 0.5, 0.9]), np.array([True, True, False, True]), 2)

    assert error == pytest.approx((abs(2 - 1.5) + abs(1 - 0.9)) / 4)


def test_the_debiased_error_is_the_hand_count() -> None:
    # one bin of 4: said 0.5, seen 3/4; 1/16 less 3/4 * 1/4 / 3 = 1/16 leaves nothing
    assert debiased_calibration_error(np.full(4, 0.5), np.array([True, True, True, False]), 1) == 0.0
    # said 0.25, seen 3/4: 1/4 less 1/16
    error = debiased_calibration_error(np.full(4, 0.25), np.array([True, True, True, False]), 1)
    assert error == pytest.approx(np.sqrt(1 / 4 - 1 / 16))


def test_perfect_probabilities_have_an_error_above_zero_unless_it_is_debiased() -> None:
    rng = np.random.default_rng(0)
    plain, debiased = [], []
    for _ in range(200):
        p_spoof = rng.uniform(0, 1, 600)
        is_spoof = rng.uniform(0, 1, 600) < p_spoof
        plain.append(expected_calibration_error(p_spoof, is_spoof))
        debiased.append(debiased_calibration_error(p_spoof, is_spoof))

    # 40 trials a bin: E|gap| = sqrt(2 / pi) * mean of sqrt(p (1 - p) / 40) over p, whose mean root is pi / 8
    assert np.mean(plain) == pytest.approx(np.sqrt(2 / np.pi) * np.pi / 8 / np.sqrt(40), rel=0.05)
    assert np.median(debiased) < 0.02


def test_the_debiased_error_finds_a_known_error() -> None:
    # said p, is p - 0.1: the root mean square error is 0.1
    rng = np.random.default_rng(1)
    p_spoof = rng.uniform(0.2, 0.9, 200_000)
    is_spoof = rng.uniform(0, 1, 200_000) < p_spoof - 0.1

    assert debiased_calibration_error(p_spoof, is_spoof) == pytest.approx(0.1, abs=0.005)
    assert equal_mass_calibration_error(p_spoof, is_spoof) == pytest.approx(0.1, abs=0.005)


def test_the_diagram_has_the_gaps_that_the_error_sums() -> None:
    bonafide, spoof = untied(200, 300, 1.2, -0.7, 1.0)
    p_spoof = 1.0 / (1.0 + np.exp(np.concatenate([bonafide, spoof])))
    is_spoof = np.arange(len(p_spoof)) >= len(bonafide)

    said, seen, counts = reliability_diagram(p_spoof, is_spoof)

    assert counts.sum() == 500
    assert (counts / 500) @ np.abs(said - seen) == pytest.approx(expected_calibration_error(p_spoof, is_spoof))


def test_brier_score_is_the_hand_count() -> None:
    assert brier_score(np.array([0.0, 0.5, 1.0]), np.array([True, True, True])) == pytest.approx((1 + 0.25) / 3)
    assert brier_score(np.full(4, 0.5), np.array([True, False, True, False])) == 0.25


@pytest.mark.parametrize("odd", [-0.1, 1.1, np.nan])
def test_values_that_are_not_probabilities_are_refused(odd: float) -> None:
    for metric in (expected_calibration_error, equal_mass_calibration_error, debiased_calibration_error):
        with pytest.raises(ValueError, match=r"NaN|outside \[0, 1\]"):
            metric(np.array([odd, 0.5]), np.array([True, False]))


def test_bins_of_equal_mass_are_those_of_a_loop_though_many_probabilities_are_equal() -> None:
    rng = np.random.default_rng(12)
    for n_rows in (1, 2, 7, 15, 16, 100, 301):
        p_spoof = rng.uniform(size=n_rows).round(1)
        is_spoof = rng.uniform(size=n_rows) < p_spoof
        gaps = [0.0] * 15
        for p, truth in zip(p_spoof, is_spoof, strict=True):
            gaps[int(sum(p_spoof < p)) * 15 // n_rows] += float(truth) - p  # equal ones share the place of the first

        expected = sum(abs(gap) for gap in gaps) / n_rows
        assert equal_mass_calibration_error(p_spoof, is_spoof) == pytest.approx(expected, abs=1e-12)


def test_the_calibration_errors_of_a_million_probabilities_take_less_than_a_second() -> None:
    rng = np.random.default_rng(13)
    p_spoof = rng.uniform(size=1_000_000)
    is_spoof = rng.uniform(size=1_000_000) < p_spoof
    before = time.process_time()

    equal_mass_calibration_error(p_spoof, is_spoof)

    assert time.process_time() - before < 1.0  # 0.05 s when measured alone; a search for every row took 1.0 s
