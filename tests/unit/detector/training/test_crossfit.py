"""Held-out logits come from models that saw neither the row nor its group."""

from __future__ import annotations

import numpy as np

from detector.logistic import Matrix
from detector.metrics import equal_error_rate
from detector.training.config import TrainingConfig
from detector.training.crossfit import held_out_logits
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
