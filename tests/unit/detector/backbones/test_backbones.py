"""The contract of every backbone (detector.backbones.Backbone); each entry of BACKBONES runs through these tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector.backbones import BACKBONES, Backbone, load_backbone
from detector.config import MELSTATS, EmbedConfig
from tests.support.audio import tone

Loader = Callable[..., Backbone]


@pytest.fixture(params=BACKBONES)
def load(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Loader:
    """Load one of the backbones for a CPU."""
    folder = None if request.param == MELSTATS else str(checkpoints["wav2vec2-layer"])
    return lambda **how: load_backbone(EmbedConfig(backbone=request.param), folder, **how)


@pytest.fixture(scope="module")
def segments() -> list[np.ndarray]:
    """Tones of 0.1 to 2 s."""
    lengths = np.random.default_rng(0).uniform(0.1, 2.0, size=12)
    return [tone(length, hertz=200.0 + 50 * seed, seed=seed).astype(np.float32) for seed, length in enumerate(lengths)]


def test_embeddings_are_float32_rows_with_their_number_of_frames(load: Loader, segments: list[np.ndarray]) -> None:
    backbone = load()

    embeddings, n_frames = backbone.embed(segments)

    assert (embeddings.dtype, embeddings.shape) == (np.float32, (len(segments), backbone.dim))
    assert np.isfinite(embeddings).all()
    assert len(np.unique(embeddings, axis=0)) == len(segments)
    assert n_frames.dtype == np.int64
    by_length = np.argsort([len(segment) for segment in segments])
    assert (np.diff(n_frames[by_length]) >= 0).all()


def test_the_shortest_segment_gives_one_frame(load: Loader) -> None:
    backbone = load()

    _, n_frames = backbone.embed([tone(1.0)[: backbone.min_samples].astype(np.float32)])

    assert n_frames.tolist() == [1]


def test_no_segments_give_no_rows(load: Loader) -> None:
    backbone = load()

    embeddings, n_frames = backbone.embed([])

    assert embeddings.shape == (0, backbone.dim)
    assert n_frames.shape == (0,)


@pytest.mark.parametrize("batch_seconds", [1.0, 8.0, 32.0])
def test_a_row_has_the_same_bits_alone_and_in_a_batch(
    load: Loader, segments: list[np.ndarray], batch_seconds: float
) -> None:
    backbone = load()
    alone = [backbone.embed([segment]) for segment in segments]
    order = np.random.default_rng(1).permutation(len(segments))

    embeddings, n_frames = load(batch_seconds=batch_seconds).embed([segments[index] for index in order])

    for row, index in enumerate(order):
        assert embeddings[row].tobytes() == alone[index][0][0].tobytes()
        assert n_frames[row] == alone[index][1][0]


def test_segments_are_not_modified(load: Loader, segments: list[np.ndarray]) -> None:
    before = [segment.copy() for segment in segments]

    load().embed(segments)

    for segment, copy in zip(segments, before, strict=True):
        np.testing.assert_array_equal(segment, copy)


def test_a_cpu_is_called_cpu(load: Loader) -> None:
    assert load().device == "cpu"
