"""Detection metrics agree with closed forms, hand counts and public packages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import roc_curve

from detector.metrics import (
    ASVSPOOF5,
    OperatingPoint,
    act_dcf,
    area_under_roc,
    chance_interval,
    equal_error_rate,
    error_rates,
    min_dcf,
    probit,
)
from detector.metrics.detection import crossing
from tests.support.scores import QUANTILES, UNTIED, untied


def scores_with_ties(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bona fide and spoof scores that overlap, rounded so that many are equal."""
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 1.0, size=300).round(1), rng.normal(-0.5, 1.5, size=70).round(1)


@pytest.mark.parametrize("distance", [0.5, 2.0, 4.0])
def test_eer_of_two_gaussians_is_the_closed_form(distance: float) -> None:
    # Unit normals a distance apart cross halfway, so EER = Phi(-distance / 2).
    eer = equal_error_rate(QUANTILES + distance, QUANTILES)

    assert eer == pytest.approx(norm.cdf(-distance / 2), abs=1e-4)


def test_scores_that_point_the_wrong_way_err_more_often_than_chance() -> None:
    # the same two normals with the classes exchanged: 1 - Phi(-1) = Phi(1) = 0.8413
    assert equal_error_rate(QUANTILES, QUANTILES + 2.0) == pytest.approx(0.8413, abs=1e-4)


@pytest.mark.parametrize(
    ("bonafide", "spoof", "eer"),
    [
        ([2.0, 3.0], [0.0, 1.0], 0.0),
        ([0.0, 1.0], [2.0, 3.0], 1.0),
        ([1.0], [1.0, 1.0], 0.5),  # (p_miss, p_fa) goes from (0, 1) to (1, 0) at once: they meet halfway
        ([1.0, 2.0], [0.0, 1.0], 1 / 4),  # halfway between (0, 1/2) and (1/2, 0)
        ([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0], 2 / 7),  # a seventh of the way from (1/4, 1/3) to (1/2, 0)
    ],
)
def test_eer_of_a_few_scores_is_the_hand_count(bonafide: list[float], spoof: list[float], eer: float) -> None:
    assert equal_error_rate(np.array(bonafide), np.array(spoof)) == pytest.approx(eer)


@pytest.mark.parametrize("seed", range(5))
def test_eer_is_that_of_the_published_code(seed: int) -> None:
    bonafide, spoof = scores_with_ties(seed)
    # metrics.py of Pascu et al.: the root of 1 - fpr - tpr on the interpolated ROC curve
    is_bonafide = np.repeat([1, 0], [len(bonafide), len(spoof)])
    fpr, tpr, _ = roc_curve(is_bonafide, np.concatenate([bonafide, spoof]), pos_label=1)
    published = brentq(lambda rate: 1.0 - rate - np.interp(rate, fpr, tpr), 0.0, 1.0)

    assert equal_error_rate(bonafide, spoof) == pytest.approx(published, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rising", [np.exp, np.cbrt, np.arctan, lambda scores: 1e3 * scores - 7.0])
def test_eer_does_not_change_under_a_rising_map(seed: int, rising: Callable[[np.ndarray], np.ndarray]) -> None:
    bonafide, spoof = scores_with_ties(seed)

    assert equal_error_rate(rising(bonafide), rising(spoof)) == equal_error_rate(bonafide, spoof)


SCORES = st.lists(
    st.integers(-30, 30) | st.floats(-3.0, 3.0) | st.sampled_from([-np.inf, np.inf]), min_size=1, max_size=40
)


@pytest.mark.parametrize("interpolate", [True, False])
@given(SCORES, SCORES)
def test_binary_search_finds_the_eer_of_the_whole_sweep(
    interpolate: bool, bonafide_scores: list[float], spoof_scores: list[float]
) -> None:
    # integers for many equal scores, floats for none
    bonafide, spoof = np.array(bonafide_scores, float), np.array(spoof_scores, float)
    _, p_miss, p_fa = error_rates(bonafide, spoof)
    nearest = np.argmin(np.abs(p_miss - p_fa))

    found = equal_error_rate(bonafide, spoof, interpolate=interpolate)

    assert found == (crossing(p_miss, p_fa) if interpolate else (p_miss[nearest] + p_fa[nearest]) / 2)


def test_error_rates_are_hand_counts_at_every_score() -> None:
    thresholds, p_miss, p_fa = error_rates(np.array([3.0, 1.0, 2.0, 2.0]), np.array([2.0, 0.0]))

    assert thresholds.tolist() == [0.0, 1.0, 2.0, 3.0, np.inf]
    assert p_miss.tolist() == [0.0, 0.0, 0.25, 0.75, 1.0]  # of 1, 2, 2, 3 below the threshold
    assert p_fa.tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]  # of 0, 2 at or above it


@pytest.mark.parametrize(("n_bonafide", "n_spoof"), [(0, 3), (3, 0)])
def test_error_rates_need_both_classes(n_bonafide: int, n_spoof: int) -> None:
    with pytest.raises(ValueError, match=f"{n_bonafide} bona fide and {n_spoof} spoof"):
        equal_error_rate(np.zeros(n_bonafide), np.zeros(n_spoof))


