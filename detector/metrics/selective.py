"""Selective: the risk that remains when the most uncertain trials are rejected."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detector.metrics.checks import check_labelled, check_share
from detector.metrics.detection import Floats

Bools = npt.NDArray[np.bool_]

RELIABILITY_GRID = np.arange(101) / 100.0
"""Thresholds of Pascu et al. on reliability, which is one minus the entropy in bits."""


def risk_coverage(uncertainty: Floats, wrong: Bools) -> tuple[Floats, Floats]:
    """Compute the error rate among the kept rows as coverage rises.

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
    check_labelled(uncertainty, wrong)
    order = np.argsort(uncertainty, kind="stable")
    ordered = uncertainty[order]
    last_of_ties = np.append(ordered[1:] > ordered[:-1], True)
    n_kept = np.arange(1, len(order) + 1)
    risk = np.cumsum(wrong[order]) / n_kept
    return n_kept[last_of_ties] / len(order), risk[last_of_ties]


def area_under_risk_coverage(uncertainty: Floats, wrong: Bools) -> float:
    """Compute the mean risk over all coverages (AURC), which measures how well uncertainty ranks errors.

    Parameters
    ----------
    uncertainty : array of shape (n,)
        Higher is rejected first; rows of equal uncertainty share the risk at which all of them are kept.
    wrong : bool array of shape (n,)

    Returns
    -------
    float
        In [0, 1], lower is better. It grows with the error rate at full coverage: see
        :func:`excess_area_under_risk_coverage` to compare heads of different error rates.

    References
    ----------
    Geifman, Uziel and El-Yaniv, ICLR 2019, arXiv 1805.08206.

    Examples
    --------
    >>> round(area_under_risk_coverage(np.array([0.1, 0.2, 0.3]), np.array([False, False, True])), 4)
    0.1111
    """
    coverage, risk = risk_coverage(uncertainty, wrong)
    return float(area_of_curve(coverage, risk))


def area_of_curve(coverage: Floats, risk: Floats) -> Floats:
    """Sum the area under the steps of a risk-coverage curve: arrays of shape (..., n_steps) to (...,)."""
    return np.asarray((np.diff(coverage, axis=-1, prepend=0.0) * risk).sum(axis=-1))


def excess_area_under_risk_coverage(uncertainty: Floats, wrong: Bools) -> float:
    """Compute the AURC above that of a perfect order, which rejects every error before any correct row.

    Parameters
    ----------
    uncertainty : array of shape (n,)
    wrong : bool array of shape (n,)

    Returns
    -------
    float
        At least 0, lower is better; 0 if every error is more uncertain than every correct row.

    References
    ----------
    Geifman, Uziel and El-Yaniv, ICLR 2019, arXiv 1805.08206; here the optimum is summed exactly.

    Examples
    --------
    >>> uncertainty = np.array([0.1, 0.2, 0.3])
    >>> round(excess_area_under_risk_coverage(uncertainty, np.array([True, False, False])), 4)  # 11/18 - 2/18
    0.5
    """
    area = area_under_risk_coverage(uncertainty, wrong)
    least = float(least_area(np.float64(len(wrong)), np.float64(np.sum(wrong))))
    return max(0.0, area - least)  # rounding can leave -2e-16


def least_area(n_rows: Floats | np.float64, n_wrong: Floats | np.float64) -> Floats:
    """Compute the AURC if all errors are rejected first: ``sum_{j=1}^{n_wrong} j / (n_right + j) / n_rows``."""
    from scipy.special import digamma  # only now: judging needs none of it

    n_right = n_rows - n_wrong
    harmonic = digamma(n_rows + 1.0) - digamma(n_right + 1.0)  # 1 / (n_right + 1) + … + 1 / n_rows
    return np.asarray((n_wrong - n_right * harmonic) / n_rows)


