"""Likelihood metrics agree with hand counts, closed forms and public packages."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression

from detector.metrics import cllr, min_cllr
from tests.support.scores import QUANTILES, UNTIED, untied


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


def test_cllr_does_not_depend_on_the_sizes_of_the_classes() -> None:
    bonafide, spoof = np.array([2.0, -1.0]), np.array([-3.0, 0.5])

    assert cllr(np.tile(bonafide, 50), spoof) == pytest.approx(cllr(bonafide, spoof))


@pytest.mark.parametrize("case", UNTIED)
def test_cllr_and_its_minimum_are_those_of_the_public_packages(case: tuple[float, ...]) -> None:
    bonafide, spoof = untied(*case)

    assert cllr(bonafide, spoof) == pytest.approx(UNTIED[case]["asvspoof5_cllr"], abs=1e-12)
    assert min_cllr(bonafide, spoof) == pytest.approx(UNTIED[case]["llreval_min_cllr"], abs=1e-12)


@pytest.mark.parametrize("distance", [1.0, 2.0, 3.0])
def test_cllr_of_gaussian_likelihood_ratios_is_the_integral_and_no_map_improves_it(distance: float) -> None:
    # Unit normals d apart: the log-likelihood ratio of a bona fide trial is normal, mean d^2 / 2, deviation d.
    def lost(score: float) -> float:
        return norm.pdf(score, distance**2 / 2, distance) * np.logaddexp(0.0, -score) / np.log(2)

    expected = quad(lost, -40, 60, limit=200)[0]
    bonafide, spoof = distance * (QUANTILES + distance / 2), distance * (QUANTILES - distance / 2)

    assert cllr(bonafide, spoof) == pytest.approx(expected, abs=1e-3)
    assert min_cllr(bonafide, spoof) == pytest.approx(expected, abs=5e-3)  # it fits 40,000 trials a little


@pytest.mark.parametrize(
    ("bonafide", "spoof", "bits"),
    [
        ([2.0, 3.0], [0.0, 1.0], 0.0),  # told apart
        ([0.0, 1.0], [2.0, 3.0], 1.0),  # reversed: no rising map can use it, one pool of all
        ([1.0, 1.0], [1.0], 1.0),  # one score, one pool
        # a pool of (1 bona fide, 1 spoof) at 1, the rest alone: both lose a bit, and are half of their class
        ([1.0, 2.0], [1.0, 0.0], 0.5),
        # pools {s}, {b, b, s}, {b}: ratio of shares (2/3) / (1/2), so posteriors of 4/7 and 3/7
        ([1.0, 1.5, 4.0], [0.0, 2.0], (2 / 3 * np.log2(7 / 4) + 1 / 2 * np.log2(7 / 3)) / 2),
    ],
)
def test_the_minimum_cllr_is_the_hand_count(bonafide: list[float], spoof: list[float], bits: float) -> None:
    assert min_cllr(np.array(bonafide), np.array(spoof)) == pytest.approx(bits, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_minimum_cllr_of_many_ties_is_that_of_isotonic_regression_on_the_trials(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bonafide, spoof = rng.normal(3.0, 5.0, 60).round(), rng.normal(0.0, 5.0, 300).round()
    truth = np.repeat([1.0, 0.0], [60, 300])
    # scikit-learn's own way with ties; posteriors to likelihood ratios by the share of the classes
    fitted = IsotonicRegression().fit_transform(np.concatenate([bonafide, spoof]), truth)
    with np.errstate(divide="ignore"):
        ratio = np.log(fitted) - np.log1p(-fitted) - np.log(60 / 300)

    expected = cllr(ratio[:60], ratio[60:])
    assert min_cllr(bonafide, spoof) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_minimum_cllr_does_not_change_under_a_rising_map_and_is_the_minimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bonafide, spoof = rng.normal(1.0, 1.0, 200).round(1), rng.normal(-1.0, 2.0, 50).round(1)
    least = min_cllr(bonafide, spoof)

    assert min_cllr(np.exp(bonafide), np.exp(spoof)) == pytest.approx(least)
    for slope, shift in ((1.0, 0.0), (0.5, 0.3), (2.0, -1.0)):
        assert cllr(slope * bonafide + shift, slope * spoof + shift) >= least


@pytest.mark.parametrize("metric", [cllr, min_cllr])
def test_a_missing_class_is_refused(metric: object) -> None:
    with pytest.raises(ValueError, match="0 bona fide and 2 spoof"):
        metric(np.array([]), np.array([0.0, 1.0]))  # type: ignore[operator]
