"""The fit: from labelled embeddings to a calibrated head with a reject threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from detector import novelty
from detector.calibration import CALIBRATORS, Numbers, bounded, calibrate, score_bounds
from detector.groups import Codes, Groups, Names
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
from detector.training.rule import Segments, learn_rule
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
    segments: Segments | None = None,
) -> tuple[Head, dict[str, Any], HeldOut]:
    """Fit, calibrate, and choose the reject threshold, and a rule from segments to recording where parts are known.

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
    segments : Segments, optional
        Recordings with windows, and what is known of their parts: they choose the rule.

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
    aside = certifying if segments is None else certifying | segments.in_part
    used = ~aside
    truth, training_groups = is_bonafide[used], groups[used]
    if config.c is None or config.standardise is None:
        training_rows = subset(rows, used)
        cleaned = clean(training_rows, truth, None if sources is None else sources[used], config.nuisance_directions)
        best = choose(search(cleaned or training_rows, truth, training_groups, config))
        config = replace(config, c=best.c, standardise=best.standardise)
    fold = training_groups.folds(truth, config.folds)
    model_found = learn(subset(rows, used), truth, fold, config, None if sources is None else sources[used])
    names = {"system": systems, "source": sources}
    plan = Aim(config, recipe, model, certifying, aside, seconds, names, about or {})
    head, report, held_out = finish(rows, is_bonafide, training_groups, fold, model_found, plan)
    if segments is not None:
        of_group = np.full(int(groups.of_row.max()) + 1, -1)  # a group that no row is learnt from: the last model
        of_group[training_groups.of_row] = fold
        model_of = np.where(certifying, -2, of_group[groups.of_row])
        name, numbers, of_rule = learn_rule(segments, groups, model_of, model_found, head)
        report |= {"segment_rule": of_rule}
        head = replace(head, contains_rule=name, contains_numbers=numbers, training=report)
    return head, report, held_out


@dataclass(frozen=True)
class Linear:
    """A linear model of rows, with a logit of every row by a model that saw neither it nor its group.

    Parameters
    ----------
    mean, scale, weights : float64 arrays of shape (dim,)
        The logit is ``(row - mean) / scale · weights + bias``.
    bias : float
    rows : Rows
        Those that it was fitted on, without nuisance directions.
    held_out : float64 array of shape (n_rows,)
        Held-out logits, higher for bona fide.
    convergence : dict
        How the search ended, for the report.
    folds : tuple of (weights, bias)
        Of the models without each fold, on the same mean and scale; none for a fused model.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float
    rows: Rows
    held_out: Floats
    convergence: dict[str, Any]
    folds: tuple[tuple[Floats, float], ...] = ()

    def logits(self, rows: Floats, model: int) -> Floats:
        """Compute logits of rows of shape (n, dim) by the model of a fold, or by the last one for -1."""
        weights, bias = (*self.folds, (self.weights, self.bias))[model]
        return np.asarray((rows - self.mean) / self.scale @ weights + bias)


def learn(rows: Rows, is_bonafide: Bools, fold: Codes, config: TrainingConfig, sources: Names | None) -> Linear:
    """Fit the linear model: on all rows, and once without each fold. ``config`` states `c` and `standardise`."""
    cleaned = clean(rows, is_bonafide, sources, config.nuisance_directions)
    facts, models, logits = cross_fit(cleaned or rows, is_bonafide, fold, config)
    mean, scale, weights = facts.mean[-1], facts.scale[-1], models.weights
    if cleaned is not None:
        scale, weights = cleaned.scale, np.array([cleaned.weights(each, scale) for each in weights])
    *folds, (last, bias) = zip(weights, models.bias.tolist(), strict=True)
    convergence = {"passes": models.passes, "last_step": models.last_step, "models": len(models.bias)}
    return Linear(mean, scale, last, bias, cleaned or rows, logits, convergence, tuple(folds))


@dataclass(frozen=True)
class Aim:
    """Settings of all of a head but its linear model: arguments of :func:`fit_head`, with `names` by column.

    Rows that are ``aside`` are those that certify, and others that the linear model does not learn from.
    """

    config: TrainingConfig
    recipe: dict[str, Any]
    model: str
    certifying: Bools
    aside: Bools
    seconds: npt.NDArray[np.floating[Any]] | None
    names: dict[str, Names | None]
    about: dict[str, Any]


def finish(
    rows: Rows, is_bonafide: Bools, training_groups: Groups, fold: Codes, linear: Linear, aim: Aim
) -> tuple[Head, dict[str, Any], HeldOut]:
    """Calibrate a linear model, choose its reject threshold, and describe it: the head that :func:`fit_head` returns.

    Parameters
    ----------
    rows, is_bonafide
        All rows, those that certify included.
    training_groups : Groups
        Of the rows that are not aside.
    fold : int array
        Of the same rows.
    linear : Linear
        Of the same rows; its held-out logits become scores.
    aim : Aim
    """
    config, used = aim.config, ~aim.aside
    truth, logits = is_bonafide[used], linear.held_out
    calibration, bounds = calibrate(config.calibrator, logits, truth), score_bounds(truth)
    distances, ood = novelty.learn(subset(rows, used), fold, linear.mean, linear.scale)
    near = ood <= config.max_ood
    score = logits if config.certify_over is None else logits.copy()  # rows may be millions
    score[:] = bounded(CALIBRATORS[config.calibrator].apply(calibration, logits), bounds)
    values = {"score": score, "entropy_bits": entropy_bits(score, config.prior), "ood": ood}
    values |= {} if aim.seconds is None else {"seconds": aim.seconds[used].astype(np.float64)}
    sources = aim.names["source"]
    reference = Reference.of(values, truth, None if sources is None else sources[used])
    del ood, values  # no array outlives its last use
    head = _head(linear, calibration, bounds, distances, aim)
    if config.promise is None:
        chosen = _empirical_threshold(score, truth, near, config)
    elif config.certify_over is None:
        certifying = aim.certifying
        chosen = certificate.over_rows(head, subset(rows, certifying), is_bonafide[certifying], config.promise)
    else:
        unknown = Names.of([None] * len(used))
        of_used = {name: (unknown if each is None else each)[used] for name, each in aim.names.items()}
        chosen = certificate.over_groups(linear.rows, truth, of_used, near, (fold, logits), config)
    threshold = chosen.pop("threshold")
    wrong = called_spoof(score, config.prior) == truth
    # None: the promise cannot be kept, so every row is rejected
    kept = near & (entropy_bits(score, config.prior) <= (-1.0 if threshold is None else threshold))
    report = (
        measured(score, truth, training_groups, config)
        | folds_used(fold, training_groups.n_groups(truth), config)
        | chosen
        | {"target_met": threshold is not None}
        | {"out_of_distribution": float(1.0 - near.mean())}
        | {"coverage": float(kept.mean()), "risk": float(wrong[kept].mean()) if kept.any() else None}
        | {"calibration_rows": reference.to_dict()}
        | {"convergence": linear.convergence}
        | aim.about
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


def _head(linear: Linear, calibration: Numbers, bounds: tuple[float, float], distances: Novelty, aim: Aim) -> Head:
    """The head of the last model, which saw all rows; its reject threshold and report are still missing."""
    config = aim.config
    return Head(
        mean=tuple(linear.mean.tolist()),
        scale=tuple(linear.scale.tolist()),
        weights=tuple(linear.weights.tolist()),
        bias=linear.bias,
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
        recipe=aim.recipe,
        model=aim.model,
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
