"""Guarantee: a reject threshold that bounds the error rates among the kept rows, at a stated confidence.

Learn-then-Test: thresholds on the entropy are tested from strict to loose, on rows that neither the fit nor the
calibration saw. The first that cannot be shown to keep the promise ends the search, and the one before it is certified.
Three searches start at different thresholds and share the error probability, so that one unlucky row among the most
certain ones does not end all of them. Misses and false alarms are bounded separately, because the share of spoof in an
archive is not that of the labelled rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.errors import ConfigError
from detector.logistic import Bools, Indices
from detector.metrics import Floats
from detector.metrics.checks import check_labelled
from detector.rejection import entropy_bits, p_spoof

HALF_WIDTHS = np.arange(14.0, -0.01, -0.1)  # nats around the threshold; fixed before any row is seen
THRESHOLDS = entropy_bits(HALF_WIDTHS, 0.5)

SPARE_ERRORS = (0, 3, 10)  # a search starts where this many errors would still keep the promise

METHOD = "Learn-then-Test, fixed sequence of thresholds, exact binomial bounds"
ASSUMPTIONS = (
    "the archive's bona fide and spoof recordings are like those of the certification rows (exchangeable), each class "
    "by itself, in any proportion",
    "recordings are independent; with many of one speaker or synthesiser the confidence is less than stated",
    "less certain rows are wrong no less often",
    "the run's prior is the one stated here: at another the band of rejected scores is another one",
)


@dataclass(frozen=True)
class Promise:
    """Bounds on the error rates among the kept rows.

    Parameters
    ----------
    max_miss, max_false_alarm : float or None
        Largest share of kept bona fide rows called spoof, and of kept spoof rows called bona fide; None for no bound.
    confidence : float
        Share of the draws of certification rows in which the promise holds, in (0, 1).
    over : str or None
        A word of :data:`detector.training.config.OVER`: the bounds are on systems, sources or both, not on rows
        (:mod:`detector.group_guarantee`).
    quantile : float or None
        Share of the systems or sources that must keep the bound; None if their mean must.
    """

    max_miss: float | None
    max_false_alarm: float | None
    confidence: float
    over: str | None = None
    quantile: float | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The bounds that are promised, by class."""
        limits = {"bonafide": self.max_miss, "spoof": self.max_false_alarm}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True)
class Certificate:
    """The certified threshold and the counts behind it; `max_entropy_bits` is None if nothing was certified."""

    max_entropy_bits: float | None
    promise: Promise
    prior: float
    classes: dict[str, dict[str, Any]]
    method: str = METHOD
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def describe(self) -> dict[str, Any]:
        """Return JSON values, with the assumptions in words."""
        return {
            "certified": self.max_entropy_bits is not None,
            "method": self.method,
            "confidence": self.promise.confidence,
            "prior": self.prior,
            "assumptions": list(self.assumptions),
            **self.classes,
        }


def upper_bound(n_wrong: npt.ArrayLike, n_rows: npt.ArrayLike, confidence: float) -> Floats:
    """Compute the one-sided exact upper bound of an error rate from ``n_wrong`` errors in ``n_rows``.

    Parameters
    ----------
    n_wrong, n_rows : int, or int arrays of one shape
    confidence : float
        In (0, 1).

    Returns
    -------
    float64 array of that shape
        In [0, 1]; 1 if there are no rows.

    References
    ----------
    Clopper and Pearson, Biometrika 26, 1934.

    Examples
    --------
    >>> round(float(upper_bound(0, 3_000, 0.95)), 4)  # the rule of three: 3 / n
    0.001
    """
    wrong, right = np.asarray(n_wrong), np.asarray(n_rows) - np.asarray(n_wrong)
    from scipy.stats import beta  # only now: it takes a second to import, and scoring needs none of it

    return np.where(right > 0, beta.ppf(confidence, wrong + 1, np.maximum(right, 1)), 1.0)


def rows_needed(max_risk: float, confidence: float) -> int:
    """Compute how many kept rows, all of them right, certify a risk.

    Examples
    --------
    >>> rows_needed(0.01, 0.95)
    299
    """
    return int(np.ceil(np.log(1.0 - confidence) / np.log1p(-max_risk)))