def risk_at_coverage(uncertainty: Floats, wrong: Bools, coverage: float) -> float:
    """Compute the error rate among the most certain rows, with at least the share ``coverage`` of all rows kept.

    Parameters
    ----------
    uncertainty : array of shape (n,)
        Rows of equal uncertainty are kept together, so that more rows than requested may be kept.
    wrong : bool array of shape (n,)
    coverage : float
        In (0, 1].

    Returns
    -------
    float
        In [0, 1], lower is better; one minus the accuracy there.

    Examples
    --------
    >>> risk_at_coverage(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True]), coverage=0.5)
    0.5
    """
    check_share("coverage", coverage)
    reached, risk = risk_coverage(uncertainty, wrong)
    return float(risk[first_at(reached, coverage)])


def coverage_at_risk(uncertainty: Floats, wrong: Bools, risk: float) -> float:
    """Compute the largest share of rows that can be kept with an error rate of at most ``risk`` among them.

    This looks at the labels, so it says what a perfect choice of the threshold on these very rows would keep; a rule
    that is chosen on other rows keeps less or breaks the risk.

    Parameters
    ----------
    uncertainty : array of shape (n,)
        Rows of equal uncertainty are kept together.
    wrong : bool array of shape (n,)
    risk : float
        In (0, 1).

    Returns
    -------
    float
        In [0, 1], higher is better; 0 if even the most certain rows are wrong more often.

    References
    ----------
    SAC, the selective accuracy constraint: Galil, Dabbah and El-Yaniv, ICLR 2023, arXiv 2302.11874.

    Examples
    --------
    >>> uncertainty, wrong = np.array([0.1, 0.2, 0.3, 0.9]), np.array([False, False, True, True])
    >>> coverage_at_risk(uncertainty, wrong, 0.34), coverage_at_risk(uncertainty, wrong, 0.01)
    (0.75, 0.5)
    """
    check_share("risk", risk)
    return float(coverage_of_curve(*risk_coverage(uncertainty, wrong), risk))


def coverage_of_curve(coverage: Floats, risk: Floats, limit: float) -> Floats:
    """Find the last step of a curve with at most a risk: arrays of shape (..., n_steps) to (...,), 0 without one."""
    return np.asarray(np.where(risk <= limit, coverage, 0.0).max(axis=-1))


def first_at(reached: Floats, coverage: float) -> npt.NDArray[np.intp]:
    """Find the first step that keeps at least ``coverage``: array of shape (..., n_steps) to (...,)."""
    return np.asarray(np.argmax(reached >= coverage - 1e-9, axis=-1))


def accuracy_over_kept(entropy_bits: Floats, wrong: Bools) -> tuple[Floats, Floats]:
    """Compute the share of kept rows and their accuracy at the reliability thresholds of the paper: 0, 0.01, … 1.

    Parameters
    ----------
    entropy_bits : array of shape (n,)
        In [0, 1]. A row is kept if its reliability, one minus its entropy, is at least the threshold.
    wrong : bool array of shape (n,)

    Returns
    -------
    kept : array of shape (101,)
        Share of the rows, falling from 1.
    accuracy : array of shape (101,)
        In [0, 1]; NaN if no row is kept.

    References
    ----------
    Pascu et al., Interspeech 2024, arXiv 2309.05384, figure 2.

    Examples
    --------
    >>> kept, accuracy = accuracy_over_kept(np.array([0.0, 0.5, 1.0]), np.array([False, False, True]))
    >>> kept[[0, 50, 51]].round(3).tolist(), accuracy[[0, 50, 51]].round(3).tolist()
    ([1.0, 0.667, 0.333], [0.667, 1.0, 1.0])
    """
    check_labelled(entropy_bits, wrong)
    order = np.argsort(entropy_bits, kind="stable")
    reliability = 1.0 - entropy_bits[order]
    # rows are sorted by rising entropy, so the kept ones are a prefix
    n_kept = np.searchsorted(-reliability, -RELIABILITY_GRID, "right")
    n_right = np.append(0, np.cumsum(~wrong[order]))[n_kept]
    accuracy = np.full(len(RELIABILITY_GRID), np.nan)
    np.divide(n_right, n_kept, out=accuracy, where=n_kept > 0)
    return n_kept / len(order), accuracy
