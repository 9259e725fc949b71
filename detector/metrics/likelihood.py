"""Likelihood: the quality of scores as log-likelihood ratios."""

from __future__ import annotations

import numpy as np

from detector.metrics.checks import check_classes
from detector.metrics.detection import Floats


def cllr(bonafide: Floats, spoof: Floats) -> float:
    """Compute the cost of log-likelihood ratios: bits lost per trial to scores that are wrong or overconfident.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Scores in nats, higher for bona fide. Neither may be empty.

    Returns
    -------
    float
        Bits, lower is better: 0 is perfect, 1 is no information, above 1 is misleading.

    References
    ----------
    Brummer and du Preez, Computer Speech & Language 20(2-3), 2006.

    Examples
    --------
    >>> cllr(np.zeros(3), np.zeros(5))
    1.0
    """
    check_classes(bonafide, spoof)
    return float((bits_lost(bonafide).mean() + bits_lost(-spoof).mean()) / 2.0)


def bits_lost(score_for_truth: Floats) -> Floats:
    """Compute the bits lost by trials with these log-likelihood ratios for their true class, in nats."""
    # logaddexp, because log1p(exp(x)) overflows above x = 710; in place, because scores may be millions
    found = np.asarray(-score_for_truth)
    np.logaddexp(0.0, found, out=found)
    found /= np.log(2.0)
    return found


def min_cllr(bonafide: Floats, spoof: Floats) -> float:
    """Compute the Cllr after the optimal rising map of the given scores: the loss under perfect calibration.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Scores, higher for bona fide, of any scale. Neither may be empty. Equal scores stay equal.

    Returns
    -------
    float
        Bits in [0, 1], lower is better, at most :func:`cllr`. `cllr - min_cllr` is lost to calibration.

    References
    ----------
    Brummer and du Preez, Computer Speech & Language 20(2-3), 2006: the map by pool adjacent violators.

    Examples
    --------
    >>> min_cllr(np.array([0.2, 0.3]), np.array([0.1, 0.0]))  # separated, whatever the scale
    0.0
    """
    check_classes(bonafide, spoof)
    distinct, place = np.unique(np.concatenate([bonafide, spoof]), return_inverse=True)
    n_bonafide = np.bincount(place[: len(bonafide)], minlength=len(distinct))
    n_spoof = np.bincount(place[len(bonafide) :], minlength=len(distinct))
    return min_cllr_of_counts(n_bonafide.astype(np.float64), n_spoof.astype(np.float64))


def min_cllr_of_counts(n_bonafide: Floats, n_spoof: Floats) -> float:
    """Compute :func:`min_cllr` of trials counted by rising score: two arrays of shape (n_scores,)."""
    from scipy.optimize import isotonic_regression  # only now: judging needs none of it
    from scipy.special import xlogy

    there = n_bonafide + n_spoof > 0
    n_bonafide, n_spoof = n_bonafide[there], n_spoof[there]
    total = n_bonafide + n_spoof
    pools = isotonic_regression(n_bonafide / total, weights=total).blocks[:-1]
    bonafide = np.add.reduceat(n_bonafide, pools) / n_bonafide.sum()
    spoof = np.add.reduceat(n_spoof, pools) / n_spoof.sum()
    # a pool's likelihood ratio is bonafide / spoof; xlogy, because a pool of one class loses nothing
    both = bonafide + spoof
    lost = xlogy(both, both) - xlogy(bonafide, bonafide) - xlogy(spoof, spoof)
    return float(max(0.0, lost.sum()) / (2.0 * np.log(2.0)))