@pytest.mark.parametrize("case", UNTIED)
def test_eer_and_costs_are_those_of_the_public_packages(case: tuple[float, ...]) -> None:
    bonafide, spoof = untied(*case)
    published = UNTIED[case]

    assert equal_error_rate(bonafide, spoof) == pytest.approx(published["pascu_eer"], abs=1e-9)
    assert equal_error_rate(bonafide, spoof, interpolate=False) == pytest.approx(published["asvspoof5_eer"], abs=1e-12)
    assert min_dcf(bonafide, spoof) == pytest.approx(published["asvspoof5_min_dcf"], abs=1e-12)
    assert act_dcf(bonafide, spoof) == pytest.approx(published["asvspoof5_act_dcf"], abs=1e-12)


def test_equal_scores_pass_a_threshold_together() -> None:
    # A sweep over sorted trials would let the bona fide one of two equal scores pass first: 0 errors out of 4.
    bonafide, spoof = np.array([1.0, 2.0]), np.array([1.0, 0.0])

    assert error_rates(bonafide, spoof)[0].tolist() == [0.0, 1.0, 2.0, np.inf]
    assert equal_error_rate(bonafide, spoof) == pytest.approx(1 / 4)
    assert min_dcf(bonafide, spoof) == pytest.approx(min(1.9 * 0.0 + 1 / 2, 1.9 / 2 + 0.0))


@pytest.mark.parametrize("distance", [0.5, 2.0, 4.0])
def test_area_under_roc_of_two_gaussians_is_the_closed_form(distance: float) -> None:
    # The difference of two unit normals has variance 2, so AUC = Phi(distance / sqrt(2)).
    area = area_under_roc(QUANTILES + distance, QUANTILES)

    assert area == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_area_under_roc_is_the_share_of_pairs_in_order(seed: int) -> None:
    bonafide, spoof = scores_with_ties(seed)
    above = bonafide[:, None] > spoof
    equal = bonafide[:, None] == spoof

    assert area_under_roc(bonafide, spoof) == pytest.approx(above.mean() + equal.mean() / 2)


def test_two_gaussians_are_a_straight_line_of_slope_minus_one_on_det_axes() -> None:
    # p_miss = Phi(t - d) and p_fa = Phi(-t), so that probit(p_miss) = -probit(p_fa) - d.
    _, p_miss, p_fa = error_rates(QUANTILES + 2.0, QUANTILES)
    inner = (p_miss > 0.01) & (p_miss < 0.99) & (p_fa > 0.01) & (p_fa < 0.99)

    assert probit(p_miss[inner]) == pytest.approx(-probit(p_fa[inner]) - 2.0, abs=0.01)


def test_the_operating_point_of_asvspoof_5_is_that_of_its_plan() -> None:
    # 5 % spoof, a false alarm costs ten misses: beta = 0.95 / (0.05 * 10) = 1.9
    assert ASVSPOOF5.beta == pytest.approx(1.9)
    assert ASVSPOOF5.threshold == pytest.approx(-np.log(1.9))
    assert ASVSPOOF5.cost(1.0, 0.0) == pytest.approx(1.9)  # rejecting all
    assert ASVSPOOF5.cost(0.0, 1.0) == pytest.approx(1.0)  # accepting all, the better of the two


@pytest.mark.parametrize("at", [ASVSPOOF5, OperatingPoint(0.5, 1.0, 1.0), OperatingPoint(0.1, 1.0, 1.0)])
def test_actual_cost_of_gaussian_likelihood_ratios_is_near_the_minimum(at: OperatingPoint) -> None:
    # Unit normals at +d/2 and -d/2 have the log-likelihood ratio d * x, so no other threshold can be better.
    bonafide, spoof = 2.0 * (QUANTILES + 1.0), 2.0 * (QUANTILES - 1.0)
    p_miss, p_fa = norm.cdf(at.threshold / 2.0 - 1.0), norm.cdf(-at.threshold / 2.0 - 1.0)

    assert act_dcf(bonafide, spoof, at) == pytest.approx(float(at.cost(p_miss, p_fa)), abs=2e-3)
    assert min_dcf(bonafide, spoof, at) == pytest.approx(act_dcf(bonafide, spoof, at), abs=2e-3)
    assert act_dcf(bonafide + 3.0, spoof + 3.0, at) > min_dcf(bonafide + 3.0, spoof + 3.0, at) + 0.05


@pytest.mark.parametrize("p_spoof", [0.0, 1.0, -0.1])
def test_an_impossible_operating_point_is_refused(p_spoof: float) -> None:
    with pytest.raises(ValueError, match="p_spoof"):
        OperatingPoint(p_spoof)


def test_random_scores_fall_into_the_chance_interval_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    low, high = chance_interval(300, 200, level=0.95)
    rates = np.array([equal_error_rate(rng.normal(size=300), rng.normal(size=200)) for _ in range(1_000)])

    # 95 % of 1,000 is 950, with a deviation of 7
    assert 925 <= ((rates >= low) & (rates <= high)).sum() <= 975


def test_a_nan_among_the_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        equal_error_rate(np.array([1.0, np.nan]), np.array([0.0]))


def test_infinite_scores_are_scores() -> None:
    assert equal_error_rate(np.array([np.inf, 1.0]), np.array([-np.inf, 0.0])) == 0.0
    assert area_under_roc(np.array([np.inf]), np.array([np.inf])) == 0.5
