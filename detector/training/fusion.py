"""Fusion: one head over several tables of embeddings of the same recordings, such as layers of an encoder, or encoders.

```
table 1 ─► linear model ─► · slope + offset ─► nats ─► · weight ─┐
table 2 ─► linear model ─► · slope + offset ─► nats ─► · weight ─┴─► logit ─► one calibration ─► score
```

Weights are at least 0 and sum to 1. They are chosen on held-out logits, so that no row is judged by a model that saw it
or its group. A sum of linear models is a linear model of the embeddings side by side: the fused head is a head as any
other, and its numbers are checked as those of any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detector import metrics
from detector.calibration import CALIBRATORS, balanced
from detector.config import joined
from detector.errors import ConfigError
from detector.groups import Codes, Groups, Names
from detector.head import Head
from detector.logistic import Bools, Matrix, Rows, subset
from detector.metrics import Floats, Trials
from detector.rejection import called_spoof, entropy_bits, p_spoof
from detector.training.config import TrainingConfig
from detector.training.fitting import Aim, Linear, certification_rows, finish, learn
from detector.training.report import HeldOut

NEGLIGIBLE_WEIGHT = 1e-3  # a part below is left out: it would cost a layer or an encoder, and change nothing
N_DRAWS = 1_000


@dataclass(frozen=True)
class Part:
    """One table of a fused head.

    Parameters
    ----------
    rows : Matrix
        The same rows in the same order in every part.
    config : TrainingConfig
        States `c` and `standardise`; the rest is alike in all parts.
    recipe, model
        As for :class:`detector.head.Head`.
    """

    rows: Matrix
    config: TrainingConfig
    recipe: dict[str, Any]
    model: str


def fuse_heads(
    parts: Sequence[Part],
    is_bonafide: Bools,
    groups: Groups,
    *,
    certifying: Bools | None = None,
    seconds: npt.NDArray[np.floating[Any]] | None = None,
    systems: Names | None = None,
    sources: Names | None = None,
    about: dict[str, Any] | None = None,
) -> tuple[Head, dict[str, Any], HeldOut]:
    """Fit a head for each part, weight them, and calibrate their sum: as :func:`detector.training.fitting.fit_head`.

    Parts whose weight is negligible are left out. The report has an entry `fusion`: for each part its weight and what
    it reaches alone, the gain over the best alone with its interval, and what the fused head costs.

    Raises
    ------
    ConfigError
        As :func:`detector.training.fitting.fit_head`.
    """
    config = parts[0].config
    certifying = certification_rows(is_bonafide, groups, config) if certifying is None else certifying
    used = ~certifying
    truth, training_groups = is_bonafide[used], groups[used]
    fold = training_groups.folds(truth, config.folds)
    of_used = None if sources is None else sources[used]
    found = [learn(subset(part.rows, used), truth, fold, part.config, of_used) for part in parts]
    logits = np.column_stack([each.held_out for each in found])
    nats = Nats.of(logits, truth)
    weights = convex_weights(nats.apply(logits), truth)
    kept = [place for place, weight in enumerate(weights) if weight > 0.0]
    rows = Matrix(np.concatenate([parts[place].rows.embeddings for place in kept], axis=1))
    fused = _sum([found[place] for place in kept], nats[kept], weights[kept], subset(rows, used))
    report = describe(parts, weights, logits, truth, fold, training_groups)
    models = dict.fromkeys(parts[place].model for place in kept)
    recipe = joined([parts[place].recipe for place in kept])
    names = {"system": systems, "source": sources}
    aim = Aim(
        config, recipe, " + ".join(models), certifying, certifying, seconds, names, (about or {}) | {"fusion": report}
    )
    return finish(rows, is_bonafide, training_groups, fold, fused, aim)


@dataclass(frozen=True)
class Nats:
    """The affine map of each part's logits to nats: ``slope * logit + offset``; a slope of 0 where it would be less.

    Parameters
    ----------
    slope, offset : float64 arrays of shape (n_parts,)
    """

    slope: Floats
    offset: Floats

    @classmethod
    def of(cls, logits: Floats, is_bonafide: Bools) -> Nats:
        """Learn the maps on held-out logits of shape (n_rows, n_parts)."""
        numbers = np.array([CALIBRATORS["affine"].fit(column, is_bonafide) for column in logits.T])
        return cls(*np.where(numbers[:, :1] > 0.0, numbers, 0.0).T)

    def __getitem__(self, parts: list[int]) -> Nats:
        return Nats(self.slope[parts], self.offset[parts])

    def apply(self, logits: Floats) -> Floats:
        """Return the logits of every part in nats."""
        return np.asarray(logits * self.slope + self.offset)


def convex_weights(nats: Floats, is_bonafide: Bools) -> Floats:
    """Find the weights of parts whose calibrated sum has the lowest Cllr.

    ```
    minimise Cllr(a · nats + b) over a >= 0 and b;  weights = a / sum(a)
    ```

    Parameters
    ----------
    nats : float64 array of shape (n_rows, n_parts)
        Held-out logits of each part, in nats.
    is_bonafide : bool array of shape (n_rows,)

    Returns
    -------
    float64 array of shape (n_parts,)
        At least 0, with sum 1; exactly 0 where a part adds next to nothing.

    Raises
    ------
    ConfigError
        If no part ranks better than chance.

    References
    ----------
    Linear fusion by logistic regression: Brummer et al., Fusion of heterogeneous speaker recognition systems in the
    STBU submission, IEEE TASLP 15(7), 2007. Non-negative stacking: Breiman, Stacked regressions, 1996.

    Examples
    --------
    A part that is another's copy with noise gets less weight, and one that is worse than chance none.

    >>> rng = np.random.default_rng(0)
    >>> truth = np.arange(4_000) % 2 == 0
    >>> good = 2.0 * rng.normal(np.where(truth, 1.0, -1.0))
    >>> convex_weights(np.column_stack([good, good + rng.normal(size=4_000), -good]), truth).round(1).tolist()
    [1.0, 0.0, 0.0]
    """
    from scipy.optimize import minimize  # only now: judging needs none of it

    n_parts = nats.shape[1]
    balance, sign = balanced(is_bonafide) / len(nats), np.where(is_bonafide, 1.0, -1.0)
    columns = np.column_stack([nats, np.ones(len(nats))])

    def loss(at: Floats) -> tuple[float, Floats]:
        margin = sign * (columns @ at)
        slope = -balance * sign * np.exp(-np.logaddexp(0.0, margin))
        return float(balance @ np.logaddexp(0.0, -margin)), slope @ columns

    start = np.zeros(n_parts + 1)  # from nothing, so that a part gets only what it adds
    limits = [(0.0, None)] * n_parts + [(None, None)]
    options = {"maxiter": 1_000, "ftol": 1e-14, "gtol": 1e-9}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits, options=options).x[:n_parts]
    if not found.sum() > 0.0:
        raise ConfigError(
            "held-out logits of no table rank better than chance; the embeddings do not tell the classes apart across "
            "groups, or the labels are swapped. Use another encoder or more systems."
        )
    weights = np.where(found < NEGLIGIBLE_WEIGHT * found.sum(), 0.0, found)
    return np.asarray(weights / weights.sum())


def describe(
    parts: Sequence[Part], weights: Floats, logits: Floats, is_bonafide: Bools, fold: Codes, groups: Groups
) -> dict[str, Any]:
    """Describe a fusion: weights, gain and cost.

    Each fold is judged by weights and calibration of the other folds, the fused head as well as each alone, so that the
    gain is none that the weights learnt by heart. Its interval is over draws of groups.

    Parameters
    ----------
    parts : sequence of Part
    weights : float64 array of shape (n_parts,)
    logits : float64 array of shape (n_rows, n_parts)
        Held out.
    is_bonafide : bool array of shape (n_rows,)
    fold : int array of shape (n_rows,)
    groups : Groups
        Of the same rows.
    """
    columns = np.split(logits, len(parts), axis=1)
    alone = [_trials(_cross_fused(column, is_bonafide, fold), is_bonafide, groups) for column in columns]
    fused = _trials(_cross_fused(logits, is_bonafide, fold), is_bonafide, groups)
    costs = [metrics.cllr(each.score[is_bonafide], each.score[~is_bonafide]) for each in alone]
    best = int(np.argmin(costs))
    gain = metrics.compare(fused, alone[best], N_DRAWS)["cllr"]
    of_parts = [
        {"model": part.model, **{name: part.recipe.get(name) for name in ("layer", "pooling")}}
        | {"c": part.config.c, "standardise": part.config.standardise, "weight": weight, "cllr": cost}
        for part, weight, cost in zip(parts, weights.tolist(), costs, strict=True)
    ]
    taken = [part for part, weight in zip(parts, weights, strict=True) if weight > 0.0]
    return {
        "parts": of_parts,
        "cllr": metrics.cllr(fused.score[is_bonafide], fused.score[~is_bonafide]),
        "best_alone": best,
        "cllr_less_best_alone": {"value": gain.value, "low": gain.low, "high": gain.high},
        "passes": len({(part.recipe["backbone"], part.recipe["weights"], part.recipe["pooling"]) for part in taken}),
        "dim": sum(part.rows.dim for part in taken),
    }


def _sum(models: Sequence[Linear], nats: Nats, weights: Floats, rows: Rows) -> Linear:
    """The weighted sum of models in nats, as one model of their rows side by side."""
    factors = weights * nats.slope
    held_out = np.column_stack([each.held_out for each in models]) @ factors + weights @ nats.offset
    bias = float(factors @ [each.bias for each in models] + weights @ nats.offset)
    steps = [each.convergence for each in models]
    return Linear(
        mean=np.concatenate([each.mean for each in models]),
        scale=np.concatenate([each.scale for each in models]),
        weights=np.concatenate([factor * each.weights for factor, each in zip(factors, models, strict=True)]),
        bias=bias,
        rows=rows,
        held_out=held_out,
        convergence={
            "passes": sum(each["passes"] for each in steps),
            "last_step": max(each["last_step"] for each in steps),
            "models": sum(each["models"] for each in steps),
        },
    )


def _cross_fused(logits: Floats, is_bonafide: Bools, fold: Codes) -> Floats:
    """Scores of each fold by weights and calibration that are learnt on the other folds."""
    score = np.empty(len(logits))
    for number in np.unique(fold):
        seen, own = fold != number, fold == number
        nats = Nats.of(logits[seen], is_bonafide[seen])
        weights = convex_weights(nats.apply(logits[seen]), is_bonafide[seen]) if nats.slope.any() else nats.slope
        numbers = CALIBRATORS["affine"].fit(nats.apply(logits[seen]) @ weights, is_bonafide[seen])
        score[own] = CALIBRATORS["affine"].apply(numbers, nats.apply(logits[own]) @ weights)
    return score


def _trials(score: Floats, is_bonafide: Bools, groups: Groups) -> Trials:
    wrong = called_spoof(score, 0.5) == is_bonafide
    kept = np.ones(len(score), dtype=bool)
    return Trials(score, ~is_bonafide, p_spoof(score, 0.5), entropy_bits(score, 0.5), wrong, kept, groups.of_row)
