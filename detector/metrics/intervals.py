"""Intervals: how far a metric would move if other speakers and other systems had been recorded."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from detector.metrics.detection import Floats
from detector.metrics.resampling import N_DRAWS, SEED, measure_draws
from detector.metrics.trials import Trials


@dataclass(frozen=True)
class Interval:
    """A metric with its interval; NaN where it is not defined.

    Parameters
    ----------
    value : float
        The metric of the trials as they are.
    low, high : float
        Quantiles of the metric over the draws.
    """

    value: float
    low: float
    high: float


def intervals(trials: Trials, n_draws: int = N_DRAWS, level: float = 0.95, seed: int = SEED) -> dict[str, Interval]:
    """Compute every metric with its percentile interval over draws of clusters.

    With few clusters an interval is too narrow: below about 20 of a class, read it as a lower bound on the uncertainty.

    Parameters
    ----------
    trials : Trials
    n_draws : int
    level : float
        Share of the draws inside the interval.
    seed : int

    Returns
    -------
    dict of str to Interval

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
    values, drawn = trials.measure(), measure_draws(trials, n_draws, seed)
    return {name: Interval(value, *quantile_range(drawn[name], level)) for name, value in values.items()}


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


def quantile_range(drawn: Floats, level: float) -> tuple[float, float]:
    """The central ``level`` of the values that are not NaN; NaN if there are none."""
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return float(low), float(high)
