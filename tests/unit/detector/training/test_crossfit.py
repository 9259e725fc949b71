"""Held-out logits come from models that saw neither the row nor its group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.logistic import Matrix
from detector.metrics import equal_error_rate
from detector.training.config import TrainingConfig
from detector.training.crossfit import Partition, fit_models, held_out_logits, logits_by_penalty
from tests.unit.detector.training.drawn import (
    grouped,
)


def test_a_group_is_never_on_both_sides_of_a_fold() -> None:
    # An embedding encodes only its group, and a group has one class: known groups are separated without error,
    # unknown ones not at all.
    groups = np.repeat(np.arange(20), 10)
    embeddings, is_bonafide = np.eye(20)[groups], groups % 2 == 0

    config = TrainingConfig(c=1.0, standardise=True)

    by_group = held_out_logits(Matrix(embeddings), is_bonafide, grouped(groups), config)
    by_row = held_out_logits(Matrix(embeddings), is_bonafide, grouped(np.arange(200)), config)

    assert equal_error_rate(by_row[is_bonafide], by_row[~is_bonafide]) == 0.0
    assert equal_error_rate(by_group[is_bonafide], by_group[~is_bonafide]) > 0.4


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("class_weights", ["balanced", "none"])
def test_fewer_rows_than_dimensions_have_the_logits_of_the_whole_space(standardise: bool, class_weights: str) -> None:
    # the fit in all 50 dimensions is the other way to the same optimum
    rng = np.random.default_rng(3)
    embeddings = rng.normal(size=(36, 50)) * rng.lognormal(size=50) + rng.normal(size=50)
    is_bonafide, fold = np.arange(36) % 3 == 0, np.arange(36) // 2 % 3
    config = TrainingConfig(standardise=standardise, class_weights=class_weights)
    partition, rows = Partition.of_folds(fold, is_bonafide), Matrix(embeddings, block_rows=10)
    facts = partition.moments(rows)

    found = list(logits_by_penalty(rows, partition, facts, config, (0.01, 1.0), fold))

    for c, logits in zip((0.01, 1.0), found, strict=True):
        models = fit_models(rows, partition, facts, replace(config, c=c), None)
        np.testing.assert_allclose(logits, models.logits(rows, fold), rtol=1e-6, atol=1e-7)
