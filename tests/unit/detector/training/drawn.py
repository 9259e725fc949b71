"""Labelled rows whose log-likelihood ratio is known, and their fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.calibration import CALIBRATORS, bounded
from detector.config import EmbedConfig, Recipe
from detector.groups import Groups
from detector.head import Head
from detector.logistic import Matrix
from detector.training.config import TrainingConfig
from detector.training.crossfit import held_out_logits
from detector.training.fitting import fit_head

RECIPE = Recipe(EmbedConfig(backbone="melstats"), "melstats", "").describe()


SCALES = np.array([1.0, 1e-3, 50.0, 7.0])  # of the dimensions, as different as those of an encoder


OFFSETS = np.array([0.0, 2.0, -30.0, 1e3])


@dataclass(frozen=True)
class Drawn:
    """Labelled rows, with the ratio that no head can better."""

    embeddings: np.ndarray
    is_bonafide: np.ndarray
    groups: np.ndarray
    llr: np.ndarray


def draw(n_bonafide: int, n_spoof: int, *, seed: int = 0, distance: float = 2.0) -> Drawn:
    """Unit normals around +mu / 2 and -mu / 2, stretched and moved: the ratio is mu · x."""
    rng = np.random.default_rng(seed)
    is_bonafide = rng.permutation(np.arange(n_bonafide + n_spoof) < n_bonafide)
    mu = np.full(4, distance / 2)  # of length `distance`
    x = rng.normal(size=(len(is_bonafide), 4)) + np.where(is_bonafide, 0.5, -0.5)[:, None] * mu
    groups = rng.integers(20, size=len(x)).astype(str)
    return Drawn(x * SCALES + OFFSETS, is_bonafide, groups, x @ mu)


def known_model(n_rows: int, seed: int) -> Drawn:
    """Sixteen dimensions in which a known logistic model says how likely each row is bona fide."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 16))
    direction = np.linspace(-1.0, 1.0, 16)
    llr = x @ direction * 0.8
    is_bonafide = rng.random(n_rows) < 1 / (1 + np.exp(-llr))  # symmetric, so the classes' share is one half
    return Drawn(x, is_bonafide, rng.integers(200, size=n_rows).astype(str), llr)


def fit(rows: Drawn, **settings: Any) -> tuple[Head, dict[str, Any]]:
    config = TrainingConfig(**{"c": 1.0, "standardise": True} | settings)
    matrix, groups = Matrix(rows.embeddings), grouped(rows.groups)
    head, report, _ = fit_head(matrix, rows.is_bonafide, groups, config, recipe=RECIPE, model="melstats")
    return head, report


def grouped(names: np.ndarray) -> Groups:
    return Groups(np.unique(names, return_inverse=True)[1], "as drawn")


def held_out_scores(rows: Drawn, head: Head, **settings: Any) -> np.ndarray:
    config = TrainingConfig(**{"c": 1.0, "standardise": True} | settings)
    logits = held_out_logits(Matrix(rows.embeddings), rows.is_bonafide, grouped(rows.groups), config)
    return bounded(CALIBRATORS["affine"].apply(head.calibration, logits), head.score_bounds)


def labelled(labels: str, groups: str) -> Drawn:
    """Rows of two numbers, a letter each: `b` for bona fide or `s` for spoof, and the group's name."""
    is_bonafide = np.array([label == "b" for label in labels])
    embeddings = np.random.default_rng(0).normal(size=(len(labels), 2)) + 3.0 * is_bonafide[:, None]
    return Drawn(embeddings, is_bonafide, np.array(list(groups)), embeddings[:, 0])
