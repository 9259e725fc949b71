"""The fit: from labelled embeddings to a calibrated head with a reject threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from detector import novelty
from detector.calibration import CALIBRATORS, Numbers, bounded, calibrate, score_bounds
from detector.groups import Groups, Names
from detector.head import Head
from detector.logistic import Bools, Rows, subset
from detector.metrics import Floats
from detector.novelty import Novelty
from detector.rejection import called_spoof, entropy_bits, threshold_for_coverage, threshold_for_risk
from detector.shift import Reference
from detector.training import certificate
from detector.training.config import TrainingConfig
from detector.training.crossfit import cross_fit
from detector.training.nuisance import clean
from detector.training.report import HeldOut, folds_used, measured
from detector.training.search import choose, search

DEFAULT_RISK = 0.05


def fit_head(
    rows: Rows,
    is_bonafide: Bools,
    groups: Groups,
    config: TrainingConfig,
    *,
    recipe: dict[str, Any],
    model: str,
    certifying: Bools | None = None,
    seconds: npt.NDArray[np.floating[Any]] | None = None,
    systems: Names | None = None,
    sources: Names | None = None,
    about: dict[str, Any] | None = None,
) -> tuple[Head, dict[str, Any], HeldOut]:
    """Fit, calibrate, and choose the reject threshold.

    Parameters
    ----------
    rows : Rows
        Embeddings, any number of them: they are read block by block.
    is_bonafide : bool array of shape (n_rows,)
    groups : Groups
        Rows of one group are never on both sides of a fold.
    config : TrainingConfig
        If it leaves `c` or `standardise` open, :func:`detector.training.search.search` chooses them on these rows.
    recipe, model
        As for :class:`detector.head.Head`.
    certifying : bool array of shape (n_rows,), optional
        Rows that nothing is learnt from and that certify the promise of ``config``, if it makes one; by default one
        fold (:func:`certification_rows`).
    seconds : float array of shape (n_rows,), optional
        Length of each recording, which later archives are compared with.
    systems : Names, optional
        System of each row, which a promise over systems needs.
    sources : Names, optional
        Source of each row, which later archives are compared with, whose differences `nuisance_directions` takes out,
        and which a promise over sources needs.
    about : dict, optional
        Further entries for the report.

    Returns
    -------
    Head
    dict
        The report: counts, and what was measured on the held-out rows.
    HeldOut
        The held-out rows.

    Raises
    ------
    ConfigError
        If a class or groups are missing, or the held-out logits rank no better than chance.
    """
    if certifying is None:
        certifying = certification_rows(is_bonafide, groups, config)
    used = ~certifying
    training_rows, truth, training_groups = subset(rows, used), is_bonafide[used], groups[used]
    cleaned = clean(training_rows, truth, None if sources is None else sources[used], config.nuisance_directions)
    if config.c is None or config.standardise is None:
        best = choose(search(cleaned or training_rows, truth, training_groups, config))
        config = replace(config, c=best.c, standardise=best.standardise)
    fold = training_groups.folds(truth, config.folds)
    facts, models, logits = cross_fit(cleaned or training_rows, truth, fold, config)
    mean, scale, weights = facts.mean[-1], facts.scale[-1], models.weights[-1]
    if cleaned is not None:
        scale, weights = cleaned.scale, cleaned.weights(weights, scale)
    calibration, bounds = calibrate(config.calibrator, logits, truth), score_bounds(truth)
    distances, ood = novelty.learn(training_rows, fold, mean, scale)
    near = ood <= config.max_ood
    score = bounded(CALIBRATORS[config.calibrator].apply(calibration, logits), bounds)
    by_fold = (fold, logits) if config.certify_over is not None else None
    del logits  # rows may be millions: no array outlives its last use
    values = {"score": score, "entropy_bits": entropy_bits(score, config.prior), "ood": ood}
    values |= {} if seconds is None else {"seconds": seconds[used].astype(np.float64)}
    reference = Reference.of(values, truth, None if sources is None else sources[used])
    del ood, values
    head = _head(mean, scale, weights, float(models.bias[-1]), calibration, bounds, distances, config, recipe, model)
    if config.promise is None:
        aim = _empirical_threshold(score, truth, near, config)
    elif by_fold is None:
        aim = certificate.over_rows(head, subset(rows, certifying), is_bonafide[certifying], config.promise)
    else:
        names = {"system": systems, "source": sources}
        named = {name: Names.of([None] * len(used)) if each is None else each for name, each in names.items()}
        aim = certificate.over_groups(
            cleaned or training_rows,
            truth,
            {name: each[used] for name, each in named.items()},
            near,
            by_fold,
            config,
        )
    threshold = aim.pop("threshold")
    wrong = called_spoof(score, config.prior) == truth
    # None: the promise cannot be kept, so every row is rejected
    kept = near & (entropy_bits(score, config.prior) <= (-1.0 if threshold is None else threshold))
    report = (
        measured(score, truth, training_groups, config)
        | folds_used(fold, training_groups.n_groups(truth), config)
        | aim
        | {"target_met": threshold is not None}
        | {"out_of_distribution": float(1.0 - near.mean())}
        | {"coverage": float(kept.mean()), "risk": float(wrong[kept].mean()) if kept.any() else None}
        | {"calibration_rows": reference.to_dict()}
        | {"convergence": {"passes": models.passes, "last_step": models.last_step, "models": len(models.bias)}}
        | (about or {})
    )
    head = replace(head, max_entropy_bits=0.0 if threshold is None else threshold, training=report)
    return head, report, HeldOut(used, score, kept, wrong)


def certification_rows(is_bonafide: Bools, groups: Groups, config: TrainingConfig) -> Bools:
    """Choose the rows that certify: one grouped fold if ``config`` makes a promise on rows, else none.

    Returns
    -------
    bool array of shape (n_rows,)
    """
    if config.promise is None or config.promise.over is not None:
        return np.zeros(len(is_bonafide), dtype=bool)
    return np.asarray(groups.folds(is_bonafide, config.folds) == 0)


def _head(
    mean: Floats,
    scale: Floats,
    weights: Floats,
    bias: float,
    calibration: Numbers,
    bounds: tuple[float, float],
    distances: Novelty,
    config: TrainingConfig,
    recipe: dict[str, Any],
    model: str,
) -> Head:
    """The head of the last model, which saw all rows; its reject threshold and report are still missing."""
    return Head(
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(weights.tolist()),
        bias=bias,
        calibrator=config.calibrator,
        calibration=calibration,
        score_bounds=bounds,
        prior=config.prior,
        max_entropy_bits=0.0,
        max_ood=config.max_ood,
        ood_directions=tuple(distances.directions.ravel().tolist()),
        ood_variances=tuple(distances.variances.tolist()),
        ood_rest=distances.rest,
        ood_quantiles=tuple(distances.quantiles.tolist()),
        min_seconds=config.min_seconds,
        silence_dbfs=config.silence_dbfs,
        recipe=recipe,
        model=model,
        training={},
    )


def _empirical_threshold(score: Floats, is_bonafide: Bools, near: Bools, config: TrainingConfig) -> dict[str, Any]:
    """Choose a threshold on entropy for the target coverage or risk of the held-out rows.

    Rows that are too far out are rejected anyway, and count as rejected in the coverage.
    """
    entropy = entropy_bits(score, config.prior)[near]
    if config.target_coverage is not None:
        of_near = min(1.0, config.target_coverage * len(score) / len(entropy))
        return {"threshold": threshold_for_coverage(entropy, of_near), "target_coverage": config.target_coverage}
    wrong = (called_spoof(score, config.prior) == is_bonafide)[near]
    risk = config.target_risk if config.target_risk is not None else DEFAULT_RISK
    return {"threshold": threshold_for_risk(entropy, wrong, risk), "target_risk": risk}
