"""Group guarantee: a reject threshold that bounds error rates over systems and sources instead of over rows.

Rows of one system are alike, so a bound on rows says little of the next system. Here a group counts once, however many
rows it has: the groups are taken as draws from all systems (or sources) that there are, and the bound is on one more
draw. Two rates of a class can be bounded:

- the mean over groups: a new group's error rate among its kept rows is at most the limit in expectation
- a quantile, such as 0.9: that share of all groups has an error rate of at most the limit

No number of groups bounds the worst of all that there are: n groups that all keep the limit show it for a share of
``(1 - confidence) ** (1 / n)`` of them (:func:`shown_by_all`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.groups import Names
from detector.guarantee import (
    HALF_WIDTHS,
    THRESHOLDS,
    Certificate,
    Promise,
    counts_at,
    loosest,
    rows_needed,
    upper_bound,
)
from detector.logistic import Bools, Indices
from detector.metrics import Floats
from detector.metrics.checks import check_labelled
from detector.rejection import entropy_bits, p_spoof

STARTS = (10.0, 4.0, 1.5)
"""A search starts where a calibrated score at the edge of the band errs in one of so many times the limit."""

BETS = np.array([1.0, 0.9, 0.6, 0.3])  # shares of the largest stake; the largest is the best where no row is wrong
WEIGHTS = np.array([1 / 2, 1 / 6, 1 / 6, 1 / 6])

DOUBT = 0.25
"""A group that breaks the limit may look as if it kept it with this probability: its few rows are charged for."""

OVER = {"bonafide": "sources", "spoof": "systems"}
METHOD = {
    None: "Learn-then-Test over groups, three fixed sequences of thresholds, mean by bets on the rate of each group",
    "quantile": "Learn-then-Test over groups, three fixed sequences of thresholds, exact binomial bound on the groups",
}
ASSUMPTIONS = (
    "the archive's systems (of spoof) and sources (of bona fide) are draws from the same population as these, and are "
    "independent of each other",
    "they bring as many recordings as these did: a system of which none is kept counts neither way",
    "each was judged by a model that did not learn from it; the head, which learnt from all, is taken to be no worse "
    "on a new one; penalty and nuisance directions were chosen on the same rows",
    "the run's prior is the one stated here: at another the band of rejected scores is another one",
)
ROWS = "the rows of the other class are independent of each other, and like those of the archive"


@dataclass(frozen=True)
class Kept:
    """Rows that each threshold keeps of each group, and the wrong ones among them.

    Parameters
    ----------
    kept, wrong : int arrays of shape (n_groups, n_thresholds)
    """

    kept: Indices
    wrong: Indices

    @classmethod
    def of(cls, entropy: Floats, wrong: Bools, group: Indices, thresholds: Floats = THRESHOLDS) -> Kept:
        """Count the rows of every group; rows of group -1 are not counted.

        Examples
        --------
        >>> entropy, wrong = np.array([0.1, 0.2, 0.9]), np.array([False, True, False])
        >>> found = Kept.of(entropy, wrong, np.array([0, 0, 1]), np.array([0.5, 1.0]))
        >>> found.kept.tolist(), found.wrong.tolist()
        ([[2, 2], [0, 1]], [[1, 1], [0, 0]])
        """
        counts = np.zeros((2, int(group.max(initial=-1)) + 1, len(thresholds)), dtype=np.int64)
        for number in np.unique(group[group >= 0]):
            rows = group == number
            counts[:, number] = counts_at(entropy[rows], wrong[rows], thresholds)
        return cls(counts[1], counts[0])

    @property
    def rates(self) -> Floats:
        """Share of the kept rows that is wrong: float64 array of shape (n_groups, n_thresholds), NaN if none is."""
        found = np.full(self.kept.shape, np.nan)
        np.divide(self.wrong, self.kept, out=found, where=self.kept > 0)
        return found

    def at(self, place: int) -> Kept:
        """The counts at one threshold."""
        return Kept(self.kept[:, [place]], self.wrong[:, [place]])


def mean_evidence(rates: Floats, limit: float) -> Floats:
    """Compute the evidence that the mean rate of all groups is below a limit.

    A gambler who starts with 1 stakes the same share of the capital on every group, for the rate to be below the limit.
    Were the mean of all groups the limit or more, no stake would gain in expectation, so the capital reaches 20 in
    fewer than one of twenty draws of the groups. The capital of four such gamblers is added up.

    Parameters
    ----------
    rates : array of shape (n_groups, ...)
        In [0, 1]; NaN where a group has no rate and nothing is staked.
    limit : float
        In (0, 1).

    Returns
    -------
    array of shape (...)
        Capital at the end. It is at least 1 / x in at most the share x of draws, if the mean is the limit or more.

    References
    ----------
    Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, Journal of the Royal Statistical
    Society B 86(1), 2024. The inequality is Markov's: the product of independent factors of mean 1 or less has a mean
    of 1 or less, and so has the weighted sum of such products.

    Examples
    --------
    >>> round(float(mean_evidence(np.zeros(59), 0.05)), 1)  # 0.5 / 0.95 ** 59, and what the smaller stakes bring
    14.3
    """
    stakes = (BETS / (1.0 - limit)).reshape(-1, *[1] * rates.ndim)
    gains = stakes * np.where(np.isnan(rates), 0.0, limit - rates)
    with np.errstate(divide="ignore", over="ignore"):  # a stake of everything can lose everything
        return np.asarray(np.tensordot(WEIGHTS, np.exp(np.log1p(np.maximum(gains, -1.0)).sum(axis=1)), axes=1))


def mean_bound(rates: Floats, confidence: float) -> float:
    """Compute the smallest limit that groups show their mean rate to be below.

    Parameters
    ----------
    rates : array of shape (n_groups,)
    confidence : float

    Examples
    --------
    >>> round(mean_bound(np.zeros(100), 0.95), 3), round(mean_bound(np.zeros(10), 0.95), 3)
    (0.033, 0.286)
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        shown = mean_evidence(rates, middle) >= 1.0 / (1.0 - confidence)
        low, high = (low, middle) if shown else (middle, high)
    return high


