"""Two heads are compared on the same trials and the same draws."""

from __future__ import annotations

import numpy as np
import pytest

from detector.metrics import compare, intervals
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


def test_heads_that_judged_other_trials_are_not_compared() -> None:
    trials = drawn(np.random.default_rng(6), 20, 5, 1.0, 1.0)
    other = rearranged(trials, slice(None, None, -1))

    with pytest.raises(ValueError, match="the same order"):
        compare(trials, other, n_draws=10)
