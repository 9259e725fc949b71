"""Intervals cover the truth as often as they state, and the same trials give the same intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from detector.metrics import intervals, share_interval
from detector.metrics.resampling import measure_draws
from tests.unit.detector.metrics.drawn import drawn, rearranged, trials_of


def test_an_interval_over_clusters_covers_the_truth_and_one_over_rows_does_not() -> None:
    # All together the classes are normals of variance 1 + 1, two apart: EER = Phi(-1 / sqrt(2)).
    truth = norm.cdf(-1.0 / np.sqrt(2.0))
    rng = np.random.default_rng(1)
    inside = {"clusters": 0, "rows": 0}
    for _ in range(200):
        trials = drawn(rng, 100, 10, 1.0, 1.0)
        for kind, cluster in (("clusters", trials.cluster), ("rows", np.arange(len(trials.score)))):
            rates = measure_draws(rearranged(trials, ..., cluster=cluster), 100, seed=3)["equal_error_rate"]
            low, high = np.quantile(rates, [0.025, 0.975])
            inside[kind] += low <= truth <= high

    assert inside["clusters"] >= 0.88 * 200  # 95 %, less some for 50 clusters a class and 100 draws
    assert inside["rows"] <= 0.70 * 200


def test_the_same_trials_give_the_same_intervals() -> None:
    trials = drawn(np.random.default_rng(2), 20, 5, 1.0, 1.0)

    assert intervals(trials, n_draws=50) == intervals(trials, n_draws=50)
    assert intervals(trials, n_draws=50) != intervals(trials, n_draws=50, seed=1)


def test_a_head_that_rejects_everything_has_no_risk() -> None:
    trials = drawn(np.random.default_rng(7), 20, 5, 1.0, 1.0)
    nothing = trials_of(trials.score, trials.is_spoof, trials.cluster, max_entropy=-1.0)

    found = intervals(nothing, n_draws=20)

    assert found["coverage"].high == 0.0
    assert np.isnan([found["risk"].value, found["risk"].low, found["risk"].high]).all()


def test_the_interval_of_a_share_is_the_published_one() -> None:
    # Newcombe, Statistics in Medicine 17, 1998, table I, method 3
    for n_found, n_rows, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        found = share_interval(n_found, n_rows)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert share_interval(29, 29).high == 1.0
    assert np.isnan(share_interval(0, 0).value)
