"""Comparison: the difference of two heads in every metric, on the same trials and the same draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.metrics.intervals import WITHOUT_INTERVAL, range_of_draws
from detector.metrics.resampling import N_DRAWS, SEED, measure_draws
from detector.metrics.trials import Trials


@dataclass(frozen=True)
class Comparison:
    """A metric of one head minus that of another, on the same trials and the same draws.

    Parameters
    ----------
    value, low, high : float
        As for :class:`detector.metrics.Interval`, of the difference; the heads differ if the interval excludes 0.
    share_below : float
        Share of the draws in which the first head's metric is the lower one; ties count half.
    """

    value: float
    low: float
    high: float
    share_below: float


def compare(
    first: Trials, second: Trials, n_draws: int = N_DRAWS, level: float = 0.95, seed: int = SEED
) -> dict[str, Comparison]:
    """Subtract every metric of ``second`` from that of ``first``, draw by draw.

    Parameters
    ----------
    first, second : Trials
        Of the same utterances in the same order. Either head may leave rows without a score; a draw on which one of
        them has no score of a class is left out.
    n_draws, level, seed
        As for :func:`detector.metrics.intervals`.

    Returns
    -------
    dict of str to Comparison

    Raises
    ------
    ValueError
        If the labels or clusters of the two heads differ.
    """
    if not np.array_equal(first.is_spoof, second.is_spoof) or not np.array_equal(first.cluster, second.cluster):
        raise ValueError("the trials of the two heads differ; a paired comparison needs the same, in the same order.")
    a, b = first.measure(), second.measure()
    drawn_a, drawn_b = measure_draws([first, second], n_draws, seed)
    n_clusters = min(first.n_clusters, second.n_clusters)
    comparisons = {}
    for name in a:
        difference, differences = a[name] - b[name], drawn_a[name] - drawn_b[name]
        defined = differences[~np.isnan(differences)]
        says = len(defined) and name not in WITHOUT_INTERVAL
        below = float(np.mean((defined < 0) + 0.5 * (defined == 0))) if says else float("nan")
        low, high = range_of_draws(name, difference, differences, level, n_clusters)
        comparisons[name] = Comparison(difference, low, high, below)
    return comparisons
