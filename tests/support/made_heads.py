"""Heads made by hand, and rows for them to judge."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from detector.config import EmbedConfig, Recipe, joined
from detector.head import Head

RECIPE = Recipe(EmbedConfig(backbone="melstats"), "melstats", "")


PLAIN = Head(
    # the score of an embedding is its first number
    mean=(0.0, 0.0),
    scale=(1.0, 1.0),
    weights=(1.0, 0.0),
    bias=0.0,
    calibrator="affine",
    calibration=(1.0, 0.0),
    score_bounds=(-700.0, 700.0),
    prior=0.5,
    max_entropy_bits=0.499916,  # of probabilities 0.11 and 0.89, so of scores up to 2.09 in size
    max_ood=1.0,
    ood_directions=(),
    ood_variances=(),
    ood_rest=1.0,
    ood_quantiles=(0.0, 1.0, 3.0),
    min_seconds=0.5,
    silence_dbfs=-80.0,
    recipe=RECIPE.describe(),
    model="melstats",
    training={"bonafide": 10, "spoof": 12, "held_out": {"cllr": 0.1}},
)


def random_head(seed: int, dim: int) -> Head:
    rng = np.random.default_rng(seed)
    return replace(
        PLAIN,
        mean=tuple(rng.normal(size=dim).tolist()),
        scale=tuple(rng.lognormal(size=dim).tolist()),
        weights=tuple(rng.normal(size=dim).tolist()),
        bias=math.pi,
        calibration=(1 / 3, -0.0),
        ood_directions=tuple(np.linalg.qr(rng.normal(size=(dim, 3)))[0].T.ravel().tolist()),
        ood_variances=(9.0, 4.0, 1.0)[: min(dim, 3)],
        ood_rest=0.3,
        ood_quantiles=tuple(np.sort(rng.lognormal(size=101)).tolist()),
    )


def fused_head(head: Head, *recipes: Recipe) -> Head:
    """The head for embeddings of these recipes side by side, with as many numbers as it has."""
    return replace(head, recipe=joined([recipe.describe() for recipe in recipes]))
