"""Intervals: that they cover as often as they say, agree with the plain metrics, and compare the same draws."""

from __future__ import annotations

import time
from dataclasses import fields

import numpy as np
import pytest
from scipy.stats import norm

from detector.metrics import Trials, compare, equal_error_rate, intervals, share_interval
from detector.metrics.intervals import MEASURES, _draws, _measure_draws
from detector.rejection import entropy_bits, p_spoof


def trials_of(score: np.ndarray, is_spoof: np.ndarray, cluster: np.ndarray, max_entropy: float = 0.8) -> Trials:
    """Trials judged at a prior of 0.5."""
    with np.errstate(invalid="ignore"):
        entropy, said = entropy_bits(score, 0.5), p_spoof(score, 0.5)
    wrong = ~np.isnan(score) & ((said > 0.5) != is_spoof)
    return Trials(score, is_spoof, said, entropy, wrong, entropy <= max_entropy, cluster)


def rearranged(trials: Trials, rows: object, **replaced: np.ndarray) -> Trials:
    """Trials by index, and some of their arrays replaced."""
    return Trials(**{field.name: vars(trials)[field.name][rows] for field in fields(Trials)} | replaced)


def drawn(
    rng: np.random.Generator, n_clusters: int, size: int, between: float, within: float, distance: float = 2.0
) -> Trials:
    """Scores of speakers and systems that each have a level of their own; half the clusters are spoof."""
    level = rng.normal(0.0, between, n_clusters) + distance * (np.arange(n_clusters) % 2 == 0)
    score = np.repeat(level, size) + rng.normal(0.0, within, n_clusters * size)
    cluster = np.repeat(np.arange(n_clusters), size)
    return trials_of(score, cluster % 2 == 1, cluster)


def test_every_measure_of_the_counts_is_the_plain_metric() -> None:
    rng = np.random.default_rng(0)
    trials = drawn(rng, 40, 20, 1.0, 1.0)
    score = trials.score.round(2)  # with ties
    score[:3] = np.nan  # and rows without a score
    trials = trials_of(score, trials.is_spoof, np.arange(len(score)))

    (counts,) = _draws(trials, 3, seed=0)
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


def test_an_interval_over_clusters_covers_the_truth_and_one_over_rows_does_not() -> None:
    # All together the classes are normals of variance 1 + 1, two apart: EER = Phi(-1 / sqrt(2)).
    truth = norm.cdf(-1.0 / np.sqrt(2.0))
    rng = np.random.default_rng(1)
    inside = {"clusters": 0, "rows": 0}
    for _ in range(200):
        trials = drawn(rng, 100, 10, 1.0, 1.0)
        for kind, cluster in (("clusters", trials.cluster), ("rows", np.arange(len(trials.score)))):
            rates = _measure_draws(rearranged(trials, ..., cluster=cluster), 100, seed=3)["equal_error_rate"]
            low, high = np.quantile(rates, [0.025, 0.975])
            inside[kind] += low <= truth <= high

    assert inside["clusters"] >= 0.88 * 200  # 95 %, less some for 50 clusters a class and 100 draws
    assert inside["rows"] <= 0.70 * 200


def test_the_same_trials_give_the_same_intervals() -> None:
    trials = drawn(np.random.default_rng(2), 20, 5, 1.0, 1.0)

    assert intervals(trials, n_draws=50) == intervals(trials, n_draws=50)
    assert intervals(trials, n_draws=50) != intervals(trials, n_draws=50, seed=1)


def test_many_scores_are_counted_on_a_grid_that_hardly_shows() -> None:
    rng = np.random.default_rng(3)
    trials = drawn(rng, 200, 200, 0.5, 1.0)  # 40,000 distinct scores, 4,096 thresholds
    exact = trials.measure()
    (counts,) = _draws(rearranged(trials, ..., cluster=trials.is_spoof), 1, seed=0)

    # one cluster a class: each draw is the trials themselves
    for name, measure in MEASURES.items():
        assert measure(counts)[0] == pytest.approx(exact[name], abs=1e-3), name


def test_a_head_is_no_better_than_itself() -> None:
    trials = drawn(np.random.default_rng(4), 20, 5, 1.0, 1.0)

    same = compare(trials, trials, n_draws=50)["equal_error_rate"]

    assert (same.value, same.low, same.high, same.share_below) == (0.0, 0.0, 0.0, 0.5)


def test_paired_draws_tell_apart_what_two_intervals_do_not() -> None:
    # Both heads hear the same speakers, whose levels differ much; the second hears them a little worse.
    rng = np.random.default_rng(5)
    good = drawn(rng, 60, 20, 1.5, 0.5)
    worse = trials_of(good.score + rng.normal(0.0, 1.2, len(good.score)), good.is_spoof, good.cluster)
    a, b = intervals(good, 300)["cllr"], intervals(worse, 300)["cllr"]

    difference = compare(good, worse, 300)["cllr"]

    assert a.high > b.low  # the intervals overlap
    assert difference.high < 0.0  # and yet the first is better
    assert difference.value == pytest.approx(a.value - b.value)
    assert difference.share_below > 0.99


def test_heads_that_judged_other_trials_are_not_compared() -> None:
    trials = drawn(np.random.default_rng(6), 20, 5, 1.0, 1.0)
    other = rearranged(trials, slice(None, None, -1))

    with pytest.raises(ValueError, match="the same order"):
        compare(trials, other, n_draws=10)


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        Trials(*(np.zeros(3) for _ in range(6)), cluster=np.zeros(2))  # type: ignore[arg-type]


def test_a_head_that_rejects_everything_has_no_risk() -> None:
    trials = drawn(np.random.default_rng(7), 20, 5, 1.0, 1.0)
    nothing = trials_of(trials.score, trials.is_spoof, trials.cluster, max_entropy=-1.0)

    found = intervals(nothing, n_draws=20)

    assert found["coverage"].high == 0.0
    assert np.isnan([found["risk"].value, found["risk"].low, found["risk"].high]).all()


def test_a_million_scores_take_seconds() -> None:
    rng = np.random.default_rng(8)
    trials = drawn(rng, 1_000, 1_000, 0.5, 1.0)
    before = time.process_time()

    trials.measure()

    assert time.process_time() - before < 20.0  # 1.6 s when measured alone
    assert trials.measure()["equal_error_rate"] == equal_error_rate(
        trials.score[~trials.is_spoof], trials.score[trials.is_spoof]
    )


def test_a_share_of_few_rows_has_an_interval_that_says_so() -> None:
    # Newcombe, Statistics in Medicine 17, 1998, table I, method 3
    for n_found, n_rows, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        found = share_interval(n_found, n_rows)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert share_interval(29, 29).high == 1.0
    assert np.isnan(share_interval(0, 0).value)
