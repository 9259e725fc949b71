"""detector.calibration: logits of two normals, whose log-likelihood ratio is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from detector.calibration import CALIBRATORS, affine


def normal(mean: float, deviation: float, n: int) -> np.ndarray:
    """A normal's quantiles: its sample without chance."""
    return mean + deviation * norm.ppf((np.arange(n) + 0.5) / n)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
@pytest.mark.parametrize(("n_bonafide", "n_spoof"), [(20_000, 20_000), (20_000, 1_000), (1_000, 20_000)])
@pytest.mark.parametrize(("distance", "deviation", "offset"), [(1.0, 1.0, 0.0), (2.0, 1.0, 0.0), (2.0, 3.0, -5.0)])
def test_scores_are_the_log_likelihood_ratio_whatever_the_share_of_spoof(
    calibrator: str, n_bonafide: int, n_spoof: int, distance: float, deviation: float, offset: float
) -> None:
    # Unit normals at +d/2 and -d/2 have the ratio d * x. Logits are such an x, stretched and moved.
    bonafide = normal(offset + deviation * distance / 2, deviation, n_bonafide)
    spoof = normal(offset - deviation * distance / 2, deviation, n_spoof)
    logits = np.concatenate([bonafide, spoof])

    slope, intercept = CALIBRATORS[calibrator](logits, np.arange(len(logits)) < n_bonafide)

    assert slope == pytest.approx(distance / deviation, rel=0.01)
    assert intercept == pytest.approx(-offset * distance / deviation, abs=0.01)


def test_logits_that_point_the_wrong_way_get_a_slope_below_zero() -> None:
    bonafide, spoof = normal(-1.0, 1.0, 500), normal(1.0, 1.0, 500)

    slope, _ = affine(np.concatenate([bonafide, spoof]), np.arange(1_000) < 500)

    assert slope == pytest.approx(-2.0, rel=0.02)


def test_logits_that_separate_the_classes_give_finite_numbers() -> None:
    slope, intercept = affine(np.array([-3.0, -2.0, 2.0, 3.0]), np.array([False, False, True, True]))

    assert slope > 0
    assert np.isfinite([slope, intercept]).all()
