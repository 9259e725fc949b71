"""Metrics of scores: arrays in, floats out. Scores are in nats, higher for bona fide, everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def error_rates(bonafide: Floats, spoof: Floats) -> tuple[Floats, Floats, Floats]:
    """Miss and false-alarm rates at every distinct score.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Neither may be empty.

    Returns
    -------
    thresholds : array of shape (n_thresholds,)
        Distinct scores, rising, and infinity at the end.
    p_miss : array of shape (n_thresholds,)
        Share of bona fide scores below each threshold.
    p_fa : array of shape (n_thresholds,)
        Share of spoof scores at or above each threshold.

    Examples
    --------
    >>> thresholds, p_miss, p_fa = error_rates(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    >>> p_miss.tolist(), p_fa.tolist()
    ([0.0, 0.0, 0.5, 1.0], [1.0, 0.5, 0.0, 0.0])
    """
    if not len(bonafide) or not len(spoof):
        raise ValueError(f"{len(bonafide)} bona fide and {len(spoof)} spoof scores; both must be there.")
    thresholds = np.append(np.unique(np.concatenate([bonafide, spoof])), np.inf)
    p_miss = np.searchsorted(np.sort(bonafide), thresholds, side="left") / len(bonafide)
    p_fa = 1.0 - np.searchsorted(np.sort(spoof), thresholds, side="left") / len(spoof)
    return thresholds, p_miss, p_fa


def equal_error_rate(bonafide: Floats, spoof: Floats) -> float:
    """Error rate where misses and false alarms are equally frequent.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Scores, higher for bona fide. Neither may be empty. Equal scores move together.

    Returns
    -------
    float
        In [0, 1], lower is better; 0.5 knows nothing, above 0.5 the scores point the wrong way. Between two
        thresholds the rates are interpolated, as in the code of Pascu et al.

    References
    ----------
    Pascu et al., Interspeech 2024, arXiv 2309.05384.

    Examples
    --------
    >>> equal_error_rate(np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.0, 1.5]))
    0.3333333333333333
    """
    _, p_miss, p_fa = error_rates(bonafide, spoof)
    after = int(np.argmax(p_miss >= p_fa))
    if after == 0:
        return float(p_miss[0])
    gap_before = p_fa[after - 1] - p_miss[after - 1]
    gap_after = p_miss[after] - p_fa[after]
    share = gap_before / (gap_before + gap_after)
    return float(p_miss[after - 1] + share * (p_miss[after] - p_miss[after - 1]))


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
    # logaddexp, because log1p(exp(x)) overflows from x = 710 on
    misses, false_alarms = np.logaddexp(0.0, -bonafide), np.logaddexp(0.0, spoof)
    return float((misses.mean() + false_alarms.mean()) / (2.0 * np.log(2.0)))


def expected_calibration_error(p_spoof: Floats, is_spoof: npt.NDArray[np.bool_], n_bins: int = 15) -> float:
    """Mean gap between the probability of spoof that was said and the share of spoof that was seen.

    Parameters
    ----------
    p_spoof : array of shape (n,)
        Probabilities in [0, 1].
    is_spoof : bool array of shape (n,)
    n_bins : int
        Equal-width bins over [0, 1]; the last one includes 1. Empty bins count nothing.

    Returns
    -------
    float
        In [0, 1], lower is better. This is the paper's positive-class definition, not the top-label one.

    References
    ----------
    Pascu et al., Interspeech 2024, arXiv 2309.05384.

    Examples
    --------
    >>> expected_calibration_error(np.array([0.5, 0.5, 1.0]), np.array([True, False, True]))
    0.0
    """
    bins = np.minimum((p_spoof * n_bins).astype(np.int64), n_bins - 1)
    gaps = np.bincount(bins, weights=is_spoof.astype(np.float64) - p_spoof, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(p_spoof))


def risk_coverage(uncertainty: Floats, wrong: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Error rate among the kept rows, as more and more uncertain rows are kept.

    Parameters
    ----------
    uncertainty : array of shape (n,)
        Higher is rejected first; rows of equal uncertainty are kept or rejected together.
    wrong : bool array of shape (n,)

    Returns
    -------
    coverage : array of shape (n_distinct,)
        Share kept, rising to 1.
    risk : array of shape (n_distinct,)
        Share of the kept rows that are wrong.

    References
    ----------
    El-Yaniv and Wiener, Journal of Machine Learning Research 11, 2010.

    Examples
    --------
    >>> coverage, risk = risk_coverage(np.array([0.1, 0.2, 0.2, 0.9]), np.array([False, False, True, True]))
    >>> coverage.tolist(), risk.round(3).tolist()
    ([0.25, 0.75, 1.0], [0.0, 0.333, 0.5])
    """
    order = np.argsort(uncertainty, kind="stable")
    last_of_ties = np.append(np.diff(uncertainty[order]) > 0, True)
    n_kept = np.arange(1, len(order) + 1)
    risk = np.cumsum(wrong[order]) / n_kept
    return n_kept[last_of_ties] / len(order), risk[last_of_ties]
