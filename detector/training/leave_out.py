"""Leave-one-out error rates: each synthesiser and each source judged by a model that was fitted without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detector import metrics
from detector.calibration import CALIBRATORS, Numbers
from detector.groups import Codes, Names, tally
from detector.logistic import Bools, Rows
from detector.metrics import Floats
from detector.rejection import called_spoof
from detector.training.config import TrainingConfig
from detector.training.crossfit import Partition, logits_by_penalty, stated_c

MODELS_AT_ONCE = 8  # each takes a matrix of dim x dim


def leave_one_out(
    rows: Rows, is_bonafide: Bools, names: Mapping[str, Names], config: TrainingConfig, calibration: Numbers
) -> dict[str, Any]:
    """Leave out each synthesiser, and each source, and judge its rows by a model that never saw any of it.

    Parameters
    ----------
    rows, is_bonafide, config
        As for :func:`detector.training.fitting.fit_head`; ``config`` states `c` and `standardise`.
    names : mapping
        Names of the rows under the keys `system` and `source`.
    calibration : tuple of floats
        The calibration of the head.

    Returns
    -------
    dict
        Under `system` and `source`, for each name: its `rows`, the share `wrong` at the prior, and its median `score`
        in nats. `equal_error_rate` compares spoof rows left out by system with bona fide rows left out by source, if
        there are any.
    """
    scores = {kind: np.full(len(is_bonafide), np.nan) for kind in ("system", "source")}
    report: dict[str, Any] = {}
    for kind, of_kind in scores.items():
        words, code = names[kind].words, names[kind].code
        if kind == "system":
            code = np.where(is_bonafide, -1, code)
        report[kind] = {}
        places = _separable(code, words, is_bonafide)
        for start in range(0, len(places), MODELS_AT_ONCE):
            batch = places[start : start + MODELS_AT_ONCE]
            logits, model_of_row = _left_out_logits(rows, is_bonafide, code, batch, config)
            for model, place in enumerate(batch):
                of_name = model_of_row == model
                of_kind[of_name] = score = CALIBRATORS[config.calibrator].apply(calibration, logits[of_name])
                report[kind][words[place]] = {
                    "rows": len(score),
                    "wrong": float((called_spoof(score, config.prior) == is_bonafide[of_name]).mean()),
                    "median_score": float(np.median(score)),
                }
    bonafide, spoof = scores["source"][is_bonafide], scores["system"][~is_bonafide]
    bonafide, spoof = bonafide[~np.isnan(bonafide)], spoof[~np.isnan(spoof)]
    if len(bonafide) and len(spoof):
        report["equal_error_rate"] = metrics.equal_error_rate(bonafide, spoof)
    return report


def _separable(code: Codes, words: tuple[str, ...], is_bonafide: Bools) -> list[int]:
    """Places of the names, in alphabetical order, without which rows of both classes are left to learn from."""
    counts = tally(code, len(words), ~is_bonafide, is_bonafide)
    remaining = tally(np.zeros_like(code), 1, ~is_bonafide, is_bonafide) - counts
    places = [place for place in np.flatnonzero(counts.any(axis=1)).tolist() if remaining[place].all()]
    return sorted(places, key=lambda place: words[place])


def _left_out_logits(
    rows: Rows, is_bonafide: Bools, code: Codes, batch: list[int], config: TrainingConfig
) -> tuple[Floats, Codes]:
    """Fit one model for each name in ``batch``, without the rows of that name.

    Returns
    -------
    float64 array of shape (n_rows,)
        Logits; only those of the names' own rows mean anything.
    int array of shape (n_rows,)
        The model that has not seen the row; -1 for rows of other names.
    """
    of_name = np.full(int(code.max()) + 2, -1, dtype=np.int16)  # the last element is for code -1
    of_name[batch] = np.arange(len(batch))
    model_of_row = of_name[code]
    seen = np.vstack([np.ones(len(batch), dtype=bool), ~np.eye(len(batch), dtype=bool)])
    partition = Partition(model_of_row + 1, is_bonafide, seen)
    facts, judge = partition.moments(rows), np.maximum(model_of_row, 0)
    (logits,) = logits_by_penalty(rows, partition, facts, config, [stated_c(config)], judge)
    return logits, model_of_row
