"""Certificates: the reject threshold that the labelled rows show to keep a promise.

A promise on rows is certified on a fold that nothing has seen. A promise over systems or sources needs many of them, so
all rows certify it: each is judged by the model of its fold, which learnt from no row of its system or source, with a
calibration that was learnt on the other folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.calibration import CALIBRATORS, bounded, calibrate, score_bounds
from detector.errors import ConfigError
from detector.group_guarantee import certify_over
from detector.groups import Codes, Names, by_class
from detector.guarantee import Certificate, Promise, certify
from detector.head import Head
from detector.logistic import Bools, Rows
from detector.metrics import Floats
from detector.rejection import entropy_bits
from detector.training.config import TrainingConfig
from detector.training.crossfit import cross_fit

CLASS_OF = {"systems": ("spoof",), "sources": ("bonafide",), "both": ("spoof", "bonafide")}
COLUMN_OF = {"spoof": "system", "bonafide": "source"}


def over_rows(head: Head, rows: Rows, is_bonafide: Bools, promise: Promise) -> dict[str, Any]:
    """Certify a threshold on entropy on rows that nothing has seen yet, among those that are not too far out."""
    score, ood = np.empty(rows.n_rows), np.empty(rows.n_rows)
    for index, block in rows.blocks():
        embeddings = block.astype(np.float64)
        score[index], ood[index] = head.scores(embeddings), head.ood(embeddings)
    near = ood <= head.max_ood
    certificate = certify(score[near], is_bonafide[near], head.prior, promise)
    return {"threshold": certificate.max_entropy_bits, "certificate": certificate.describe()}


def over_groups(
    rows: Rows,
    is_bonafide: Bools,
    names: Mapping[str, Names],
    near: Bools,
    folds: tuple[Codes, Floats],
    config: TrainingConfig,
) -> dict[str, Any]:
    """Certify a threshold on entropy over systems, sources or both, on rows that each fold judged for the others.

    Parameters
    ----------
    rows, is_bonafide
        As for :func:`detector.training.fitting.fit_head`.
    names : mapping
        Names of the rows under the keys `system` and `source`.
    near : bool array of shape (n_rows,)
        True for rows that are not too far out: the others are rejected anyway.
    folds : tuple of int and float64 array of shape (n_rows,)
        Fold of each row, and its logit by the model of its fold. If a system or source is in several of these folds,
        others are made in which it is not.
    config : TrainingConfig
        States `c`, `standardise` and a promise over groups.

    Returns
    -------
    dict
        The `threshold`, None if nothing is certified, and the `certificate` with its price: the share of these rows
        that it keeps, beside that of a certificate on the same rows that takes them for independent.
    """
    promise = config.promise
    if promise is None or promise.over is None:
        raise ConfigError("no promise over groups: give certify_over.")
    groups = {label: _of_class(names[COLUMN_OF[label]], label, is_bonafide) for label in CLASS_OF[promise.over]}
    fold, logits = folds
    if not all(_is_whole(each, fold) for each in groups.values()):
        apart = by_class(is_bonafide, names, {"bonafide": ("source",), "spoof": ("system",)})
        fold = apart.folds(is_bonafide, config.folds)
        logits = cross_fit(rows, is_bonafide, fold, config)[2]
    score = held_out_scores(config.calibrator, logits, is_bonafide, fold)[near]
    truth, of_near = is_bonafide[near], {label: each[near] for label, each in groups.items()}
    found = certify_over(score, truth, of_near, config.prior, promise)
    on_rows = certify(score, truth, config.prior, promise)
    price = {"coverage": _coverage(found, score, near), "coverage_on_rows": _coverage(on_rows, score, near)}
    on_rows_bits = {"max_entropy_bits_on_rows": on_rows.max_entropy_bits}
    return {"threshold": found.max_entropy_bits, "certificate": found.describe() | price | on_rows_bits}


def held_out_scores(calibrator: str, logits: Floats, is_bonafide: Bools, fold: Codes) -> Floats:
    """Calibrate the logits of each fold on those of the others.

    Returns
    -------
    float64 array of shape (n_rows,)
        Nats, higher for bona fide.
    """
    score = np.empty(len(logits))
    for number in np.unique(fold):
        held_out = fold == number
        truth = is_bonafide[~held_out]
        calibration = calibrate(calibrator, logits[~held_out], truth)
        score[held_out] = bounded(CALIBRATORS[calibrator].apply(calibration, logits[held_out]), score_bounds(truth))
    return score


def _of_class(names: Names, label: str, is_bonafide: Bools) -> Names:
    """Names of the rows of a class; rows of the other have none."""
    return Names(np.where(is_bonafide == (label == "bonafide"), names.code, -1), names.words)


def _is_whole(names: Names, fold: Codes) -> bool:
    """True if no name is in two folds."""
    known = names.code >= 0
    pairs = np.unique(np.column_stack([names.code[known], fold[known]]), axis=0)
    return len(np.unique(pairs[:, 0])) == len(pairs)


def _coverage(certificate: Certificate, score: Floats, near: Bools) -> float:
    """Share of all rows that are kept; rows that are too far out are not."""
    if certificate.max_entropy_bits is None:
        return 0.0
    return float((entropy_bits(score, certificate.prior) <= certificate.max_entropy_bits).sum() / len(near))