def groups_needed(promise: Promise, limit: float, confidence: float) -> int:
    """Compute how many groups certify a limit if none of their kept rows is wrong.

    Examples
    --------
    >>> groups_needed(Promise(None, 0.05, 0.95, "systems"), 0.05, 0.95)
    66
    >>> groups_needed(Promise(None, 0.05, 0.95, "systems", 0.9), 0.05, 0.95)
    39
    """
    if promise.quantile is not None:
        return int(np.ceil(np.log(1.0 - confidence) / np.log1p(-(1.0 - promise.quantile) * (1.0 - DOUBT))))
    n_groups = rows_needed(limit, confidence)
    while mean_evidence(np.zeros(n_groups), limit) < 1.0 / (1.0 - confidence):
        n_groups += max(1, n_groups // 100)
    return n_groups


def shown_by_all(n_groups: int, confidence: float) -> float:
    """Compute the share of all groups that keep a limit, if each of ``n_groups`` is known to keep it.

    Examples
    --------
    >>> round(shown_by_all(29, 0.95), 3)
    0.902
    """
    return float((1.0 - confidence) ** (1.0 / n_groups)) if n_groups else 0.0


def broken_share(kept: Kept, limit: float, confidence: float) -> tuple[Indices, Indices, Floats]:
    """Bound the share of groups whose error rate among the kept rows is above a limit.

    A group passes if its own rows show that it keeps the limit, at a confidence of 1 - :data:`DOUBT`. A group that
    breaks the limit passes with at most that probability; so if a share q of all groups breaks it, at least
    ``q * (1 - DOUBT)`` of the groups fail. Groups with too few kept rows to pass are left out: the share is of groups
    that have enough.

    Returns
    -------
    n_failed, n_groups : int arrays of shape (n_thresholds,)
    bound : float64 array of shape (n_thresholds,)
        Upper bound of the share, in [0, 1].
    """
    enough = kept.kept >= rows_needed(limit, 1.0 - DOUBT)
    failed = enough & (upper_bound(kept.wrong, kept.kept, 1.0 - DOUBT) > limit)
    n_failed, n_groups = failed.sum(axis=0), enough.sum(axis=0)
    return n_failed, n_groups, np.minimum(upper_bound(n_failed, n_groups, confidence) / (1.0 - DOUBT), 1.0)


def certify_over(
    score: Floats, is_bonafide: Bools, groups: Mapping[str, Names], prior: float, promise: Promise
) -> Certificate:
    """Find the loosest threshold on entropy that keeps a promise over groups.

    Parameters
    ----------
    score : float64 array of shape (n,)
        In nats, higher for bona fide; of every row by a model that saw no row of its group.
    is_bonafide : bool array of shape (n,)
    groups : mapping
        Of each class that is bounded over groups (`bonafide`, `spoof`) the group of every row; rows without a name are
        not counted. The rows of a class that is not a key are bounded as rows.
    prior : float
        Share of spoof that decisions assume.
    promise : Promise

    Returns
    -------
    Certificate

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan and Lei, Learn then Test, 2021, arXiv 2110.01052: fixed-sequence testing, with
    three starts that are fixed beforehand and share the error probability.

    Examples
    --------
    >>> score = np.repeat(np.append(np.full(160, -6.0), 6.0), 10)
    >>> systems = Names.of(f"s{number // 10}" for number in range(1610))
    >>> found = certify_over(score, score > 0, {"spoof": systems}, 0.5, Promise(None, 0.05, 0.95, "systems"))
    >>> found.max_entropy_bits, round(found.classes["spoof"]["bound"], 3)
    (1.0, 0.028)
    """
    check_labelled(score, is_bonafide, fewest=0)
    confidence = 1.0 - (1.0 - promise.confidence) / len(STARTS)
    entropy, wrong = entropy_bits(score, prior), (p_spoof(score, prior) > 0.5) == is_bonafide
    counts, shown = {}, np.ones(len(THRESHOLDS), dtype=bool)
    for name, of_class in (("bonafide", is_bonafide), ("spoof", ~is_bonafide)):
        code = groups[name].code.astype(np.int64) if name in groups else np.zeros(len(score), dtype=np.int64)
        counts[name] = Kept.of(entropy, wrong, np.where(of_class, code, -1))
        if name in promise.limits:
            shown &= shown_at(counts[name], promise, promise.limits[name], confidence, by_group=name in groups)
    best = searched(shown, promise)
    place = None if best is None else int(np.flatnonzero(best == THRESHOLDS)[-1])
    classes = {
        name: {"over": OVER[name] if name in groups else "rows"}
        | _described(counts[name], groups.get(name), place, promise, promise.limits.get(name), confidence)
        for name in counts
    }
    assumptions = (*ASSUMPTIONS, *([ROWS] if set(promise.limits) - set(groups) else []))
    method = METHOD[None if promise.quantile is None else "quantile"]
    return Certificate(best, promise, prior, classes, method, assumptions)


def searched(shown: Bools, promise: Promise) -> float | None:
    """Search the thresholds from each of :data:`STARTS`: the loosest that is certified, in bits, or None."""
    strictest = min(promise.limits.values())
    starts = [np.log(times / strictest - 1.0) for times in STARTS]
    return loosest([np.flatnonzero(start >= HALF_WIDTHS) for start in starts], shown)


def shown_at(kept: Kept, promise: Promise, limit: float, confidence: float, *, by_group: bool = True) -> Bools:
    """Find the thresholds at which the counts show that a limit is kept: bool array of shape (n_thresholds,)."""
    if not by_group:
        return np.asarray(upper_bound(kept.wrong.sum(axis=0), kept.kept.sum(axis=0), confidence) <= limit)
    if promise.quantile is None:
        return np.asarray(mean_evidence(kept.rates, limit) >= 1.0 / (1.0 - confidence))
    return np.asarray(broken_share(kept, limit, confidence)[2] <= 1.0 - promise.quantile)


def _described(
    counts: Kept, groups: Names | None, place: int | None, promise: Promise, limit: float | None, confidence: float
) -> dict[str, Any]:
    """Counts and bounds of a class at the certified threshold, or without one."""
    total = int(counts.kept[:, -1].sum())
    none = np.zeros((len(counts.kept), 1), dtype=np.int64)
    here = Kept(none, none) if place is None else counts.at(place)
    n_wrong, n_kept = int(here.wrong.sum()), int(here.kept.sum())
    found: dict[str, Any] = {"rows": total, "kept": n_kept, "wrong": n_wrong, "limit": limit}
    if groups is None or limit is None:
        bound = float(upper_bound(n_wrong, n_kept, confidence)) if n_kept else None
        return found | {"bound": bound, "rows_needed": None if limit is None else rows_needed(limit, confidence)}
    rates = here.rates[:, 0]
    found |= {
        "groups": int(np.count_nonzero(counts.kept[:, -1])),
        "groups_kept": int(np.count_nonzero(here.kept)),
        "groups_needed": groups_needed(promise, limit, confidence),
        "groups_above_limit": int(np.count_nonzero(rates > limit)),
        "worst": None,
        "bound": None,
    }
    if found["groups_kept"]:
        worst = int(np.nanargmax(rates))
        found["worst"] = {"name": groups.words[worst], "rate": float(rates[worst]), "kept": int(here.kept[worst, 0])}
        found["bound"] = mean_bound(rates[~np.isnan(rates)], confidence)
    if promise.quantile is not None:
        n_failed, n_enough, bound = (each[0] for each in broken_share(here, limit, confidence))
        found |= {"quantile": promise.quantile, "rows_needed": rows_needed(limit, 1.0 - DOUBT), "bound": limit}
        found |= {"groups_with_enough_rows": int(n_enough), "groups_failed": int(n_failed), "share_above": float(bound)}
    return found
