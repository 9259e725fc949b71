"""Training: fit a head on labelled embeddings, calibrated on rows that its models did not see.

The last model is fitted on all rows. Its calibration comes from as many models as there are folds: each judges
the fold that it has not seen, and a fold shares no group (system, speaker or source) with the others.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from detector import metrics
from detector.calibration import CALIBRATORS
from detector.errors import ConfigError
from detector.head import MIN_SECONDS, Head, distance
from detector.metrics import Floats
from detector.rejection import entropy_bits, p_spoof, threshold_for_coverage, threshold_for_risk

OOD_QUANTILES = 101
MAX_ITERATIONS = 5_000
SEED = 42


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a head is fitted; all of it is written into the head."""

    c: Annotated[float, "inverse strength of the L2 penalty; the paper's is 1e6, without standardising"] = 1.0
    standardise: Annotated[bool, "bring every dimension to zero mean and unit variance first"] = True
    calibrator: Annotated[str, f"map from logit to log-likelihood ratio: {', '.join(CALIBRATORS)}"] = "affine"
    folds: Annotated[int, "grouped folds whose held-out rows calibrate"] = 5
    prior: Annotated[float, "share of spoof that the head assumes where a run states none"] = 0.5
    target_risk: Annotated[
        float | None, "error rate wished among the rows kept; sets the reject threshold [default: 0.05]"
    ] = None
    target_coverage: Annotated[float | None, "share of rows wished to be kept, instead of --target-risk"] = None
    max_ood: Annotated[float, "reject rows farther out than this quantile of the training rows; 1 rejects none"] = 1.0
    min_seconds: Annotated[float, "shorter recordings get no score: too_short; s"] = MIN_SECONDS
    silence_dbfs: Annotated[float, "quieter recordings get no score: silent; dB re full scale"] = -80.0

    def __post_init__(self) -> None:
        if self.calibrator not in CALIBRATORS:
            raise ConfigError(f"calibrator {self.calibrator!r}; expected one of {', '.join(CALIBRATORS)}.")
        if not 0.0 < self.c < math.inf or self.folds < 2:
            raise ConfigError(f"c {self.c}, folds {self.folds}; expected c above 0 and 2 folds or more.")
        for name in ("max_ood", "min_seconds", "silence_dbfs"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name} {getattr(self, name)}; expected a number.")
        for name in ("prior", "target_risk", "target_coverage"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < 1.0:
                raise ConfigError(f"{name} {value}; expected a share between 0 and 1.")
        if self.target_risk is not None and self.target_coverage is not None:
            raise ConfigError("target_risk and target_coverage exclude each other; choose one.")


def fit_head(
    embeddings: Floats,
    is_bonafide: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.str_],
    config: TrainingConfig,
    *,
    recipe: dict[str, Any],
    model: str,
) -> tuple[Head, dict[str, Any]]:
    """Fit, calibrate, and choose the reject threshold.

    Parameters
    ----------
    embeddings : float64 array of shape (n, dim)
    is_bonafide : bool array of shape (n,)
    groups : str array of shape (n,)
        Rows of one group are never on both sides of a fold.
    config : TrainingConfig
    recipe, model
        As :class:`detector.head.Head`.

    Returns
    -------
    Head
    dict
        The report: counts, and what was measured on the held-out rows.

    Raises
    ------
    ConfigError
        Where a class or groups are missing, or the held-out logits rank no better than chance.
    """
    _check_rows(is_bonafide, groups, config.folds)
    held_out = held_out_logits(embeddings, is_bonafide, groups, config)
    slope, intercept = CALIBRATORS[config.calibrator](held_out, is_bonafide)
    if slope <= 0:
        raise ConfigError(
            f"held-out logits rank no better than chance (slope {slope:.3g}); the embeddings do not tell the "
            f"classes apart across groups, or the labels are swapped. Use another encoder or more systems."
        )
    score = slope * held_out + intercept
    threshold, kept = _reject_threshold(score, is_bonafide, config)
    mean, scale = _standardisation(embeddings, standardise=True)
    fit_mean, fit_scale = _standardisation(embeddings, standardise=config.standardise)
    fitted = _logistic((embeddings - fit_mean) / fit_scale, is_bonafide, config.c)
    # one form in the file, whatever was fitted: weights of the standardised embedding
    weights = fitted.coef_[0] / fit_scale * scale
    bias = float(fitted.intercept_[0] + (fitted.coef_[0] / fit_scale) @ (mean - fit_mean))
    report = _report(score, is_bonafide, groups, config) | kept | {"iterations": int(fitted.n_iter_[0])}
    quantiles = np.quantile(distance((embeddings - mean) / scale), np.linspace(0, 1, OOD_QUANTILES))
    head = Head(
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(weights.tolist()),
        bias=bias,
        slope=slope,
        intercept=intercept,
        prior=config.prior,
        max_entropy_bits=threshold,
        max_ood=config.max_ood,
        ood_quantiles=tuple(quantiles.tolist()),
        min_seconds=config.min_seconds,
        silence_dbfs=config.silence_dbfs,
        recipe=recipe,
        model=model,
        training=report,
    )
    return head, report


