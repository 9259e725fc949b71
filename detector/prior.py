"""The share of spoof in an archive, estimated from its scores with an interval; and when these cannot tell it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detector.logistic import Indices
from detector.metrics import Floats
from detector.rejection import log_odds, p_spoof

LEAST, MOST = 1e-6, 1 - 1e-6  # shares beyond are taken for these
MAX_DEVIANCE = 3.841  # 95 % of the chi-square with one degree of freedom

Range = tuple[float, float]


def estimated_prior(counts: Indices, scores: Floats) -> float:
    """Estimate the share of spoof that maximises the likelihood of calibrated scores.

    The likelihood is concave, so that its slope has one root: the share to which the EM steps of the reference lead.

    Parameters
    ----------
    counts : int64 array of shape (n_bins,)
        Number of recordings in each bin; at least one.
    scores : float64 array of shape (n_bins,)
        Log-likelihood ratio of each bin in nats, higher for bona fide.

    References
    ----------
    Saerens, Latinne and Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities, Neural
    Computation 14, 2002.

    Examples
    --------
    >>> round(estimated_prior(np.array([100, 900]), np.array([-9.0, 9.0])), 2)
    0.1
    """

    def slope(prior: float) -> float:
        return float(counts @ _slopes(scores, prior))

    return _root(slope, LEAST, MOST)


def prior_interval(counts: Indices, scores: Floats, calibration: tuple[Indices, Indices]) -> Range:
    """Compute the 95 % interval of :func:`estimated_prior` by profile likelihood.

    ```
    2 (l(best) - l(share)) <= 3.84 v        l: log-likelihood; v >= 1: variance that the calibration rows add
    ```

    The map from logits to scores was found on a few calibration rows, so that more rows of the archive do not narrow
    the interval without end. ``v`` is the ratio of variances, by the delta method, of an estimate whose densities of
    both classes were counted from so many rows, and of one that knows them. Recordings count as independent.

    Parameters
    ----------
    counts, scores : arrays of shape (n_bins,)
        As for :func:`estimated_prior`.
    calibration : pair of int64 arrays of shape (n_bins,)
        Calibration rows in each bin, of bona fide and of spoof; at least one of each.

    Returns
    -------
    (float, float)
        Least and most, in [0, 1].

    Examples
    --------
    Without spoof among n recordings, the most is 1 - exp(-3.841 / 2n).

    >>> sure, n = np.array([-40.0, 40.0]), 100
    >>> low, high = prior_interval(np.array([0, n]), sure, (np.array([0, 50]), np.array([50, 0])))
    >>> low, round(high, 5), round(1 - float(np.exp(-3.841 / (2 * n))), 5)
    (0.0, 0.01902, 0.01902)
    """
    best = estimated_prior(counts, scores)
    allowed = MAX_DEVIANCE * _inflation(counts, scores, calibration, best)

    def excess(prior: float) -> float:
        return 2.0 * float(counts @ (_log_likelihoods(scores, best) - _log_likelihoods(scores, prior))) - allowed

    low = 0.0 if excess(LEAST) <= 0.0 else _root(excess, LEAST, best)
    high = 1.0 if excess(MOST) <= 0.0 else _root(excess, best, MOST)
    return low, high


def widened(interval: Range, misfit: float, cllr: float) -> Range:
    """Widen an interval by as much as a misfit may move the share.

    A set of scores that spoof falls into more often than bona fide, by a difference of D, says of the share that it is
    the excess of that set over D; if a part ``misfit`` of the scores is of neither class, it is known no better than to
    misfit / D. The largest D is the total variation distance of the classes, and at least 1 - Cllr for calibrated
    scores, whose Cllr is one less the Jensen-Shannon divergence in bits.

    Parameters
    ----------
    interval : (float, float)
    misfit : float
        Share of the scores that fits no mixture of the classes, in [0, 1].
    cllr : float
        Of the head, in bits, below 1.

    References
    ----------
    Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37, 1991.

    Examples
    --------
    >>> widened((0.25, 0.5), misfit=0.125, cllr=0.5)
    (0.0, 0.75)
    """
    unknown = misfit / (1.0 - cllr)
    return max(interval[0] - unknown, 0.0), min(interval[1] + unknown, 1.0)


def _log_likelihoods(scores: Floats, prior: float) -> Floats:
    """Log-likelihood of each bin, less that of bona fide."""
    return np.asarray(np.logaddexp(np.log1p(-prior), np.log(prior) - scores))


def _slopes(scores: Floats, prior: float) -> Floats:
    """Slope of the log-likelihood of each bin by the share."""
    return (p_spoof(scores, prior) - prior) / (prior * (1 - prior))


def _inflation(counts: Indices, scores: Floats, calibration: tuple[Indices, Indices], prior: float) -> float:
    spoof = p_spoof(scores, prior)
    ratios = ((1 - spoof) / (1 - prior), spoof / prior)  # of each class's density to that of the mixture
    bonafide_rows, spoof_rows = calibration
    # the share depends on the density of bona fide by the ratio of spoof, and the other way round
    added = _variance(ratios[1], bonafide_rows) / float(bonafide_rows.sum())
    added += _variance(ratios[0], spoof_rows) / float(spoof_rows.sum())
    information = float(np.average(_slopes(scores, prior) ** 2, weights=counts))
    return 1.0 + float(counts.sum()) * added / max(information, 1e-300)


def _variance(values: Floats, counts: Indices) -> float:
    return float(np.average((values - np.average(values, weights=counts)) ** 2, weights=counts))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Find the share at which a function changes its sign, on the scale of log odds; an end where it does not."""
    at_low, at_high = function(low), function(high)
    if at_low * at_high > 0.0 or low >= high:
        return low if abs(at_low) < abs(at_high) else high
    from scipy.optimize import brentq  # only now: they take a second to import
    from scipy.special import expit

    odds = float(brentq(lambda each: function(float(expit(each))), log_odds(low), log_odds(high), xtol=1e-9))
    return float(expit(odds))
