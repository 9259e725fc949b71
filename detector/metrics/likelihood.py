"""Likelihood: what scores are worth as log-likelihood ratios."""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import xlogy

from detector.metrics.detection import Floats


def cllr(bonafide: Floats, spoof: Floats) -> float:
    """Cost of log-likelihood ratios: bits lost a trial to scores that are wrong or overconfident.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Scores in nats, higher for bona fide. Neither may be empty.

    Returns
    -------
    float
        Bits, lower is better: 0 is perfect, 1 knows nothing, more than 1 misleads.

    References
    ----------
    Brummer and du Preez, Computer Speech & Language 20(2-3), 2006.

    Examples
    --------
    >>> cllr(np.zeros(3), np.zeros(5))
    1.0
    """
    if not len(bonafide) or not len(spoof):
        raise ValueError(f"{len(bonafide)} bona fide and {len(spoof)} spoof scores; both must be there.")
    return float((bits_lost(bonafide).mean() + bits_lost(-spoof).mean()) / 2.0)


def bits_lost(score_for_truth: Floats) -> Floats:
    """Bits that a trial loses whose log-likelihood ratio for the truth is this: 0 where it is plus infinity."""
    # logaddexp, because log1p(exp(x)) overflows from x = 710 on; in place, because scores may be a million
    found = np.asarray(-score_for_truth)
    np.logaddexp(0.0, found, out=found)
    found /= np.log(2.0)
    return found


def min_cllr(bonafide: Floats, spoof: Floats) -> float:
    """Cllr after the best rising map of these very scores: what is left when calibration is perfect.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Scores, higher for bona fide, of any scale. Neither may be empty. Equal scores stay equal.

    Returns
    -------
    float
        Bits in [0, 1], lower is better, never above :func:`cllr`. `cllr - min_cllr` is lost to calibration.

    References
    ----------
    Brummer and du Preez, Computer Speech & Language 20(2-3), 2006: the map by pool adjacent violators.

    Examples
    --------
    >>> min_cllr(np.array([0.2, 0.3]), np.array([0.1, 0.0]))  # told apart, whatever the scale
    0.0
    """
    if not len(bonafide) or not len(spoof):
        raise ValueError(f"{len(bonafide)} bona fide and {len(spoof)} spoof scores; both must be there.")
    distinct, place = np.unique(np.concatenate([bonafide, spoof]), return_inverse=True)
    n_bonafide = np.bincount(place[: len(bonafide)], minlength=len(distinct))
    n_spoof = np.bincount(place[len(bonafide) :], minlength=len(distinct))
    return min_cllr_of_counts(n_bonafide.astype(np.float64), n_spoof.astype(np.float64))


def min_cllr_of_counts(n_bonafide: Floats, n_spoof: Floats) -> float:
    """:func:`min_cllr` of trials that are counted by rising score: two arrays of shape (n_scores,)."""
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
