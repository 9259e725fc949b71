"""A head that needs no fit."""

from __future__ import annotations

import numpy as np

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.head import Head


def some_head(recipe: Recipe | None = None, dim: int = 80, model: str = "melstats") -> Head:
    """Return a head with constant random weights, for tests that need equal scores every time rather than good ones.

    Parameters
    ----------
    recipe : Recipe, optional
        Of the embeddings that it scores; those of `melstats` where it is left out.
    dim : int
        Their length.
    model : str
        The name of the encoder.
    """
    rng = np.random.default_rng(11)
    return Head(
        mean=tuple(rng.normal(size=dim).tolist()),
        scale=(2.0,) * dim,
        weights=tuple(rng.normal(size=dim).tolist()),
        bias=0.1,
        calibrator="affine",
        calibration=(1.0, 0.0),
        score_bounds=(-700.0, 700.0),
        prior=0.5,
        max_entropy_bits=0.9,
        max_ood=1.0,
        ood_directions=(),
        ood_variances=(),
        ood_rest=1.0,
        ood_quantiles=(0.0, 10.0),
        min_seconds=0.1,
        silence_dbfs=-80.0,
        recipe=(recipe or recipe_of(EmbedConfig(backbone="melstats"), None)).describe(),
        model=model,
        training={},
    )
