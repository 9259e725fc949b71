"""Scores drawn from known mixtures give a warning if, and only if, they differ from the calibration rows."""

from __future__ import annotations

import numpy as np
import pytest

from detector.drift import drift, estimated_prior, histogram, histograms


def scores(n_rows: int, prior: float, *, seed: int = 0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratios of unit normals three apart: N(±4.5, 9)."""
    rng = np.random.default_rng(seed)
    is_bonafide = rng.random(n_rows) >= prior
    return rng.normal(np.where(is_bonafide, 4.5, -4.5), 3.0) + shift, is_bonafide


CALIBRATION = histograms(*scores(5_000, 0.5))


@pytest.mark.parametrize("prior", [0.001, 0.02, 0.3, 0.9])
def test_the_share_of_spoof_is_found_from_calibrated_scores(prior: float) -> None:
    found = estimated_prior(histogram(scores(200_000, prior, seed=1)[0]))

    assert found == pytest.approx(prior, rel=0.15, abs=3e-4)


@pytest.mark.parametrize("n_rows", [50, 500, 20_000])
@pytest.mark.parametrize("prior", [0.01, 0.5])
def test_an_archive_of_the_calibration_rows_kind_gives_no_warning(n_rows: int, prior: float) -> None:
    found = drift(histogram(scores(n_rows, prior, seed=2)[0]), n_rows // 100, CALIBRATION)

    assert found is not None
    assert found.distance < 0.1
    assert [text for text in found.warnings(prior) if not text.startswith("the scores suggest")] == []


def test_scores_that_moved_are_noticed() -> None:
    found = drift(histogram(scores(5_000, 0.5, seed=3, shift=5.0)[0]), 0, CALIBRATION)

    assert found is not None
    assert any("differ from those of the calibration rows" in text for text in found.warnings(0.5))


def test_rows_far_out_and_another_share_of_spoof_are_reported() -> None:
    found = drift(histogram(scores(5_000, 0.02, seed=4)[0]), 1_000, CALIBRATION)

    assert found is not None
    assert found.far == pytest.approx(0.2, rel=0.01)
    said = found.warnings(0.5)
    assert [" ".join(text.split()[:3]) for text in said] == ["20% of the", "the scores suggest"]
    assert "nothing was changed" in said[1]


def test_without_scores_or_calibration_rows_there_is_no_drift() -> None:
    assert drift(histogram(np.zeros(0)), 0, CALIBRATION) is None
    assert drift(histogram(np.zeros(3)), 0, {}) is None


def test_counts_of_shards_add_up() -> None:
    score = np.random.default_rng(0).normal(0, 20, 1_000)

    assert (histogram(score[:300]) + histogram(score[300:]) == histogram(score)).all()
