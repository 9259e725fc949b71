"""Intervals cover the truth as often as they state, and the same trials give the same intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from detector.metrics import compare, intervals, share_interval
from detector.metrics.intervals import quantile_range
from detector.metrics.resampling import measure_draws
from tests.unit.detector.metrics.drawn import drawn, rearranged, trials_of


def test_an_interval_over_clusters_covers_the_truth_and_one_over_rows_does_not() -> None:
    # All together the classes are normals of variance 1 + 1, two apart: EER = Phi(-1 / sqrt(2)).
    truth = norm.cdf(-1.0 / np.sqrt(2.0))
    rng = np.random.default_rng(1)
    inside = {"clusters": 0, "rows": 0}
    for _ in range(100):
        trials = drawn(rng, 100, 10, 1.0, 1.0)
        for kind, cluster in (("clusters", trials.cluster), ("rows", np.arange(len(trials.score)))):
            (drawn_metrics,) = measure_draws([rearranged(trials, ..., cluster=cluster)], 100, seed=3)
            low, high = np.quantile(drawn_metrics["equal_error_rate"], [0.025, 0.975])
            inside[kind] += low <= truth <= high

    assert inside["clusters"] >= 0.88 * 100  # 95 %, less some for 50 clusters a class and 100 draws
    assert inside["rows"] <= 0.75 * 100


def test_the_same_trials_give_the_same_intervals() -> None:
    trials = drawn(np.random.default_rng(2), 20, 5, 1.0, 1.0)

    assert repr(intervals(trials, n_draws=50)) == repr(intervals(trials, n_draws=50))  # NaN does not equal itself
    assert intervals(trials, n_draws=50)["cllr"] != intervals(trials, n_draws=50, seed=1)["cllr"]


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


@pytest.mark.parametrize("n_clusters", [4, 10, 50])
def test_draws_of_a_mean_give_student_s_interval(n_clusters: int) -> None:
    # The mean of n values has draws of variance s² (n - 1) / n² about it; Student's half-width is t s / sqrt(n).
    deviation = np.sqrt(n_clusters - 1.0) / n_clusters
    drawn_means = deviation * norm.ppf((np.arange(2_000_000) + 0.5) / 2_000_000)

    low, high = quantile_range(drawn_means, 0.95, n_clusters)

    half = t.ppf(0.975, n_clusters - 1) / np.sqrt(n_clusters)
    assert (low, high) == pytest.approx((-half, half), rel=3e-3)


def test_one_cluster_gives_the_range_of_all_draws() -> None:
    assert quantile_range(np.array([0.3, np.nan, 0.1, 0.2]), 0.95, 1) == (0.1, 0.3)


def test_a_calibration_error_has_no_interval() -> None:
    trials = drawn(np.random.default_rng(12), 20, 5, 1.0, 1.0)
    noisier = trials_of(trials.score + 0.1, trials.is_spoof, trials.cluster)

    of_head = intervals(trials, 20)["expected_calibration_error"]
    of_pair = compare(trials, noisier, 20)["expected_calibration_error"]

    assert of_head.value > 0.0
    assert np.isnan([of_head.low, of_head.high, of_pair.low, of_pair.high, of_pair.share_below]).all()


@pytest.mark.parametrize("name", ["min_dcf", "min_cllr"])
def test_a_metric_that_is_chosen_on_the_trials_is_shifted_by_twice_its_bias(name: str) -> None:
    trials = drawn(np.random.default_rng(13), 20, 5, 1.0, 1.0)  # ten clusters of a class
    (of_draws,) = measure_draws([trials], 200, seed=1)

    found = intervals(trials, 200, seed=1)[name]

    bias = of_draws[name].mean() - trials.measure()[name]
    tail = norm.cdf(t.ppf(0.025, 9) * np.sqrt(10 / 9))
    expected = np.quantile(of_draws[name], [tail, 1 - tail]) - 2 * bias
    assert bias < 0.0
    assert (found.low, found.high) == pytest.approx(tuple(expected))
