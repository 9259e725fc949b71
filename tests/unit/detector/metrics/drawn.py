"""Trials that are drawn at random, with speakers and systems that have a level of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from detector.metrics import Trials
from detector.rejection import entropy_bits, p_spoof


def trials_of(score: np.ndarray, is_spoof: np.ndarray, cluster: np.ndarray, max_entropy: float = 0.8) -> Trials:
    """Trials judged at a prior of 0.5."""
    with np.errstate(invalid="ignore"):
        entropy, said = entropy_bits(score, 0.5), p_spoof(score, 0.5)
    wrong = ~np.isnan(score) & ((said > 0.5) != is_spoof)
    return Trials(score, is_spoof, said, entropy, wrong, entropy <= max_entropy, cluster)


def rearranged(trials: Trials, rows: Any, **replaced: np.ndarray) -> Trials:
    """Trials by index, and some of their arrays replaced."""
    return replace(trials[rows], **replaced)


def drawn(
    rng: np.random.Generator, n_clusters: int, size: int, between: float, within: float, distance: float = 2.0
) -> Trials:
    """Scores of speakers and systems that each have a level of their own; half the clusters are spoof."""
    level = rng.normal(0.0, between, n_clusters) + distance * (np.arange(n_clusters) % 2 == 0)
    score = np.repeat(level, size) + rng.normal(0.0, within, n_clusters * size)
    cluster = np.repeat(np.arange(n_clusters), size)
    return trials_of(score, cluster % 2 == 1, cluster)
