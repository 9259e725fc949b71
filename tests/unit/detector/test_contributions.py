"""Frames share a recording's logit among them, exactly, for every head on a mean; other poolings are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.api import Detector
from detector.backbones import load_backbone
from detector.config import LAST_LAYER, EmbedConfig, Recipe
from detector.contributions import FrameLogits, frame_contributions, frame_logits, no_exact_sum
from detector.embedding import embed_frames, embed_segments, join_layers
from detector.errors import ConfigError
from detector.groups import Names, groups_of
from detector.head import Head
from detector.logistic import Matrix
from detector.training.config import TrainingConfig
from detector.training.fitting import fit_head
from detector.training.nuisance import clean
from detector.windows import Windows
from tests.support.encoders import load
from tests.support.made_heads import RECIPE, fused_head, random_head

ENCODERS = ["wav2vec2-group", "wavlm-layer", "wav2vec2-bert", "whisper"]


def segments_of(*seconds: float) -> list[np.ndarray]:
    """Noise whose level glides, so that no frame is as another."""
    rng = np.random.default_rng(3)
    return [
        (np.linspace(0.02, 0.3, round(16_000 * each)) * rng.normal(size=round(16_000 * each))).astype(np.float32)
        for each in seconds
    ]


def collected(head: Head, backbone: Any, segments: list[np.ndarray]) -> FrameLogits:
    found, start = FrameLogits(), 0.0
    for segment in segments:
        _, frames = embed_frames(backbone, segment)
        found.add(frame_logits(head, frames), start, start + len(segment) / 16_000)
        start += len(segment) / 16_000
    return found


def judged_logit(head: Head, backbone: Any, segments: list[np.ndarray]) -> float:
    """The logit of the embedding that is stored: pooled in float32, segment by segment."""
    embedding = join_layers(*embed_segments(backbone, segments), "mean", len(backbone.layers))
    assert embedding is not None
    return float(head.logits(embedding[None].astype(np.float64))[0])


@pytest.mark.parametrize("seed", range(5))
def test_contributions_sum_to_the_logit_of_any_head_on_any_frames(seed: int) -> None:
    head, rng = random_head(seed, dim=17), np.random.default_rng(seed)
    frames = rng.normal(2.0, 3.0, size=(1 + 100 * seed, 17))

    found = frame_contributions(head, frames)

    # one by one, by the definition
    weights, mean, scale = (np.array(each) for each in (head.weights, head.mean, head.scale))
    expected = [(weights @ ((frame - mean) / scale) + head.bias) / len(frames) for frame in frames]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx(head.logits(frames.mean(axis=0)[None])[0], abs=1e-9)


def test_contributions_of_the_starter_sum_to_the_logit_of_the_stored_embedding() -> None:
    detector = Detector.load()
    backbone = load_backbone(detector.head.embed_config)
    segments = segments_of(4.0, 4.0, 1.3)

    found = collected(detector.head, backbone, segments)

    assert found.logit == pytest.approx(judged_logit(detector.head, backbone, segments), abs=1e-5)
    assert found.n_frames == embed_segments(backbone, segments)[1].sum() == len(found.contributions)
    assert 0.0 < found.seconds[0] < 0.02 < 9.28 < found.seconds[-1] < 9.3
    assert (np.diff(found.seconds) > 0.0).all()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("layers", [(LAST_LAYER,), (0, 2, LAST_LAYER), (3, 1)])
def test_layers_of_a_fused_head_are_summed_together(
    name: str, layers: tuple[int, ...], checkpoints: dict[str, Path]
) -> None:
    config = EmbedConfig(backbone="huggingface", layer=layers[0])
    backbone = load(checkpoints[name], layers=layers)
    recipes = [Recipe(replace(config, layer=layer), "m", "00") for layer in layers]
    head = fused_head(random_head(1, backbone.dim * len(layers)), *recipes)
    segments = segments_of(0.5, 0.3)

    found = collected(head, backbone, segments)

    assert found.logit == pytest.approx(judged_logit(head, backbone, segments), abs=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_frames_come_with_the_very_bits_of_the_embedding(name: str, checkpoints: dict[str, Path]) -> None:
    for backbone in (
        load(checkpoints[name], layers=(0, 3, LAST_LAYER)),
        load_backbone(EmbedConfig(backbone="melstats")),
    ):
        for segment in segments_of(0.5, 0.31, 0.001):
            (embedding,), (n_frames,) = embed_segments(backbone, [segment])

            found, frames = embed_frames(backbone, segment)

            assert found.tobytes() == embedding.tobytes()
            assert len(frames) == n_frames
            if n_frames:
                np.testing.assert_allclose(frames.astype(np.float64).mean(axis=0), embedding, atol=1e-4)


def test_a_nuisance_direction_adds_nothing_to_any_frame() -> None:
    rng = np.random.default_rng(1)
    source = np.repeat(np.arange(24), 40)
    is_bonafide = source % 2 == 0
    rows = rng.normal(size=(len(source), 4))
    rows[:, 0] += rng.normal(scale=20.0, size=24)[source]
    rows[:, 1] += 1.5 * is_bonafide
    sources = Names.of([str(each) for each in source])
    groups = groups_of(is_bonafide, {"source": sources, "system": Names.of(["-"] * len(rows)), "speaker": sources})
    config = TrainingConfig(c=1.0, nuisance_directions=1, folds=3)
    head, _, _ = fit_head(
        Matrix(rows), is_bonafide, groups, config, recipe=RECIPE.describe(), model="m", sources=sources
    )
    cleaned = clean(Matrix(rows), is_bonafide, sources, 1)
    assert cleaned is not None
    frames = rng.normal(size=(50, 4))
    direction = cleaned.directions[0] * cleaned.scale

    found, moved = frame_contributions(head, frames), frame_contributions(head, frames + 100.0 * direction)

    np.testing.assert_allclose(moved, found, atol=1e-9)
    assert np.ptp(found) > 0.01
    assert found.sum() == pytest.approx(head.logits(frames.mean(axis=0)[None])[0], abs=1e-9)


@pytest.mark.parametrize("pooling", ["mean+std", "max"])
def test_poolings_without_an_exact_sum_are_named(pooling: str) -> None:
    head = replace(random_head(0, 4), recipe=RECIPE.describe() | {"pooling": pooling})

    assert str(no_exact_sum(head)).startswith(f"pooling {pooling}: its logit is no sum over frames")
    with pytest.raises(ConfigError, match="only windows are shown"):
        frame_contributions(head, np.zeros((3, 4)))


def test_frames_of_another_encoder_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"frames of shape \(3, 5\); expected \(n_frames, 4\)"):
        frame_contributions(random_head(0, 4), np.zeros((3, 5)))


def test_a_windows_logit_is_that_of_the_mean_over_its_frames() -> None:
    head, rng = random_head(2, dim=6), np.random.default_rng(2)
    frames = rng.normal(size=(500, 6))  # 10 s
    found = FrameLogits()
    for part, start in ((frames[:200], 0.0), (frames[200:300], 4.0), (frames[300:], 6.0)):
        found.add(frame_logits(head, part), start, start + len(part) / 50)

    times, logits = found.windows(10.0, Windows(3.0, 1.5))

    assert times.tolist() == [[0.0, 3.0], [1.5, 4.5], [3.0, 6.0], [4.5, 7.5], [6.0, 9.0], [7.5, 10.0]]
    expected = [
        head.logits(frames[round(50 * start) : round(50 * end)].mean(axis=0)[None])[0] for start, end in times.tolist()
    ]
    np.testing.assert_allclose(logits, expected, atol=1e-9)


def test_a_short_recording_is_one_window_and_one_without_frames_has_none() -> None:
    short, empty = FrameLogits(), FrameLogits()
    short.add(np.array([1.0, 2.0]), 0.0, 1.2)
    empty.add(np.zeros(0), 0.0, 0.01)

    assert [each.tolist() for each in short.windows(1.2)] == [[[0.0, 1.2]], [1.5]]
    assert [each.tolist() for each in empty.windows(0.01)] == [[], []]
    assert (empty.logit, empty.n_frames) == (0.0, 0)
