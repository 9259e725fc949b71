"""Scores drawn from known mixtures give a warning if, and only if, they differ from the calibration rows."""

from __future__ import annotations

import numpy as np
import pytest

from detector.drift import MIDDLES, Drift, drift, histogram, histograms
from detector.prior import estimated_prior


def scores(n_rows: int, prior: float, *, seed: int = 0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratios of unit normals three apart: N(±4.5, 9)."""
    rng = np.random.default_rng(seed)
    is_bonafide = rng.random(n_rows) >= prior
    return rng.normal(np.where(is_bonafide, 4.5, -4.5), 3.0) + shift, is_bonafide


CALIBRATION = histograms(*scores(5_000, 0.5))


def moved(found: np.ndarray, far: int = 0, *, accepted: float = 0.9, cllr: float | None = 0.2) -> Drift:
    """Drift of scores of which the head accepted a share; a head of these scores has a Cllr of about 0.2 bits."""
    drifted = drift(histogram(found), far, CALIBRATION, n_accepted=round(accepted * len(found)), cllr=cllr)
    assert drifted is not None
    return drifted


@pytest.mark.parametrize("prior", [0.001, 0.02, 0.3, 0.9])
def test_the_share_of_spoof_is_found_from_calibrated_scores(prior: float) -> None:
    found = estimated_prior(histogram(scores(200_000, prior, seed=1)[0]), MIDDLES)

    assert found == pytest.approx(prior, rel=0.15, abs=3e-4)


@pytest.mark.parametrize("n_rows", [50, 500, 20_000])
@pytest.mark.parametrize("prior", [0.01, 0.5])
def test_an_archive_of_the_calibration_rows_kind_gives_no_warning(n_rows: int, prior: float) -> None:
    found = moved(scores(n_rows, prior, seed=2)[0], n_rows // 100)

    assert found.distance < 0.1
    assert found.warnings(prior) == []


def test_scores_that_moved_are_noticed() -> None:
    found = moved(scores(5_000, 0.5, seed=3, shift=5.0)[0])

    assert any("differ from those of the calibration rows" in text for text in found.warnings(0.5))


def test_another_share_of_spoof_is_reported_with_an_interval_that_holds_it() -> None:
    found = moved(scores(5_000, 0.02, seed=4)[0])

    (text,) = found.warnings(0.5)
    assert found.prior_low is not None
    assert found.prior_high is not None
    assert found.prior_low < 0.02 < found.prior_high < 0.06
    assert text.startswith(f"the scores suggest {found.prior_low:.2%} to {found.prior_high:.2%} spoof")
    assert "nothing was changed" in text


def test_a_share_of_spoof_is_reported_only_where_the_whole_interval_is_three_times_the_odds_away() -> None:
    found = Drift(0.2, 0.0, 0.0, prior_low=0.1, prior_high=0.25)  # odds of 1 to 9, and of 1 to 3

    # 1 to 27 and 1 to 1 are three times the odds: 0.0357 and 0.5
    assert [bool(found.warnings(prior)) for prior in (0.0350, 0.0364, 0.49, 0.51)] == [True, False, False, True]


def test_rows_far_out_are_reported_and_then_no_share_of_spoof() -> None:
    found = moved(scores(5_000, 0.02, seed=4)[0], 1_000)

    (text,) = found.warnings(0.5)
    assert found.far == pytest.approx(0.2, rel=0.01)
    assert text.startswith("20% of the archive is farther")
    assert found.estimated_prior is None


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"accepted": 0.0198}, "accepted 99 recordings, fewer than 100"),
        ({"accepted": 0.499}, "rejected most recordings, 2505 of 5000"),
        ({"cllr": 0.8}, "held-out Cllr is 0.800, not below 0.8 bits"),
        ({"cllr": None}, "held-out Cllr is unknown"),
        ({"cllr": float("nan")}, "held-out Cllr is nan"),
    ],
)
def test_no_share_of_spoof_is_told_where_the_scores_cannot_tell_it(how: dict[str, float | None], reason: str) -> None:
    rows = scores(5_000, 0.02, seed=4)[0]

    found = moved(rows, **how)  # type: ignore[arg-type]

    assert moved(rows).warnings(0.5) != []
    assert found.warnings(0.5) == []
    assert (found.estimated_prior, found.prior_low, found.prior_high) == (None, None, None)
    assert reason in str(found.not_estimated)


def test_an_archive_half_of_unseen_spoof_that_scores_as_bona_fide_is_not_said_to_have_none() -> None:
    # Spoof of a system that the head never met scores like bona fide speech; both are rejected as far out.
    looks_bonafide = scores(4_000, 0.0, seed=5)[0]

    found = moved(looks_bonafide, far=3_900, accepted=0.025)

    assert not any("spoof" in text for text in found.warnings(0.5))
    assert moved(looks_bonafide).warnings(0.5) != []


def test_scores_that_fit_no_mixture_well_widen_the_interval() -> None:
    one_in_ten_at_zero = np.where(np.arange(5_000) % 10 == 0, 0.1, scores(5_000, 0.3, seed=6)[0])

    found, plain = moved(one_in_ten_at_zero), moved(scores(5_000, 0.3, seed=6)[0])

    assert found.distance > 0.05
    assert found.prior_high is not None
    assert found.prior_low is not None
    assert plain.prior_high is not None
    assert plain.prior_low is not None
    # by the distance over 1 - Cllr on both sides, and by little else
    wider = (found.prior_high - found.prior_low) - (plain.prior_high - plain.prior_low)
    assert wider == pytest.approx(2 * (found.distance - plain.distance) / 0.8, abs=0.01)


def test_a_record_of_an_earlier_version_has_no_interval_and_gives_no_warning_of_a_share() -> None:
    assert Drift(**{"estimated_prior": 1e-6, "distance": 0.1, "far": 0.0}).warnings(0.5) == []


def test_without_scores_or_calibration_rows_there_is_no_drift() -> None:
    assert drift(histogram(np.zeros(0)), 0, CALIBRATION, n_accepted=0, cllr=0.2) is None
    assert drift(histogram(np.zeros(3)), 0, {}, n_accepted=3, cllr=0.2) is None


def test_counts_of_shards_add_up() -> None:
    score = np.random.default_rng(0).normal(0, 20, 1_000)

    assert (histogram(score[:300]) + histogram(score[300:]) == histogram(score)).all()
