"""Trials measure all metrics at once, quickly, and refuse arrays of different lengths."""

from __future__ import annotations

import time

import numpy as np
import pytest

from detector.metrics import Trials, equal_error_rate
from tests.unit.detector.metrics.drawn import drawn


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        Trials(*(np.zeros(3) for _ in range(6)), cluster=np.zeros(2))  # type: ignore[arg-type]


def test_a_million_scores_take_seconds() -> None:
    rng = np.random.default_rng(8)
    trials = drawn(rng, 1_000, 1_000, 0.5, 1.0)
    before = time.process_time()

    found = trials.measure()

    assert time.process_time() - before < 20.0  # 1.6 s when measured alone
    assert found["equal_error_rate"] == equal_error_rate(trials.score[~trials.is_spoof], trials.score[trials.is_spoof])
