"""Draws of clusters give the same metrics as the plain functions."""

from __future__ import annotations

import numpy as np
import pytest

from detector.metrics import resampling
from detector.metrics.resampling import MEASURES, draws, measure_draws, strata_of
from tests.unit.detector.metrics.drawn import drawn, rearranged, trials_of


def test_every_measure_of_the_counts_is_the_plain_metric() -> None:
    rng = np.random.default_rng(0)
    trials = drawn(rng, 40, 20, 1.0, 1.0)
    score = trials.score.round(2)  # with ties
    score[:3] = np.nan  # and rows without a score
    trials = trials_of(score, trials.is_spoof, np.arange(len(score)))

    (counts,) = draws(trials, strata_of([trials]), 3, seed=0)
    rng = np.random.default_rng(0)  # the draws once more: what has no score, bona fide, spoof
    times = np.zeros((3, len(score)), dtype=int)
    scored_of = [np.flatnonzero((trials.is_spoof == truth) & ~np.isnan(score)) for truth in (0, 1)]
    for row in times:
        for members in (np.arange(3), *scored_of):
            row[members] = np.bincount(rng.integers(len(members), size=len(members)), minlength=len(members))

    assert set(MEASURES) == set(trials.measure())
    for number in range(3):
        rows = np.repeat(np.arange(len(score)), times[number])
        for name, value in rearranged(trials, rows).measure().items():
            assert MEASURES[name](counts)[number] == pytest.approx(value, abs=1e-9), name


def test_a_grid_of_many_scores_hardly_changes_the_metrics() -> None:
    rng = np.random.default_rng(3)
    trials = drawn(rng, 200, 200, 0.5, 1.0)  # 40,000 distinct scores, 4,096 thresholds
    exact = trials.measure()
    by_class = rearranged(trials, ..., cluster=trials.is_spoof)
    (counts,) = draws(by_class, strata_of([by_class]), 1, seed=0)

    # one cluster a class: each draw is the trials themselves
    for name, measure in MEASURES.items():
        assert measure(counts)[0] == pytest.approx(exact[name], abs=1e-3), name


def test_draws_do_not_depend_on_how_they_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = drawn(np.random.default_rng(8), 20, 5, 1.0, 1.0)
    (whole,) = measure_draws([trials], 50, seed=0)

    monkeypatch.setattr(resampling, "CHUNK_NUMBERS", 1_000)  # a few draws in a chunk
    (in_chunks,) = measure_draws([trials], 50, seed=0)

    for name, values in whole.items():
        assert np.array_equal(values, in_chunks[name]), name


def test_a_draw_without_a_score_of_one_class_is_left_out() -> None:
    # The second head scored one of two speakers: of all draws, (1/2)^2 have the other one only.
    speaker = np.repeat(np.arange(4), 5)
    score = np.random.default_rng(9).normal(size=20)
    whole = trials_of(score, speaker >= 2, speaker)
    part = trials_of(np.where(speaker == 0, np.nan, score), speaker >= 2, speaker)

    of_whole, of_part = measure_draws([whole, part], 2_000, seed=0)

    for name in MEASURES:
        assert not np.isnan(of_whole[name]).any(), name
        assert np.isnan(of_part[name]).mean() == pytest.approx(0.25, abs=0.03), name