def held_out_logits(
    embeddings: Floats,
    is_bonafide: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.str_],
    config: TrainingConfig,
) -> Floats:
    """Logit of every row by a model that saw neither the row nor its group.

    Returns
    -------
    float64 array of shape (n,), higher for bona fide
    """
    logits = np.full(len(embeddings), np.nan)
    folds = StratifiedGroupKFold(config.folds, shuffle=True, random_state=SEED)
    for seen, unseen in folds.split(embeddings, is_bonafide, groups):
        if len(set(is_bonafide[seen])) < 2:
            raise ConfigError("a fold's training rows are of one class; use fewer --folds or more groups.")
        mean, scale = _standardisation(embeddings[seen], config.standardise)
        model = _logistic((embeddings[seen] - mean) / scale, is_bonafide[seen], config.c)
        logits[unseen] = model.decision_function((embeddings[unseen] - mean) / scale)
    return logits


def _check_rows(is_bonafide: npt.NDArray[np.bool_], groups: npt.NDArray[np.str_], folds: int) -> None:
    for name, rows in (("bonafide", is_bonafide), ("spoof", ~is_bonafide)):
        n_groups = len(set(groups[rows]))
        if n_groups < 2:
            raise ConfigError(
                f"{rows.sum()} labelled {name} rows in {n_groups} group(s); calibration on held-out groups needs "
                f"2 or more of each class. Add recordings, or the columns system, speaker or source."
            )
        if rows.sum() < folds:
            raise ConfigError(f"{rows.sum()} {name} rows for {folds} folds; use --folds {rows.sum()} or fewer.")
    if len(set(groups)) < folds:
        raise ConfigError(f"{len(set(groups))} groups for {folds} folds; use --folds {len(set(groups))} or fewer.")


def _standardisation(embeddings: Floats, standardise: bool) -> tuple[Floats, Floats]:
    if not standardise:
        return np.zeros(embeddings.shape[1]), np.ones(embeddings.shape[1])
    scale = embeddings.std(axis=0)
    return embeddings.mean(axis=0), np.where(scale > 0, scale, 1.0)


def _logistic(rows: Floats, is_bonafide: npt.NDArray[np.bool_], c: float) -> LogisticRegression:
    model = LogisticRegression(C=c, class_weight="balanced", max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return model.fit(rows, is_bonafide)
        except ConvergenceWarning as warning:
            raise ConfigError(
                f"the fit did not converge in {MAX_ITERATIONS} iterations; standardise, or lower --c ({c:g})."
            ) from warning


def _reject_threshold(
    score: Floats, is_bonafide: npt.NDArray[np.bool_], config: TrainingConfig
) -> tuple[float, dict[str, Any]]:
    """Threshold on entropy by the wished coverage or risk, and what it keeps of the held-out rows."""
    entropy = entropy_bits(score, config.prior)
    wrong = (p_spoof(score, config.prior) > 0.5) == is_bonafide
    threshold: float | None
    if config.target_coverage is not None:
        aim = {"target_coverage": config.target_coverage}
        threshold = threshold_for_coverage(entropy, config.target_coverage)
    else:
        aim = {"target_risk": config.target_risk if config.target_risk is not None else 0.05}
        threshold = threshold_for_risk(entropy, wrong, aim["target_risk"])
    met = threshold is not None
    threshold = 0.0 if threshold is None else threshold  # no promise can be kept: abstain on everything
    kept = entropy <= threshold
    return threshold, aim | {
        "target_met": met,
        "coverage": float(kept.mean()),
        "risk": float(wrong[kept].mean()) if kept.any() else None,
    }


def _report(
    score: Floats, is_bonafide: npt.NDArray[np.bool_], groups: npt.NDArray[np.str_], config: TrainingConfig
) -> dict[str, Any]:
    bonafide, spoof = score[is_bonafide], score[~is_bonafide]
    return {
        "c": config.c,
        "standardise": config.standardise,
        "calibrator": config.calibrator,
        "folds": config.folds,
        "bonafide": len(bonafide),
        "spoof": len(spoof),
        "groups": len(set(groups)),
        "held_out": {
            "equal_error_rate": metrics.equal_error_rate(bonafide, spoof),
            "cllr": metrics.cllr(bonafide, spoof),
            "expected_calibration_error": metrics.expected_calibration_error(
                p_spoof(score, config.prior), ~is_bonafide
            ),
        },
    }
