"""The report of a fit: counts, folds and what was measured on the held-out rows. It becomes part of the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector import metrics
from detector.drift import histograms
from detector.groups import Codes, Groups, Names, tally
from detector.logistic import Bools
from detector.metrics import Floats
from detector.rejection import p_spoof
from detector.schema import BONAFIDE, SPOOF
from detector.training.config import CLASS_WEIGHTS, FOLDS, TrainingConfig


@dataclass(frozen=True)
class HeldOut:
    """Rows as judged by models that saw neither them nor their groups.

    Parameters
    ----------
    rows : bool array of shape (n_rows,)
        True for the rows that were held out: all except those that a certificate took.
    score : float64 array of shape (n,)
        Nats, higher for bona fide, calibrated on these very rows.
    kept : bool array of shape (n,)
        True where the row is not rejected.
    wrong : bool array of shape (n,)
        True where the decision at the prior is not the label.
    """

    rows: Bools
    score: Floats
    kept: Bools
    wrong: Bools


def measured(score: Floats, is_bonafide: Bools, groups: Groups, config: TrainingConfig) -> dict[str, Any]:
    """Settings, counts, and the metrics of the held-out rows.

    Parameters
    ----------
    score : float64 array of shape (n,)
        Of the held-out rows, in nats, higher for bona fide.
    is_bonafide : bool array of shape (n,)
    groups : Groups
        Of the same rows.
    config : TrainingConfig
    """
    calibration_error = metrics.expected_calibration_error(p_spoof(score, config.prior), ~is_bonafide)
    bonafide, spoof = score[is_bonafide], score[~is_bonafide]
    names = ("recipe", "c", "standardise", "class_weights", "nuisance_directions", "calibrator", "max_ood")
    return {
        **{name: value for name, value in asdict(config).items() if name in names},
        "class_weights": config.class_weights or CLASS_WEIGHTS[0],
        "training_prior": len(spoof) / len(score),  # removed from the score by the calibration
        "bonafide": len(bonafide),
        "spoof": len(spoof),
        "groups": int(np.count_nonzero(groups.counts(is_bonafide).any(axis=1))),
        "grouped_by": groups.rule,
        "score_histograms": histograms(score, is_bonafide),
        "held_out": {
            "equal_error_rate": metrics.equal_error_rate(bonafide, spoof),
            "cllr": metrics.cllr(bonafide, spoof),
            "expected_calibration_error": calibration_error,
        },
    }


def folds_used(fold: Codes, n_groups: dict[str, int], config: TrainingConfig) -> dict[str, Any]:
    """Number of folds, and the reason for that number."""
    n_folds, scarcer = int(fold.max()) + 1, min(n_groups, key=lambda name: n_groups[name])
    reason = "as stated" if config.folds is not None else "the default"
    if config.folds is None and n_folds < FOLDS:
        reason = f"fewer than {FOLDS}, because {scarcer} rows are of {n_groups[scarcer]} groups"
    return {"folds": n_folds, "folds_because": reason}


def outcomes(held_out: HeldOut, is_bonafide: Bools, names: Mapping[str, Names]) -> dict[str, Any]:
    """Count held-out rows by source and system: all, rejected, kept, and wrong among the kept.

    Parameters
    ----------
    held_out : HeldOut
    is_bonafide : bool array of shape (n_rows,)
    names : mapping
        Names of all rows, for example under the keys `system` and `source`.
    """
    report: dict[str, Any] = {}
    truth = is_bonafide[held_out.rows]
    for kind, of_all in names.items():
        report[kind] = {}
        of_held_out = of_all[held_out.rows]
        for label, of_class in ((BONAFIDE, truth), (SPOOF, ~truth)):
            kept = of_class & held_out.kept
            counts = tally(of_held_out.code, len(of_held_out.words), of_class, kept, kept & held_out.wrong)
            for word, (n_rows, n_kept, n_wrong) in sorted(zip(of_held_out.words, counts.tolist(), strict=True)):
                if n_rows:
                    report[kind][f"{label} {word}"] = {
                        "rows": n_rows,
                        "rejected": n_rows - n_kept,
                        "kept": n_kept,
                        "wrong": n_wrong,
                    }
    return report
