"""detector.metrics: closed forms, hand counts, and the published code of Pascu et al."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import roc_curve

from detector.metrics import cllr, equal_error_rate, error_rates, expected_calibration_error, risk_coverage

QUANTILES = norm.ppf((np.arange(20_000) + 0.5) / 20_000)  # a unit normal, without chance


def scores_with_ties(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bona fide and spoof scores that overlap, rounded so that many are equal."""
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 1.0, size=300).round(1), rng.normal(-0.5, 1.5, size=70).round(1)


@pytest.mark.parametrize("distance", [0.5, 2.0, 4.0])
def test_eer_of_two_gaussians_is_the_closed_form(distance: float) -> None:
    # Unit normals a distance apart cross halfway, so EER = Phi(-distance / 2).
    eer = equal_error_rate(QUANTILES + distance, QUANTILES)

    assert eer == pytest.approx(norm.cdf(-distance / 2), abs=1e-4)


def test_scores_that_point_the_wrong_way_err_more_often_than_a_coin() -> None:
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


def test_error_rates_are_hand_counts_at_every_score() -> None:
    thresholds, p_miss, p_fa = error_rates(np.array([3.0, 1.0, 2.0, 2.0]), np.array([2.0, 0.0]))

    assert thresholds.tolist() == [0.0, 1.0, 2.0, 3.0, np.inf]
    assert p_miss.tolist() == [0.0, 0.0, 0.25, 0.75, 1.0]  # of 1, 2, 2, 3 below the threshold
    assert p_fa.tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]  # of 0, 2 at or above it


@pytest.mark.parametrize(("n_bonafide", "n_spoof"), [(0, 3), (3, 0)])
def test_error_rates_need_both_classes(n_bonafide: int, n_spoof: int) -> None:
    with pytest.raises(ValueError, match=f"{n_bonafide} bona fide and {n_spoof} spoof"):
        equal_error_rate(np.zeros(n_bonafide), np.zeros(n_spoof))


@pytest.mark.parametrize(
    ("bonafide", "spoof", "bits"),
    [
        ([800.0], [-800.0], 0.0),
        ([0.0, 0.0], [0.0], 1.0),
        ([np.log(3)], [-np.log(3)], np.log2(4 / 3)),  # posteriors of 3/4 for what is true
        ([np.log(3)], [np.log(3)], (np.log2(4 / 3) + np.log2(4)) / 2),  # of 3/4 and 1/4
        ([np.log(3), 0.0], [-np.log(7)], ((np.log2(4 / 3) + 1) / 2 + np.log2(8 / 7)) / 2),
        ([-1_000.0], [1_000.0], 1_000 / np.log(2)),  # a thousand nats wrong, where exp overflows
    ],
)
def test_cllr_is_the_mean_of_the_bits_lost(bonafide: list[float], spoof: list[float], bits: float) -> None:
    assert cllr(np.array(bonafide), np.array(spoof)) == pytest.approx(bits, abs=1e-12)


def test_cllr_does_not_depend_on_how_many_there_are_of_each_class() -> None:
    bonafide, spoof = np.array([2.0, -1.0]), np.array([-3.0, 0.5])

    assert cllr(np.tile(bonafide, 50), spoof) == pytest.approx(cllr(bonafide, spoof))


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
