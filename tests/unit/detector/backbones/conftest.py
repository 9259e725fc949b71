"""Utterances, and what an encoder makes of each alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.encoders import load


@pytest.fixture(scope="module")
def utterances() -> list[np.ndarray]:
    """Noise of 0.2 to 0.4 s, some of equal length and one ten times as long, each at its own level and offset."""
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(3_200, 6_400, size=25), *[4_800] * 8, 48_000]
    return [
        (rng.uniform(0.01, 0.3) * rng.normal(size=length) + rng.uniform(-0.1, 0.1)).astype(np.float32)
        for length in lengths
    ]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Restrict torch to one thread, as the backbone does: two threads sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def alone(checkpoints: dict[str, Path], utterances: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Embeddings of single utterances, by checkpoint."""
    loaded = {name: load(folder) for name, folder in checkpoints.items()}
    return {
        name: np.concatenate([backbone.embed([utterance])[0] for utterance in utterances])
        for name, backbone in loaded.items()
    }
