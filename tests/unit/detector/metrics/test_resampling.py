"""Draws of clusters give the same metrics as the plain functions."""

from __future__ import annotations

import numpy as np
import pytest

from detector.metrics.resampling import MEASURES, draws
from tests.unit.detector.metrics.drawn import drawn, rearranged, trials_of


def test_every_measure_of_the_counts_is_the_plain_metric() -> None:
    rng = np.random.default_rng(0)
    trials = drawn(rng, 40, 20, 1.0, 1.0)
    score = trials.score.round(2)  # with ties
    score[:3] = np.nan  # and rows without a score
    trials = trials_of(score, trials.is_spoof, np.arange(len(score)))

    (counts,) = draws(trials, 3, seed=0)
    rng = np.random.default_rng(0)  # the draws once more: what has no score, bona fide, spoof
    times = np.zeros((3, len(score)), dtype=int)
    for members in (np.arange(3), *(np.flatnonzero((trials.is_spoof == truth) & ~np.isnan(score)) for truth in (0, 1))):
        for row in times:
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
    (counts,) = draws(rearranged(trials, ..., cluster=trials.is_spoof), 1, seed=0)

    # one cluster a class: each draw is the trials themselves
    for name, measure in MEASURES.items():
        assert measure(counts)[0] == pytest.approx(exact[name], abs=1e-3), name
