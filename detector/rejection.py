"""Rejection: probability, decision and entropy of a score, and thresholds on the entropy above which to abstain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detector.metrics import Floats
from detector.metrics.checks import check_labelled, check_share

BLOCK_ROWS = 1 << 16
NEGLIGIBLE_NATS = 800.0  # exp(-800) is 0


def log_odds(prior: float) -> float:
    """Compute the log odds of spoof at ``prior``, in nats.

    Examples
    --------
    >>> log_odds(0.5)
    0.0
    """
    return float(np.log(prior) - np.log1p(-prior))


def p_spoof(score: Floats, prior: float) -> Floats:
    """Compute the probability of spoof: ``1 / (1 + exp(score - ln(prior / (1 - prior))))``.

    Parameters
    ----------
    score : array of shape (n,)
        Log-likelihood ratios in nats, higher for bona fide.
    prior : float
        Share of spoof that is assumed, in (0, 1).

    Returns
    -------
    array of shape (n,)
        In [0, 1]; falls as the score rises.

    Examples
    --------
    >>> p_spoof(np.array([0.0, np.log(9.0)]), prior=0.5).round(3).tolist()
    [0.5, 0.1]
    """
    # logaddexp, because exp(score) overflows above 710; in place, because scores may be millions
    found = np.asarray(score - log_odds(prior))
    np.negative(np.logaddexp(0.0, found, out=found), out=found)
    return np.asarray(np.exp(found, out=found))


def called_spoof(score: Floats, prior: float) -> npt.NDArray[np.bool_]:
    """Decide: spoof where the probability of spoof at ``prior`` is above one half.

    Parameters
    ----------
    score : array of shape (n,)
        Log-likelihood ratios in nats, higher for bona fide.
    prior : float
        Share of spoof that is assumed, in (0, 1).

    Returns
    -------
    bool array of shape (n,)

    Examples
    --------
    >>> called_spoof(np.array([-1.0, 1.0]), prior=0.5).tolist()
    [True, False]
    """
    return np.asarray(p_spoof(score, prior) > 0.5)


def entropy_bits(score: Floats, prior: float) -> Floats:
    """Compute the entropy of the probability of spoof.

    Parameters
    ----------
    score : array of shape (n,)
        Log-likelihood ratios in nats.
    prior : float
        Share of spoof, in (0, 1).

    Returns
    -------
    array of shape (n,)
        Bits in [0, 1]: 0 is certain, 1 is a coin toss. Computed from log odds, so that it stays exact where the
        probability rounds to 0 or 1.

    References
    ----------
    Pascu et al., Interspeech 2024, arXiv 2309.05384: reliability is one minus this.

    Examples
    --------
    >>> entropy_bits(np.array([0.0, 800.0]), prior=0.5).tolist()
    [1.0, 0.0]
    """
    found = np.empty(len(score))
    for start in range(0, len(score), BLOCK_ROWS):  # blocks, because rows may be millions
        # 0 times infinity would be NaN
        odds = np.minimum(np.abs(score[start : start + BLOCK_ROWS] - log_odds(prior)), NEGLIGIBLE_NATS)
        # H = log(1 + e^-x) + x e^-x / (1 + e^-x), for log odds of size x
        decay = np.exp(-odds)
        found[start : start + BLOCK_ROWS] = (np.log1p(decay) + odds * decay / (1.0 + decay)) / np.log(2.0)
    # on some processors the sum rounds to slightly above 1 for nearly even odds
    return np.minimum(found, 1.0, out=found)


def band(max_entropy_bits: float, prior: float) -> tuple[float, float]:
    """Compute the interval of scores, in nats, within which the entropy exceeds ``max_entropy_bits``.

    Examples
    --------
    >>> low, high = band(0.469, prior=0.5)  # the entropy of 0.9 and 0.1
    >>> round(low, 2), round(high, 2)
    (-2.2, 2.2)
    """
    low, high = 0.0, 745.0  # exp(-745) is the smallest double, so the entropy is 0 beyond
    for _ in range(80):
        middle = (low + high) / 2
        if entropy_bits(np.array([middle]), 0.5)[0] > max_entropy_bits:
            low = middle
        else:
            high = middle
    return log_odds(prior) - high, log_odds(prior) + high


def threshold_for_coverage(entropy: Floats, coverage: float) -> float:
    """Find the entropy above which to reject, such that at least the share ``coverage`` of the rows is kept.

    Examples
    --------
    >>> threshold_for_coverage(np.array([0.1, 0.2, 0.3, 0.9]), coverage=0.75)
    0.3
    """
    check_share("coverage", coverage)
    ordered = np.sort(entropy)
    return float(ordered[max(0, int(np.ceil(coverage * len(ordered) - 1e-9)) - 1)])


def threshold_for_risk(entropy: Floats, wrong: npt.NDArray[np.bool_], risk: float) -> float | None:
    """Find the largest entropy above which to reject, such that at most the share ``risk`` of the kept rows is wrong.

    This is an empirical choice on the given rows, not a bound for other rows.

    Returns
    -------
    float or None
        Bits; None if even the most certain rows are wrong more often.

    Examples
    --------
    >>> entropy, wrong = np.array([0.1, 0.2, 0.3, 0.9]), np.array([False, False, True, True])
    >>> threshold_for_risk(entropy, wrong, risk=0.34)
    0.3
    >>> threshold_for_risk(entropy, np.array([True] * 4), risk=0.34) is None
    True
    """
    check_labelled(entropy, wrong, fewest=0)
    ordered, ordered_wrong = np.sort(entropy), np.sort(entropy[wrong])
    # count rows at or below each threshold, block by block from the loosest, because rows may be millions
    for end in range(len(ordered), 0, -BLOCK_ROWS):
        thresholds = ordered[max(0, end - BLOCK_ROWS) : end]
        n_kept, n_wrong = (np.searchsorted(each, thresholds, side="right") for each in (ordered, ordered_wrong))
        meets = np.flatnonzero(n_wrong / n_kept <= risk)
        if len(meets):
            return float(thresholds[meets[-1]])
    return None
