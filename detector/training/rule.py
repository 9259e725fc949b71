"""The choice of a rule from segments to recording, on grouped folds, and its calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector import metrics
from detector.calibration import CALIBRATORS, Numbers, bounded, calibrate, score_bounds
from detector.errors import ConfigError
from detector.groups import Codes, Groups
from detector.logistic import Bools
from detector.metrics import Floats
from detector.segment_rule import RULES
from detector.training.search import is_as_good

if TYPE_CHECKING:
    from detector.head import Head
    from detector.training.fitting import Linear

FEWEST = 20  # recordings with windows, of each kind: a rule that is chosen on fewer is chosen by chance


@dataclass(frozen=True)
class Segments:
    """What is known of parts of recordings: which contain spoof, and the windows of those that have any.

    Parameters
    ----------
    contains : bool array of shape (n_rows,)
        True for rows that contain spoof, in part or as a whole.
    in_part : bool array of shape (n_rows,)
        True for those that are also genuine in part. They choose the rule; nothing else is learnt from them, so that a
        score says whether a recording is spoofed as a whole.
    read : callable
        Yields the row, its embedding, of shape (dim,), and those of its windows, of shape (n_windows, dim).
    """

    contains: Bools
    in_part: Bools
    read: Callable[[], Iterator[tuple[int, Floats, Floats]]]


def learn_rule(
    segments: Segments, groups: Groups, model_of: Codes, linear: Linear, head: Head
) -> tuple[str, Numbers, dict[str, Any]]:
    """Choose the rule that tells recordings that contain spoof from others best, and calibrate it.

    Parameters
    ----------
    segments : Segments
    groups : Groups
        Of all rows: none is on both sides of a fold of the choice.
    model_of : int array of shape (n_rows,)
        Of each row, the fold whose model saw nothing of its group; -1 for the last model, which saw nothing of it,
        either, and -2 for rows that nothing may be learnt from.
    linear : Linear
        With the models of the folds.
    head : Head
        Its calibration makes scores of logits.

    Returns
    -------
    name : str
        A key of :data:`detector.segment_rule.RULES`; empty if there are too few recordings with windows, or if no rule
        is better than chance.
    numbers : tuple of floats
        As for :class:`detector.head.Head`.
    report : dict
        Counts of recordings, and what was measured of each rule.
    """

    def scores(vectors: Floats, model: int) -> Floats:
        low, high = head.score_bounds
        return bounded(CALIBRATORS[head.calibrator].apply(head.calibration, linear.logits(vectors, model)), (low, high))

    found: list[tuple[int, list[float]]] = []
    for row, embedding, vectors in segments.read():
        windows = vectors[np.isfinite(vectors).all(axis=1)]
        model = int(model_of[row])
        if model < -1 or not len(windows):
            continue
        own, of_windows = float(scores(embedding[None], model)[0]), scores(windows, model)
        found.append((row, [rule(own, of_windows) for rule in RULES.values()]))
    rows = np.array([row for row, _ in found], dtype=np.int64)
    is_clean, values = ~segments.contains[rows], np.array([each for _, each in found]).reshape(-1, len(RULES))
    counts = {
        "without_spoof": int(is_clean.sum()),
        "with_spoof": int((~is_clean).sum()),
        "spoof_in_part": int(segments.in_part[rows].sum()),
    }
    if min(counts["without_spoof"], counts["with_spoof"]) < FEWEST:
        return "", (), {**counts, "rule": None, "why_none": f"fewer than {FEWEST} recordings of a kind have windows"}
    try:
        fold = Groups(groups.of_row[rows], groups.rule).folds(is_clean)
    except ConfigError as error:
        return "", (), {**counts, "rule": None, "why_none": str(error)}
    tried = {name: measured(column, is_clean, fold) for name, column in zip(RULES, values.T, strict=True)}
    usable = {name: each for name, each in tried.items() if each is not None}
    report: dict[str, Any] = {**counts, "tried": tried}
    if not usable:
        return "", (), {**report, "rule": None, "why_none": "no rule is better than chance"}
    name = chosen(usable)
    numbers = calibrate("affine", values[:, list(RULES).index(name)], is_clean)
    return name, (*numbers, *score_bounds(is_clean)), {**report, "rule": name}


def measured(values: Floats, is_clean: Bools, fold: Codes) -> dict[str, Any] | None:
    """Measure a rule: its EER, and its Cllr, of all folds and of each; None if it is no better than chance.

    A fold's scores are calibrated as the other folds have it.
    """
    score = np.empty(len(values))
    folds = np.unique(fold)
    try:
        for number in folds:
            numbers = calibrate("affine", values[fold != number], is_clean[fold != number])
            score[fold == number] = CALIBRATORS["affine"].apply(numbers, values[fold == number])
    except (ConfigError, ValueError):
        return None
    kinds = [(score[(fold == number) & is_clean], score[(fold == number) & ~is_clean]) for number in folds]
    return {
        "cllr": metrics.cllr(score[is_clean], score[~is_clean]),
        "equal_error_rate": metrics.equal_error_rate(values[is_clean], values[~is_clean]),
        "cllr_of_folds": [metrics.cllr(*both) if all(map(len, both)) else None for both in kinds],
    }


def chosen(tried: dict[str, dict[str, Any]]) -> str:
    """Return the first rule that is not significantly worse than the best one.

    A rule counts as not worse if its Cllr exceeds that of the best, on average over the folds, by at most one standard
    error of the difference, as :func:`detector.training.search.choose` has it.

    Examples
    --------
    >>> folds = {"mean": (0.9, 0.9), "lowest-3": (0.51, 0.49), "lowest": (0.49, 0.50)}
    >>> chosen({name: {"cllr": sum(each) / 2, "cllr_of_folds": each} for name, each in folds.items()})
    'lowest-3'
    """
    best = min(tried.values(), key=lambda each: each["cllr"])
    return next(
        name for name, each in tried.items() if each is best or is_as_good(each["cllr_of_folds"], best["cllr_of_folds"])
    )
