"""Segments too short for a frame are ignored, and joining segments gives the mean over all frames."""

from __future__ import annotations

import numpy as np
import pytest

from detector.backbones import load_backbone
from detector.config import EmbedConfig
from detector.embedding import embed_segments, join_segments
from tests.support.audio import tone

MELSTATS = load_backbone(EmbedConfig(backbone="melstats"))


def test_a_segment_too_short_for_a_frame_has_zeros_and_no_frames() -> None:
    segments = [tone(1.0).astype(np.float32), np.ones(399, np.float32), tone(2.0).astype(np.float32)]

    embeddings, n_frames = embed_segments(MELSTATS, segments)

    assert n_frames.tolist() == [98, 0, 198]  # 1 + (16,000 - 400) // 160, and so on
    assert not embeddings[1].any()
    expected, _ = MELSTATS.embed([segments[0], segments[2]])
    np.testing.assert_array_equal(embeddings[[0, 2]], expected)


@pytest.mark.parametrize("n_segments", [0, 2])
def test_segments_that_are_all_too_short_join_to_nothing(n_segments: int) -> None:
    embeddings, n_frames = embed_segments(MELSTATS, [np.ones(10, np.float32)] * n_segments)

    assert embeddings.shape == (n_segments, 80)
    assert join_segments(embeddings, n_frames) is None


def test_segments_are_weighted_by_their_frames() -> None:
    embeddings = np.array([[1.0, -8.0], [5.0, 0.0], [99.0, 99.0]], np.float32)

    joined = join_segments(embeddings, np.array([30, 10, 0]))

    assert joined is not None
    assert joined.tolist() == [2.0, -6.0]  # (30 * 1 + 10 * 5) / 40 and (30 * -8) / 40


def test_one_segment_alone_keeps_its_bits() -> None:
    rng = np.random.default_rng(0)

    for n_frames in rng.integers(1, 3_000, size=100):
        embedding = rng.normal(size=(1, 50)).astype(np.float32)
        joined = join_segments(embedding, np.array([n_frames]))
        assert joined is not None
        assert joined.tobytes() == embedding.tobytes()
