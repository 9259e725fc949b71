"""Cross-fitting: several models over parts of the same rows, so that each row has a logit by a model that never saw it.

```
parts      0   1   2   3   4         (folds, or synthesisers)
model 0        x   x   x   x         learns from the parts marked x, and scores part 0
model 1    x       x   x   x
…
last       x   x   x   x   x         the model of the head
```
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from detector.calibration import class_weights
from detector.errors import ConfigError
from detector.groups import Codes, Groups, tally
from detector.logistic import Bools, Models, Moments, Rows, fit, moments
from detector.metrics import Floats
from detector.training.config import TrainingConfig


@dataclass(frozen=True)
class Partition:
    """Rows divided into parts (folds or systems), and the parts that each model learns from.

    Parameters
    ----------
    number : int array of shape (n_rows,)
        Part of every row.
    is_bonafide : bool array of shape (n_rows,)
    seen : bool array of shape (n_parts, n_models)
        True where the model of the column learns from the part of the row.
    """

    number: Codes
    is_bonafide: Bools
    seen: Bools

    @classmethod
    def of_folds(cls, fold: Codes, is_bonafide: Bools) -> Partition:
        """One model for each fold, which learns from all other folds."""
        return cls(fold, is_bonafide, ~np.eye(int(fold.max()) + 1, dtype=bool))

    def with_full_model(self) -> Partition:
        """The same parts with one more model, which learns from all of them."""
        return replace(self, seen=np.column_stack([self.seen, np.ones(len(self.seen), dtype=bool)]))

    @cached_property
    def kind(self) -> Codes:
        """Part and class of every row as one number; odd numbers are bona fide."""
        return 2 * self.number + self.is_bonafide

    @cached_property
    def counts(self) -> Floats:
        """Rows of every part and class: float64 array of shape (n_parts, 2), spoof first."""
        return tally(self.number, len(self.seen), ~self.is_bonafide, self.is_bonafide).astype(np.float64)

    @property
    def share(self) -> Floats:
        """Share of all rows that each model learns from: float64 array of shape (n_models,), in [0, 1]."""
        return np.asarray(self.counts.sum(axis=1) @ self.seen / self.counts.sum())

    def moments(self, rows: Rows) -> Moments:
        """Moments of the rows that each model learns from, followed by those of all rows."""
        seen = self.seen if self.seen[:, -1].all() else self.with_full_model().seen
        return moments(rows, self.kind, np.repeat(seen, 2, axis=0))

    def weights(self, how: str | None) -> Floats:
        """Weight of every kind of row in each model: float64 array of shape (n_kinds, n_models)."""
        of_class = [
            np.ones(2) if how == "none" else class_weights(*(self.counts * column[:, None]).sum(axis=0))
            for column in self.seen.T
        ]
        return np.asarray(np.repeat(self.seen, 2, axis=0) * np.tile(np.transpose(of_class), (len(self.seen), 1)))


def cross_fit(rows: Rows, is_bonafide: Bools, fold: Codes, config: TrainingConfig) -> tuple[Moments, Models, Floats]:
    """Fit one model per fold on the other folds, and a last one on all rows.

    Parameters
    ----------
    rows, is_bonafide
        As for :func:`detector.training.fitting.fit_head`.
    fold : int array of shape (n_rows,)
    config : TrainingConfig
        States `c` and `standardise`.

    Returns
    -------
    Moments
        Of each fold's training rows, followed by those of all rows.
    Models
        In the same order.
    float64 array of shape (n_rows,)
        Each row's logit by the model of its fold, higher for bona fide.
    """
    partition = Partition.of_folds(fold, is_bonafide).with_full_model()
    facts = partition.moments(rows)
    models = fit_models(rows, partition, facts, config, None)
    return facts, models, models.logits(rows, fold)


def held_out_logits(rows: Rows, is_bonafide: Bools, groups: Groups, config: TrainingConfig) -> Floats:
    """Logit of every row by a model that saw neither the row nor its group.

    Returns
    -------
    float64 array of shape (n_rows,)
        Higher for bona fide.
    """
    return cross_fit(rows, is_bonafide, groups.folds(is_bonafide, config.folds), config)[2]


def fit_models(
    rows: Rows, partition: Partition, facts: Moments, config: TrainingConfig, start: Models | None
) -> Models:
    """Fit one model for each column of ``partition.seen``.

    Parameters
    ----------
    rows : Rows
    partition : Partition
    facts : Moments
        As :meth:`Partition.moments`: the last selection is of all rows.
    config : TrainingConfig
        States `c` and `standardise`.
    start : Models, optional
        Where the search starts: models of the same rows at a neighbouring penalty.

    Returns
    -------
    Models

    Raises
    ------
    ConfigError
        If `c` is not stated, or the fit does not converge.
    """
    if config.c is None:
        raise ConfigError("c is not stated.")
    centre, scale = facts.mean[-1], facts.scale[-1]
    # All models are standardised by the moments of all rows, so that they share one pass. The penalty on a weight in
    # a model's own units is converted to the shared ones.
    n_models = partition.seen.shape[1]
    unit = facts.scale[:n_models] if config.standardise else np.ones((n_models, rows.dim))
    # The penalty per row is the same for a model of four folds as for that of all five. With the same total penalty,
    # the logits of the final model would be larger than those that calibrate it (by 7 % where C is small, measured on
    # a known model).
    penalty = partition.share[:, None] * (unit / scale) ** 2 / config.c
    weights = partition.weights(config.class_weights)
    return fit(rows, partition.is_bonafide, partition.kind, weights, centre, scale, penalty, start=start)
