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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from detector.calibration import class_weights
from detector.errors import ConfigError
from detector.groups import Codes, Groups, tally
from detector.logistic import Bools, Kinds, Matrix, Models, Moments, Rows, fit, moments
from detector.metrics import Floats
from detector.training import span
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


def stated_c(config: TrainingConfig) -> float:
    """Return C, or raise ConfigError if the settings leave it open."""
    if config.c is None:
        raise ConfigError("c is not stated.")
    return config.c


def logits_by_penalty(
    rows: Rows, partition: Partition, facts: Moments, config: TrainingConfig, penalties: Iterable[float], model: Kinds
) -> Iterator[Floats]:
    """Compute the logits of the models of :func:`fit_models` at one C after another, by the shorter way.

    Rows that are fewer than their dimensions are fitted in the space that they span. The optimum is the same, to the
    tolerance of the search; its last digits are not, so a head is fitted by :func:`fit_models` itself.

    Parameters
    ----------
    rows, partition, facts
        As for :func:`fit_models`.
    config : TrainingConfig
        States `standardise`.
    penalties : iterable of float
        Values of C, each near the one before: a search starts where the last one ended.
    model : int array of shape (n_rows,)
        Column of ``partition.seen`` that scores each row.

    Yields
    ------
    float64 array of shape (n_rows,)
        For each C, the logit of every row; higher for bona fide.
    """
    if span.is_shorter(rows):
        yield from _logits_in_span(rows, partition, facts, config, penalties, model)
        return
    models = None
    for c in penalties:
        models = fit_models(rows, partition, facts, replace(config, c=c), models)
        yield models.logits(rows, model)


def _logits_in_span(
    rows: Rows, partition: Partition, facts: Moments, config: TrainingConfig, penalties: Iterable[float], model: Kinds
) -> Iterator[Floats]:
    n_models, weights = partition.seen.shape[1], partition.weights(config.class_weights)
    # Models that are standardised by their own rows have coordinates of their own; else all have the same.
    together = [[each] for each in range(n_models)] if config.standardise else [list(range(n_models))]
    units = facts.scale[:n_models] if config.standardise else np.ones((1, rows.dim))
    spans: list[Matrix] = [span.coordinates(rows, facts.mean[-1], unit) for unit in units]
    starts: list[Models | None] = [None] * len(spans)
    nothing, one = np.zeros(rows.n_rows), np.ones(rows.n_rows)
    for c in penalties:
        logits = np.empty(rows.n_rows)
        for place, (short, columns) in enumerate(zip(spans, together, strict=True)):
            penalty = np.outer(partition.share[columns] / c, one)
            of_kind = weights[:, columns]
            found = fit(
                short, partition.is_bonafide, partition.kind, of_kind, nothing, one, penalty, start=starts[place]
            )
            starts[place] = found
            mine = np.isin(model, columns)
            logits[mine] = found.logits(short, np.clip(model - columns[0], 0, len(columns) - 1))[mine]
        yield logits


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
    c = stated_c(config)
    centre, scale = facts.mean[-1], facts.scale[-1]
    # All models are standardised by the moments of all rows, so that they share one pass. The penalty on a weight in
    # a model's own units is converted to the shared ones.
    n_models = partition.seen.shape[1]
    unit = facts.scale[:n_models] if config.standardise else np.ones((n_models, rows.dim))
    # The penalty per row is the same for a model of four folds as for that of all five. With the same total penalty,
    # the logits of the final model would be larger than those that calibrate it (by 7 % where C is small, measured on
    # a known model).
    penalty = partition.share[:, None] * (unit / scale) ** 2 / c
    weights = partition.weights(config.class_weights)
    return fit(rows, partition.is_bonafide, partition.kind, weights, centre, scale, penalty, start=start)
