"""Intervals: how far a metric would move if other speakers and other systems had been recorded."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from detector.metrics.detection import Floats
from detector.metrics.resampling import N_DRAWS, SEED, measure_draws
from detector.metrics.trials import Trials

CHOSEN_ON_TRIALS = ("min_dcf", "min_cllr")
"""Metrics that choose a threshold or a map on the trials that they judge: below the truth, more so on few clusters.

Their intervals are shifted by twice the bias of the draws; they still hold the truth less often than stated."""

WITHOUT_INTERVAL = ("expected_calibration_error",)
"""Metrics whose draws do not surround the truth: chance alone raises a calibration error, and draws raise it again."""


@dataclass(frozen=True)
class Interval:
    """A metric with its interval; NaN where it is not defined.

    Parameters
    ----------
    value : float
        The metric of the trials as they are.
    low, high : float
        Quantiles of the metric over the draws, as :func:`range_of_draws` finds them.
    """

    value: float
    low: float
    high: float


def intervals(trials: Trials, n_draws: int = N_DRAWS, level: float = 0.95, seed: int = SEED) -> dict[str, Interval]:
    """Compute every metric with its percentile interval over draws of clusters.

    `bench/coverage.py` simulates how often the intervals hold the truth: docs/metrics.md has the table.

    Parameters
    ----------
    trials : Trials
    n_draws : int
    level : float
        Share of the intervals that are to hold the truth.
    seed : int

    Returns
    -------
    dict of str to Interval
        Without `low` and `high` for the metrics of :data:`WITHOUT_INTERVAL`.

    References
    ----------
    Field and Welsh, Bootstrapping clustered data, Journal of the Royal Statistical Society B 69(3), 2007;
    Bengio and Mariethoz, A statistical significance test for person authentication, Odyssey 2004.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = np.arange(400) % 2 == 0
    >>> score = rng.normal(np.where(truth, -1.0, 1.0))
    >>> p_spoof, none = 1 / (1 + np.exp(2 * score)), np.full(400, True)
    >>> found = intervals(Trials(score, truth, p_spoof, p_spoof, p_spoof > 0.5, none, np.arange(400)))
    >>> eer = found["equal_error_rate"]
    >>> eer.low < 0.1587 < eer.high, round(eer.high - eer.low, 2)  # Phi(-1)
    (True, 0.07)
    """
    values, (drawn,) = trials.measure(), measure_draws([trials], n_draws, seed)
    n_clusters = trials.n_clusters
    return {
        name: Interval(value, *range_of_draws(name, value, drawn[name], level, n_clusters))
        for name, value in values.items()
    }


def share_interval(n_found: int, n_rows: int, level: float = 0.95) -> Interval:
    """Compute a share of rows with Wilson's score interval, for a group that is too small to resample its clusters.

    The interval assumes independent rows: where many are of one speaker, it is too narrow.

    Parameters
    ----------
    n_found, n_rows : int
        Rows with the property, and all rows.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval
        In [0, 1]; NaN if there are no rows.

    References
    ----------
    Wilson, Journal of the American Statistical Association 22, 1927. The example: Newcombe, Statistics in Medicine 17,
    1998, table I.

    Examples
    --------
    >>> found = share_interval(81, 263)
    >>> round(found.low, 4), round(found.high, 4)
    (0.2553, 0.3662)
    """
    if not n_rows:
        return Interval(float("nan"), float("nan"), float("nan"))
    share, z = n_found / n_rows, NormalDist().inv_cdf((1.0 + level) / 2.0)
    middle = share + z**2 / (2.0 * n_rows)
    half = z * float(np.sqrt(share * (1.0 - share) / n_rows + z**2 / (4.0 * n_rows**2)))
    low, high = ((middle + sign * half) / (1.0 + z**2 / n_rows) for sign in (-1.0, 1.0))
    return Interval(share, max(0.0, low), min(1.0, high))


def range_of_draws(name: str, value: float, drawn: Floats, level: float, n_clusters: int) -> tuple[float, float]:
    """Find the interval of a metric, or of the difference of two heads in it, from its draws.

    Parameters
    ----------
    name : str
        Name of the metric: its draws may be biased (:data:`CHOSEN_ON_TRIALS`, :data:`WITHOUT_INTERVAL`).
    value : float
        The metric of the trials as they are.
    drawn : array of shape (n_draws,)
    level : float
    n_clusters : int
        Of the class that has fewer.

    Returns
    -------
    low, high : float
        NaN if there is no interval.
    """
    if name in WITHOUT_INTERVAL:
        return float("nan"), float("nan")
    low, high = quantile_range(drawn, level, n_clusters)
    if name not in CHOSEN_ON_TRIALS or np.isnan(low):
        return low, high
    # the trials flatter the metric once, and draws of them once more: their mean says by how much
    bias = float(np.nanmean(drawn)) - value
    return low - 2.0 * bias, high - 2.0 * bias


def quantile_range(drawn: Floats, level: float, n_clusters: int) -> tuple[float, float]:
    """Find the central quantiles of the values that are not NaN; NaN if there are none.

    They are those of a wider level, because draws from n clusters vary less than n other clusters would, and by a
    variance that n clusters estimate: the tail is ``Phi(-t * sqrt(n / (n - 1)))``, with t the quantile of Student's
    distribution of n - 1 degrees of freedom.

    References
    ----------
    Hesterberg, What teachers should know about the bootstrap, The American Statistician 69(4), 2015, 3.2: the expanded
    percentile interval.

    Examples
    --------
    >>> drawn = np.arange(10_001.0)
    >>> [[round(end) for end in quantile_range(drawn, 0.95, n)] for n in (10, 10_000)]
    [[86, 9914], [250, 9750]]
    """
    from scipy.special import ndtr, stdtrit  # only now: judging needs none of it

    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return float("nan"), float("nan")
    tail = 0.0  # one cluster says nothing about others; its draws are of the other class only
    if n_clusters > 1:
        student = stdtrit(n_clusters - 1, 0.5 - level / 2.0)
        tail = float(ndtr(student * np.sqrt(n_clusters / (n_clusters - 1.0))))
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)
