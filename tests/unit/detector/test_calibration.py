"""Calibration recovers the known log-likelihood ratio of two normals."""

from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest
from scipy.stats import norm

from detector.calibration import CALIBRATORS, bounded, calibrate, score_bounds
from detector.errors import ConfigError
from detector.metrics import cllr


def normal(mean: float, deviation: float, n: int) -> np.ndarray:
    """Evenly spaced quantiles of a normal: a sample without randomness."""
    return mean + deviation * norm.ppf((np.arange(n) + 0.5) / n)


def drawn(distance: float, deviation: float, offset: float, n_bonafide: int, n_spoof: int) -> tuple[np.ndarray, ...]:
    """Scaled and shifted logits of unit normals at +d/2 and -d/2, the labels, and the log-likelihood ratio d * x."""
    bonafide, spoof = normal(distance / 2, 1.0, n_bonafide), normal(-distance / 2, 1.0, n_spoof)
    x = np.concatenate([bonafide, spoof])
    return offset + deviation * x, np.arange(len(x)) < n_bonafide, distance * x


@pytest.mark.parametrize("calibrator", CALIBRATORS)
@pytest.mark.parametrize(("n_bonafide", "n_spoof"), [(20_000, 20_000), (20_000, 1_000), (1_000, 20_000)])
@pytest.mark.parametrize(("distance", "deviation", "offset"), [(1.0, 1.0, 0.0), (2.0, 1.0, 0.0), (2.0, 3.0, -5.0)])
def test_scores_are_the_log_likelihood_ratio_whatever_the_share_of_spoof(
    calibrator: str, n_bonafide: int, n_spoof: int, distance: float, deviation: float, offset: float
) -> None:
    if calibrator in ("temperature", "beta"):
        offset = 0.0  # these take the logit's zero as it is
    logits, is_bonafide, llr = drawn(distance, deviation, offset, n_bonafide, n_spoof)

    score = CALIBRATORS[calibrator].apply(calibrate(calibrator, logits, is_bonafide), logits)

    middle = np.abs(llr) < 2.0  # a twentieth of ln 20, the trace that a prior would leave
    tolerance = 0.15 if calibrator in ("affine", "temperature") else 0.3
    assert np.abs(score[middle] - llr[middle]).mean() < tolerance / 3
    assert np.abs(score[middle] - llr[middle]).max() < (1.0 if calibrator == "isotonic" else tolerance)


def test_affine_is_the_slope_and_intercept_of_the_closed_form() -> None:
    logits, is_bonafide, _ = drawn(2.0, 3.0, -5.0, 20_000, 1_000)

    slope, intercept = calibrate("affine", logits, is_bonafide)

    assert slope == pytest.approx(2.0 / 3.0, rel=0.01)
    assert intercept == pytest.approx(10.0 / 3.0, rel=0.01)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
@pytest.mark.parametrize("seed", range(5))
def test_calibration_never_makes_its_own_rows_worse(calibrator: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    is_bonafide = rng.random(300) < rng.uniform(0.2, 0.8)
    logits = rng.lognormal(0, 2) * (rng.normal(size=300) + is_bonafide * rng.uniform(0.5, 3.0))

    score = CALIBRATORS[calibrator].apply(calibrate(calibrator, logits, is_bonafide), logits)

    after = cllr(score[is_bonafide], score[~is_bonafide])
    assert after <= cllr(logits[is_bonafide], logits[~is_bonafide]) + 1e-6
    assert after <= 1.0 + 1e-6 or calibrator == "temperature"
    assert (np.diff(score[np.argsort(logits)]) >= 0).all()


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_logits_that_point_the_wrong_way_are_refused(calibrator: str) -> None:
    logits, is_bonafide, _ = drawn(1.0, 1.0, 0.0, 500, 500)

    with pytest.raises(ConfigError, match="no better than chance"):
        calibrate(calibrator, -logits, is_bonafide)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_logits_that_separate_the_classes_give_finite_numbers(calibrator: str) -> None:
    logits, is_bonafide = np.array([-3.0, -2.0, 2.0, 3.0]), np.array([False, False, True, True])

    numbers = calibrate(calibrator, logits, is_bonafide)

    assert np.isfinite(numbers).all()
    assert CALIBRATORS[calibrator].fits(numbers)
    assert (np.sign(CALIBRATORS[calibrator].apply(numbers, logits)) == np.sign(logits)).all()


def test_scores_stay_within_their_bounds_and_keep_their_order() -> None:
    bounds = score_bounds(np.arange(600) < 500)  # 500 bona fide, 100 spoof
    score = np.linspace(-30, 30, 601)

    found = bounded(score, bounds)

    assert bounds == pytest.approx((-np.log(501), np.log(101)))
    assert bounds[0] < found.min()
    assert found.max() < bounds[1]
    assert (np.diff(found) > 0).all()
    assert np.abs(found - score)[np.abs(score) < 1].max() < 0.03  # ln(1 + e/101)


def test_a_score_of_any_size_reaches_its_bound_and_never_falls() -> None:
    # ln((e^s + e^low) / (1 + e^(s - high))) tends to low and high
    score = np.array([-np.inf, -1e308, -1e16, -800.0, 0.0, 30.0, 800.0, 1e4, 1e16, 1e300, 1e308, np.inf])

    found = bounded(score, (-5.0, 7.0))

    assert found[[0, -1]].tolist() == [-5.0, 7.0]
    assert found[-5:] == pytest.approx(7.0, abs=1e-12)
    assert (np.diff(found) >= -1e-12).all()


def test_bounded_scores_are_the_formula_in_exact_arithmetic() -> None:
    # 50 digits by Python's decimals
    getcontext().prec = 50
    for score in (-40.0, -5.0, -0.3, 2.0, 7.0, 33.0, 790.0):
        above = Decimal(score).exp() + Decimal(-5).exp()
        expected = (above / (1 + (Decimal(score) - 7).exp())).ln()
        assert bounded(np.array([score]), (-5.0, 7.0))[0] == pytest.approx(float(expected), abs=2e-13)
