"""The search for a penalty: the settings that are tried on grouped folds, and the choice among them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from detector import metrics
from detector.calibration import CALIBRATORS, calibrate
from detector.errors import ConfigError
from detector.groups import Groups
from detector.logistic import Bools, Rows
from detector.metrics import Floats
from detector.training.config import TrainingConfig
from detector.training.crossfit import Partition, logits_by_penalty

STANDARDISED_C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
RAW_C = (1.0, 1e2, 1e4, 1e6)


@dataclass(frozen=True)
class Candidate:
    """A setting that was tried on the folds.

    Parameters
    ----------
    c : float
    standardise : bool
    cllr : float
        Cllr in bits of the held-out rows of all folds, after affine calibration; lower is better.
    equal_error_rate : float
        Of the same rows, in [0, 1]; lower is better.
    cllr_of_folds : tuple
        Cllr fold by fold; None for a fold that lacks a class.
    """

    c: float
    standardise: bool
    cllr: float
    equal_error_rate: float
    cllr_of_folds: tuple[float | None, ...] = ()


def settings_to_try(config: TrainingConfig) -> list[tuple[bool, float]]:
    """Return the settings that :func:`search` tries, as (standardise, c).

    Examples
    --------
    >>> settings_to_try(TrainingConfig(standardise=False))
    [(False, 1.0), (False, 100.0), (False, 10000.0), (False, 1000000.0)]
    """
    return [
        (standardise, c)
        for standardise in ((True, False) if config.standardise is None else (config.standardise,))
        for c in ((STANDARDISED_C if standardise else RAW_C) if config.c is None else (config.c,))
    ]


def search(
    rows: Rows,
    is_bonafide: Bools,
    groups: Groups,
    config: TrainingConfig,
    on_tried: Callable[[], object] = lambda: None,
) -> list[Candidate]:
    """Try penalties with and without standardising on grouped folds.

    Parameters
    ----------
    rows, is_bonafide, groups, config
        As for :func:`detector.training.fitting.fit_head`. Settings that ``config`` states are not searched.
    on_tried : callable
        Called after each setting that was tried.

    Returns
    -------
    list of Candidate
        The best first, by rising Cllr of the held-out rows; of equal ones the strongest penalty first.
    """
    partition = Partition.of_folds(groups.folds(is_bonafide, config.folds), is_bonafide)
    facts = partition.moments(rows)
    candidates = []
    for standardise, settings in itertools.groupby(settings_to_try(config), key=operator.itemgetter(0)):
        penalties = [c for _, c in settings]
        own = replace(config, standardise=standardise)
        found = logits_by_penalty(rows, partition, facts, own, penalties, partition.number)
        for c, logits in zip(penalties, found, strict=True):
            candidates.append(_candidate(c, standardise, logits, partition))
            on_tried()
    return sorted(candidates, key=lambda each: (each.cllr, each.c))


def choose(candidates: list[Candidate]) -> Candidate:
    """Return the candidate with the strongest penalty that is not significantly worse than the best one.

    A candidate counts as not worse if its Cllr exceeds that of the best, on average over the folds, by at most one
    standard error of the difference. Folds differ by much more than settings do, but in the same way for all settings;
    hence the error of the difference. By the error of the best Cllr itself, almost any penalty would pass.

    Parameters
    ----------
    candidates : list of Candidate
        As :func:`search` returns them. Only those that standardise as the best one does are compared with it.

    References
    ----------
    The one-standard-error rule: Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984, 3.4.3.

    Examples
    --------
    >>> tried = [(1e6, (0.70, 0.90)), (1e4, (0.71, 0.89)), (1e2, (0.75, 0.96))]
    >>> choose([Candidate(c, False, sum(folds) / 2, 0.3, folds) for c, folds in tried]).c
    10000.0
    """
    best = candidates[0]
    rivals = [each for each in candidates if each.standardise == best.standardise and each.c <= best.c]
    good = (each for each in rivals if each is best or is_as_good(each.cllr_of_folds, best.cllr_of_folds))
    return min(good, key=lambda each: each.c)


def edge_of_search(chosen: Candidate, candidates: list[Candidate]) -> str | None:
    """Return a hint if the chosen C is the smallest or largest that was tried, else None.

    Examples
    --------
    >>> tried = [Candidate(c, True, cllr, 0.3) for c, cllr in ((1.0, 0.7), (0.1, 0.8))]
    >>> edge_of_search(tried[0], tried)
    'C = 1 is the largest that was tried: a weaker penalty may be better still (--c)'
    """
    tried = sorted(each.c for each in candidates if each.standardise == chosen.standardise)
    if len(tried) < 2 or chosen.c not in (tried[0], tried[-1]):
        return None
    which, other = ("smallest", "stronger") if chosen.c == tried[0] else ("largest", "weaker")
    return f"C = {chosen.c:g} is the {which} that was tried: a {other} penalty may be better still (--c)"


def _candidate(c: float, standardise: bool, logits: Floats, partition: Partition) -> Candidate:
    is_bonafide, n_folds = partition.is_bonafide, len(partition.seen)
    rate = metrics.equal_error_rate(logits[is_bonafide], logits[~is_bonafide])
    try:
        score = CALIBRATORS["affine"].apply(calibrate("affine", logits, is_bonafide), logits)
    except ConfigError:  # no better than chance
        return Candidate(c, standardise, 1.0, rate, (1.0,) * n_folds)
    cost = metrics.cllr(score[is_bonafide], score[~is_bonafide])
    of_folds = [
        metrics.cllr(score[partition.kind == 2 * fold + 1], score[partition.kind == 2 * fold]) if both.all() else None
        for fold, both in enumerate(partition.counts > 0)
    ]
    return Candidate(c, standardise, cost, rate, tuple(of_folds))


def is_as_good(own: Sequence[float | None], best: Sequence[float | None]) -> bool:
    """Return True if costs fold by fold exceed the best's, on average, by at most one standard error of the difference.

    Folds in which one of the two has no cost are left out; with fewer than two, nothing is as good as the best.
    """
    excess = np.array([mine - its for mine, its in zip(own, best, strict=True) if mine is not None and its is not None])
    return len(excess) >= 2 and bool(excess.mean() <= excess.std(ddof=1) / math.sqrt(len(excess)))