def certify(score: Floats, is_bonafide: Bools, prior: float, promise: Promise) -> Certificate:
    """Find the loosest threshold on entropy that the rows show to keep a promise.

    Parameters
    ----------
    score : float64 array of shape (n,)
        Scores of rows that neither the fit nor the calibration saw, in nats, higher for bona fide.
    is_bonafide : bool array of shape (n,)
    prior : float
        Share of spoof that decisions assume.
    promise : Promise

    Returns
    -------
    Certificate

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan and Lei, Learn then Test, 2021, arXiv 2110.01052. A promise on both classes
    must be shown for each at the full level (an intersection-union test: Berger, Technometrics 24, 1982). Searches
    start where enough rows are kept for 0, 3 and 10 errors to keep the promise (fixed-sequence testing with several
    starts that share the level evenly).

    Examples
    --------
    >>> score = np.concatenate([np.full(500, 4.0), np.full(500, -4.0)])
    >>> found = certify(score, score > 0, 0.5, Promise(0.01, 0.01, 0.95))
    >>> found.max_entropy_bits, round(found.classes["spoof"]["bound"], 4)
    (1.0, 0.0082)
    """
    promised = promise.limits
    if not promised:
        raise ConfigError("nothing to certify: give --certify-miss or --certify-false-alarm.")
    check_labelled(score, is_bonafide, fewest=0)  # without rows, nothing is certified
    entropy = entropy_bits(score, prior)
    of_class = {"bonafide": is_bonafide, "spoof": ~is_bonafide}
    confidence = 1.0 - (1.0 - promise.confidence) / len(SPARE_ERRORS)
    wrong = (p_spoof(score, prior) > 0.5) == is_bonafide
    counts = {name: counts_at(entropy[rows], wrong[rows], THRESHOLDS) for name, rows in of_class.items()}
    bounds = {name: upper_bound(*counts[name], confidence) for name in promised}
    shown = np.all([bounds[name] <= limit for name, limit in promised.items()], axis=0)
    searches = []
    for n_errors in SPARE_ERRORS:
        start = {name: _rows_for(n_errors, limit, confidence) for name, limit in promised.items()}
        searches.append(np.flatnonzero(np.all([counts[name][1] >= start[name] for name in promised], axis=0)))
    best = loosest(searches, shown)
    classes: dict[str, dict[str, Any]] = {}
    for name, rows in of_class.items():
        at = np.array([-1.0 if best is None else best])
        n_wrong, n_kept = (int(each[0]) for each in counts_at(entropy[rows], wrong[rows], at))
        limit = promised.get(name)
        classes[name] = {
            "rows": int(rows.sum()),
            "kept": n_kept,
            "wrong": n_wrong,
            "limit": limit,
            "bound": float(upper_bound(n_wrong, n_kept, confidence)) if n_kept else None,
            "rows_needed": None if limit is None else rows_needed(limit, confidence),
        }
    return Certificate(best, promise, prior, classes)


def loosest(searches: Iterable[Indices], shown: Bools) -> float | None:
    """Search thresholds from strict to loose, until one is not shown to keep the promise.

    Parameters
    ----------
    searches : iterable of int arrays
        Places in :data:`THRESHOLDS` that each search tests, in its order.
    shown : bool array of shape (n_thresholds,)
        True where the rows show that the promise is kept.

    Returns
    -------
    float or None
        Bits: the loosest threshold that any of the searches reaches; None if all fail at their start.
    """
    passed = [list(itertools.takewhile(lambda place: shown[place], tested)) for tested in searches]
    return max((float(THRESHOLDS[each[-1]]) for each in passed if each), default=None)


def _rows_for(n_errors: int, limit: float, confidence: float) -> int:
    """Kept rows that certify the limit although ``n_errors`` of them are wrong."""
    n_rows = rows_needed(limit, confidence)
    while upper_bound(n_errors, n_rows, confidence) > limit:
        n_rows += max(1, n_rows // 50)
    return n_rows


def counts_at(entropy: Floats, wrong: Bools, thresholds: Floats) -> tuple[Indices, Indices]:
    """Wrong rows, and all rows, at or below each threshold: int64 arrays of the shape of ``thresholds``."""
    n_kept = np.searchsorted(np.sort(entropy), thresholds, side="right")
    return np.searchsorted(np.sort(entropy[wrong]), thresholds, side="right"), n_kept
