"""Risk and coverage agree with hand counts and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from detector.metrics import (
    accuracy_over_kept,
    area_under_risk_coverage,
    coverage_at_risk,
    excess_area_under_risk_coverage,
    risk_at_coverage,
    risk_coverage,
)


@pytest.mark.parametrize(
    ("uncertainty", "wrong", "coverage", "risk"),
    [
        ([0.1, 0.2, 0.3, 0.4], [False, True, False, True], [1 / 4, 2 / 4, 3 / 4, 1], [0, 1 / 2, 1 / 3, 2 / 4]),
        # the order of the rows does not matter
        ([0.4, 0.1, 0.3, 0.2], [True, False, False, True], [1 / 4, 2 / 4, 3 / 4, 1], [0, 1 / 2, 1 / 3, 2 / 4]),
        # ties are kept together
        ([0.5, 0.1, 0.5, 0.1], [True, False, True, False], [2 / 4, 1], [0, 2 / 4]),
        ([0.7, 0.7, 0.7], [True, False, False], [1], [1 / 3]),
    ],
)
def test_risk_and_coverage_are_hand_counts(
    uncertainty: list[float], wrong: list[bool], coverage: list[float], risk: list[float]
) -> None:
    found_coverage, found_risk = risk_coverage(np.array(uncertainty), np.array(wrong))

    assert found_coverage == pytest.approx(np.array(coverage))
    assert found_risk == pytest.approx(np.array(risk))


def test_the_area_is_the_mean_of_the_risks() -> None:
    uncertainty, wrong = np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True])

    assert area_under_risk_coverage(uncertainty, wrong) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    # the best order is 0, 0, 1, 1: risks 0, 0, 1/3, 2/4
    excess = (1 / 2 + 1 / 3 + 1 / 2) / 4 - (1 / 3 + 1 / 2) / 4
    assert excess_area_under_risk_coverage(uncertainty, wrong) == pytest.approx(excess)


def test_rows_of_equal_uncertainty_share_the_risk_at_which_all_are_kept() -> None:
    # risks 0 for a quarter, 1/3 for two quarters, 1/2 for the last
    area = area_under_risk_coverage(np.array([0.1, 0.2, 0.2, 0.9]), np.array([False, False, True, True]))

    assert area == pytest.approx((0 + 1 / 3 + 1 / 3 + 1 / 2) / 4)


@pytest.mark.parametrize("error_rate", [0.05, 0.3])
def test_the_area_of_a_perfect_order_is_the_closed_form(error_rate: float) -> None:
    # Geifman et al.: r + (1 - r) ln(1 - r), in the limit of many rows
    n = 20_000
    wrong = np.arange(n) >= n * (1 - error_rate)

    area = area_under_risk_coverage(np.arange(n) / n, wrong)

    assert area == pytest.approx(error_rate + (1 - error_rate) * np.log(1 - error_rate), abs=1e-4)
    assert excess_area_under_risk_coverage(np.arange(n) / n, wrong) == pytest.approx(0.0, abs=1e-9)


def test_the_area_of_a_random_order_is_the_error_rate() -> None:
    wrong = np.random.default_rng(0).uniform(size=20_000) < 0.2

    assert area_under_risk_coverage(np.arange(20_000.0), wrong) == pytest.approx(0.2, abs=0.02)
    assert excess_area_under_risk_coverage(np.arange(4.0), np.array([True] * 4)) == pytest.approx(0.0)


@pytest.mark.parametrize(("coverage", "risk"), [(0.25, 0.0), (0.26, 1 / 2), (0.5, 1 / 2), (0.75, 1 / 3), (1.0, 2 / 4)])
def test_the_risk_at_a_coverage_keeps_at_least_that_share(coverage: float, risk: float) -> None:
    wrong = np.array([False, True, False, True])

    assert risk_at_coverage(np.array([0.1, 0.2, 0.3, 0.4]), wrong, coverage) == pytest.approx(risk)


def test_accuracy_over_kept_is_the_hand_count_at_every_threshold_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    entropy, wrong = rng.uniform(0, 1, 300), rng.uniform(0, 1, 300) < 0.3

    kept, accuracy = accuracy_over_kept(entropy, wrong)

    for number, threshold in enumerate(np.arange(101) / 100):
        keep = 1 - entropy >= threshold
        assert kept[number] == pytest.approx(keep.mean())
        assert accuracy[number] == pytest.approx(1 - wrong[keep].mean() if keep.any() else np.nan, nan_ok=True)


def test_a_row_without_a_score_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        risk_coverage(np.array([0.1, np.nan]), np.array([True, False]))


def test_the_excess_of_a_perfect_order_is_never_below_zero() -> None:
    for n_rows in range(2, 400):
        wrong = np.arange(n_rows) >= n_rows - n_rows // 2
        assert excess_area_under_risk_coverage(np.arange(float(n_rows)), wrong) >= 0.0


@pytest.mark.parametrize("risk", [0.01, 0.05, 0.3, 0.6])
def test_coverage_at_a_risk_is_twice_the_risk_where_uncertainty_is_the_chance_of_an_error(risk: float) -> None:
    # of the most certain share c, c² / 2 of all rows are wrong: the risk is c / 2
    n = 20_000
    share = np.arange(1, n + 1) / n
    wrong = np.diff(np.floor(share**2 * n / 2), prepend=0.0) > 0

    assert coverage_at_risk(share, wrong, risk) == pytest.approx(min(2 * risk, 1.0), abs=0.005)


def test_coverage_at_a_risk_of_a_perfect_order_is_the_share_of_right_rows_over_one_less_the_risk() -> None:
    assert coverage_at_risk(np.arange(100.0), np.arange(100) >= 76, 0.05) == pytest.approx(0.76 / 0.95)
    assert coverage_at_risk(np.arange(100.0), np.arange(100) < 24, 0.05) == 0.0
    assert coverage_at_risk(np.zeros(100), np.arange(100) < 5, 0.05) == 1.0  # equals are kept together
