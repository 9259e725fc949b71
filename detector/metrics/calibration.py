"""Calibration: the agreement of predicted probabilities with observed frequencies."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from detector.metrics.checks import check_labelled
from detector.metrics.detection import Floats

N_BINS = 15  # as in the code of Pascu et al.
BLOCK_ROWS = 1 << 16

Bools = npt.NDArray[np.bool_]


def expected_calibration_error(p_spoof: Floats, is_spoof: Bools, n_bins: int = N_BINS) -> float:
    """Compute the mean gap between the predicted probability of spoof and the observed share of spoof.

    Parameters
    ----------
    p_spoof : array of shape (n,)
        Probabilities in [0, 1].
    is_spoof : bool array of shape (n,)
    n_bins : int
        Equal-width bins over [0, 1]; the last one includes 1. Empty bins are ignored.

    Returns
    -------
    float
        In [0, 1], lower is better. This is the positive-class definition of the paper, not the top-label one. It is
        above 0 even for perfect probabilities, and more so with fewer trials: see :func:`debiased_calibration_error`.

    References
    ----------
    Pascu et al., Interspeech 2024, arXiv 2309.05384.

    Examples
    --------
    >>> expected_calibration_error(np.array([0.5, 0.5, 1.0]), np.array([True, False, True]))
    0.0
    """
    check_labelled(p_spoof, is_spoof)
    gaps = np.zeros(n_bins)
    for start in range(0, len(p_spoof), BLOCK_ROWS):  # blocks, because trials may be millions
        predicted, true = p_spoof[start : start + BLOCK_ROWS], is_spoof[start : start + BLOCK_ROWS]
        gaps += np.bincount(equal_width(predicted, n_bins), weights=true - predicted, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(p_spoof))


def equal_mass_calibration_error(p_spoof: Floats, is_spoof: Bools, n_bins: int = N_BINS) -> float:
    """Compute the calibration error over bins of equal size; bins are narrow where trials are dense.

    Parameters
    ----------
    p_spoof : array of shape (n,)
        Probabilities in [0, 1]. Equal ones share a bin, so that the sizes of bins can differ.
    is_spoof : bool array of shape (n,)
    n_bins : int

    Returns
    -------
    float
        In [0, 1], lower is better.

    References
    ----------
    Nixon et al., Measuring calibration in deep learning, CVPR workshops 2019.

    Examples
    --------
    >>> p_spoof = np.array([0.1, 0.2, 0.8, 0.9])
    >>> round(equal_mass_calibration_error(p_spoof, np.array([False, False, True, True]), n_bins=2), 3)
    0.15
    """
    check_labelled(p_spoof, is_spoof)
    gaps = np.bincount(_equal_mass(p_spoof, n_bins), weights=is_spoof - p_spoof, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(p_spoof))


def debiased_calibration_error(p_spoof: Floats, is_spoof: Bools, n_bins: int = N_BINS) -> float:
    """Compute the root mean square calibration error without its bias from finite bins.

    In a bin of m trials, the expected squared gap includes the variance of the observed share, which is subtracted:
    ``sum_b m_b / n * (gap_b**2 - share_b * (1 - share_b) / (m_b - 1))``, over bins of equal size.

    Parameters
    ----------
    p_spoof : array of shape (n,)
        Probabilities in [0, 1].
    is_spoof : bool array of shape (n,)
    n_bins : int

    Returns
    -------
    float
        In [0, 1], lower is better; 0 if chance explains the whole error. Bins of one trial are ignored.

    References
    ----------
    Kumar, Liang and Ma, Verified uncertainty calibration, NeurIPS 2019, arXiv 1909.10155.

    Examples
    --------
    >>> half = np.full(100, 0.5)
    >>> debiased_calibration_error(half, np.arange(100) < 50), debiased_calibration_error(half, np.arange(100) < 100)
    (0.0, 0.5)
    """
    check_labelled(p_spoof, is_spoof)
    bins = _equal_mass(p_spoof, n_bins)
    counts = np.bincount(bins, minlength=n_bins).astype(np.float64)
    several = counts > 1
    share = np.bincount(bins, weights=is_spoof, minlength=n_bins)[several] / counts[several]
    gap = share - np.bincount(bins, weights=p_spoof, minlength=n_bins)[several] / counts[several]
    by_chance = share * (1.0 - share) / (counts[several] - 1.0)
    mean_square = float((counts[several] / len(p_spoof)) @ (gap**2 - by_chance))
    return math.sqrt(max(0.0, mean_square))


def reliability_diagram(
    p_spoof: Floats, is_spoof: Bools, n_bins: int = N_BINS
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Compute predicted and observed shares of spoof in the bins of :func:`expected_calibration_error`.

    Parameters
    ----------
    p_spoof : array of shape (n,)
    is_spoof : bool array of shape (n,)
    n_bins : int

    Returns
    -------
    predicted, observed : arrays of shape (n_filled,)
        Mean predicted probability and observed share of spoof in each bin that is not empty, in [0, 1].
    counts : int array of shape (n_filled,)
        Trials in each bin.

    References
    ----------
    Niculescu-Mizil and Caruana, ICML 2005.

    Examples
    --------
    >>> predicted, observed, counts = reliability_diagram(np.array([0.01, 0.03, 0.9]), np.array([False, True, True]))
    >>> predicted.tolist(), observed.tolist(), counts.tolist()
    ([0.02, 0.9], [0.5, 1.0], [2, 1])
    """
    check_labelled(p_spoof, is_spoof)
    bins = equal_width(p_spoof, n_bins)
    counts = np.bincount(bins, minlength=n_bins)
    filled = counts > 0
    predicted, observed = (np.bincount(bins, weights=each, minlength=n_bins)[filled] for each in (p_spoof, is_spoof))
    return predicted / counts[filled], observed / counts[filled], counts[filled]


def brier_score(p_spoof: Floats, is_spoof: Bools) -> float:
    """Compute the mean squared difference of probability and label.

    Parameters
    ----------
    p_spoof : array of shape (n,)
        Probabilities in [0, 1].
    is_spoof : bool array of shape (n,)

    Returns
    -------
    float
        In [0, 1], lower is better; always predicting 0.5 gives 0.25.

    References
    ----------
    Brier, Monthly Weather Review 78(1), 1950, for two classes and one probability.

    Examples
    --------
    >>> brier_score(np.array([0.5, 1.0]), np.array([True, True]))
    0.125
    """
    check_labelled(p_spoof, is_spoof)
    return float(np.mean(np.square(p_spoof - is_spoof)))


def equal_width(p_spoof: Floats, n_bins: int) -> npt.NDArray[np.int64]:
    """Return the bin of each probability; an edge belongs to the bin above it, and 1 to the last bin."""
    if not ((p_spoof >= 0.0) & (p_spoof <= 1.0)).all():  # also NaN
        raise ValueError("a probability is NaN or outside [0, 1].")
    return np.minimum((p_spoof * n_bins).astype(np.int64), n_bins - 1)


def _equal_mass(p_spoof: Floats, n_bins: int) -> npt.NDArray[np.int64]:
    equal_width(p_spoof, n_bins)  # refuses values that are not probabilities
    # A bin starts at the first place that is not below its share of the rows. A row belongs to it or to one above if
    # the probability just before that place is smaller; so equal probabilities share the bin of the first of them.
    starts = -(-np.arange(1, n_bins) * len(p_spoof) // n_bins)
    limits = np.partition(p_spoof, starts - 1)[starts - 1]
    return np.searchsorted(limits, p_spoof, "left")
