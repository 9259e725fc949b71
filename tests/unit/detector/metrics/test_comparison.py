"""Two heads are compared on the same trials and the same draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from detector.metrics import Trials, compare, intervals
from tests.unit.detector.metrics.drawn import drawn, rearranged, trials_of


def test_a_head_is_no_better_than_itself() -> None:
    trials = drawn(np.random.default_rng(4), 20, 5, 1.0, 1.0)

    same = compare(trials, trials, n_draws=50)["equal_error_rate"]

    assert (same.value, same.low, same.high, same.share_below) == (0.0, 0.0, 0.0, 0.5)


def test_paired_draws_separate_heads_whose_intervals_overlap() -> None:
    # Both heads score the same speakers, whose levels differ a lot; the second is slightly noisier.
    rng = np.random.default_rng(5)
    good = drawn(rng, 60, 20, 1.5, 0.5)
    worse = trials_of(good.score + rng.normal(0.0, 1.2, len(good.score)), good.is_spoof, good.cluster)
    a, b = intervals(good, 300)["cllr"], intervals(worse, 300)["cllr"]

    difference = compare(good, worse, 300)["cllr"]

    assert a.high > b.low  # the intervals overlap
    assert difference.high < 0.0  # and yet the first is better
    assert difference.value == pytest.approx(a.value - b.value)
    assert difference.share_below > 0.99


def test_a_head_does_not_differ_from_itself_with_rounded_scores() -> None:
    # Fewer distinct scores make for larger chunks of draws, which must not change the draws.
    trials = drawn(np.random.default_rng(0), 300, 10, 1.0, 1.0)
    rounded = trials_of(trials.score.round(3), trials.is_spoof, trials.cluster)

    found = compare(trials, rounded, n_draws=1_000)

    # no score moves by more than 0.0005 nats, and no row's bits by more than the score
    assert -0.0005 / np.log(2.0) < found["cllr"].low < found["cllr"].high < 0.0005 / np.log(2.0)
    assert found["brier_score"].high - found["brier_score"].low < 0.001
    assert found["equal_error_rate"].high - found["equal_error_rate"].low < 0.002


def test_the_draws_are_those_of_a_loop_though_one_head_left_a_speaker_out() -> None:
    rng = np.random.default_rng(11)
    first = drawn(rng, 12, 4, 1.0, 1.0)
    score = first.score + rng.normal(0.0, 0.3, len(first.score))
    second = trials_of(np.where(first.cluster == 2, np.nan, score), first.is_spoof, first.cluster)

    found = compare(first, second, n_draws=40, seed=3)["cllr"]

    rng, differences = np.random.default_rng(3), []
    for _ in range(40):
        rows = []
        for clusters in (np.arange(0, 12, 2), np.arange(1, 12, 2)):  # bona fide, spoof
            for drawn_cluster in clusters[rng.integers(6, size=6)]:
                rows += np.flatnonzero(first.cluster == drawn_cluster).tolist()
        differences.append(_plain_cllr(first, rows) - _plain_cllr(second, rows))
    tail = norm.cdf(t.ppf(0.025, 4) * np.sqrt(5 / 4))  # five speakers have a score by both heads
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [tail, 1 - tail])), abs=1e-12)


def _plain_cllr(trials: Trials, rows: list[int]) -> float:
    bits: dict[bool, list[float]] = {False: [], True: []}
    for row in rows:
        if not np.isnan(trials.score[row]):
            sign = 1.0 if trials.is_spoof[row] else -1.0
            bits[bool(trials.is_spoof[row])].append(np.log2(1.0 + np.exp(sign * trials.score[row])))
    return float(np.mean(bits[False]) + np.mean(bits[True])) / 2.0


def test_heads_that_judged_other_trials_are_not_compared() -> None:
    trials = drawn(np.random.default_rng(6), 20, 5, 1.0, 1.0)
    other = rearranged(trials, slice(None, None, -1))

    with pytest.raises(ValueError, match="the same order"):
        compare(trials, other, n_draws=10)
