"""The interval of the share of spoof holds the truth as often as it says, with a calibration from few rows, too."""

from __future__ import annotations

import numpy as np
import pytest

from detector.calibration import CALIBRATORS, bounded, calibrate, score_bounds
from detector.drift import MIDDLES, histogram, histograms
from detector.prior import MAX_DEVIANCE, estimated_prior, prior_interval, widened

SURE = np.array([-40.0, 40.0])  # nats: whoever has such a score is of one class
PURE = (np.array([0, 1_000]), np.array([1_000, 0]))


@pytest.mark.parametrize(("n_spoof", "n_bonafide"), [(3, 97), (50, 50), (250, 750)])
def test_of_scores_that_are_sure_the_interval_is_that_of_a_counted_share(n_spoof: int, n_bonafide: int) -> None:
    counts = np.array([n_spoof, n_bonafide])

    best, ends = estimated_prior(counts, SURE), prior_interval(counts, SURE, PURE)

    # The likelihood of a binomial, written out: at both ends, twice its loss is the quantile of the chi-square.
    assert best == pytest.approx(n_spoof / counts.sum(), rel=1e-6)
    for end in ends:
        lost = n_spoof * np.log(best / end) + n_bonafide * np.log((1 - best) / (1 - end))
        assert 2 * lost == pytest.approx(MAX_DEVIANCE, rel=1e-4)
    assert ends[0] < best < ends[1]


def test_where_no_recording_is_spoof_the_interval_begins_at_zero_and_where_all_are_it_ends_at_one() -> None:
    # P(no spoof among n) = (1 - share)^n, so twice its logarithm is -3.84 at the end
    assert prior_interval(np.array([0, 100]), SURE, PURE) == pytest.approx(
        (0.0, 1 - np.exp(-MAX_DEVIANCE / 200)), abs=1e-5
    )
    assert prior_interval(np.array([100, 0]), SURE, PURE) == pytest.approx((np.exp(-MAX_DEVIANCE / 200), 1.0), abs=1e-5)


def test_scores_that_tell_nothing_leave_all_shares_open() -> None:
    assert prior_interval(np.array([500]), np.array([0.0]), (np.array([100]), np.array([100]))) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("apart", "prior", "n_rows", "n_calibration"), [(1.5, 0.1, 1_000, 500), (2.0, 0.5, 20_000, 500)]
)
def test_the_interval_holds_the_truth_in_95_of_100_archives(
    apart: float, prior: float, n_rows: int, n_calibration: int
) -> None:
    # Logits of unit normals: each draw learns a calibration from its own few rows, as a head does.
    n_draws, held = 80, 0
    for seed in range(n_draws):
        rng = np.random.default_rng(seed)

        def draw(is_bonafide: np.ndarray, rng: np.random.Generator = rng) -> np.ndarray:
            return rng.normal(np.where(is_bonafide, apart / 2, -apart / 2), 1.0)

        is_bonafide = rng.random(n_calibration) < 0.5
        logits = draw(is_bonafide)
        numbers, bounds = calibrate("affine", logits, is_bonafide), score_bounds(is_bonafide)
        calibration = histograms(bounded(CALIBRATORS["affine"].apply(numbers, logits), bounds), is_bonafide)
        archive = bounded(CALIBRATORS["affine"].apply(numbers, draw(rng.random(n_rows) >= prior)), bounds)
        rows = (np.array(calibration["bonafide"]), np.array(calibration["spoof"]))
        low, high = prior_interval(histogram(archive), MIDDLES, rows)
        held += low <= prior <= high

    # of 80 draws, fewer than 71 are seen in one of a hundred such tests
    assert held >= 71


@pytest.mark.parametrize("misfit", [0.0, 0.05, 0.2])
def test_a_misfit_moves_the_share_by_no_more_than_the_interval_is_widened(misfit: float) -> None:
    # Of bona fide scores, 3 in 4 are high; of spoof, 1 in 4: D is 1/2. The misfit moves scores from high to low.
    true_share, difference = 0.4, 0.5
    share_low = (1 - true_share) * 0.25 + true_share * 0.75 + misfit

    found = (share_low - 0.25) / difference
    low, high = widened((found, found), misfit, cllr=1 - difference)

    assert low - 1e-12 <= true_share <= high + 1e-12
