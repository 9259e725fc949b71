"""Whisper's encoder at a segment's own length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from detector.checkpoint import recipe_of
from detector.config import OWN, PADDED, EmbedConfig
from detector.errors import ConfigError
from tests.support.encoders import load

pytestmark = pytest.mark.usefixtures("one_thread")

SECONDS = 1.28


def speech(seconds: float) -> np.ndarray:
    """Noise that ends in 50 ms of silence, so that both contexts see the same windows at the end."""
    samples = np.random.default_rng(0).normal(scale=0.1, size=round(16_000 * seconds)).astype(np.float32)
    samples[-800:] = 0.0
    return samples


def shortened(folder: Path, n_frames: int) -> Any:
    """The published encoder, told that it has `n_frames` positions: then it takes inputs of that length."""
    encoder = transformers.AutoModel.from_pretrained(folder).get_encoder().eval()
    encoder.config.max_source_positions = n_frames
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight[:n_frames])
    return encoder


@pytest.mark.parametrize("layer", [0, 1, 3, -1])
def test_a_segment_has_the_frames_of_the_published_encoder_with_as_many_positions(
    layer: int, checkpoints: dict[str, Path]
) -> None:
    samples = speech(SECONDS)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(checkpoints["whisper"])
    windows = extractor(samples, sampling_rate=16_000, return_tensors="pt", padding=False).input_features
    with torch.inference_mode():
        whole = shortened(checkpoints["whisper"], 64)(windows[..., :128], output_hidden_states=True)
    expected = (whole.last_hidden_state if layer in (3, -1) else whole.hidden_states[layer]).mean(dim=1)

    embedding, n_frames = load(checkpoints["whisper"], layer=layer).embed([samples])

    assert n_frames.tolist() == [64]  # 1.28 s of 50 frames
    np.testing.assert_allclose(embedding, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_thirty_seconds_are_the_same_in_both_contexts(checkpoints: dict[str, Path]) -> None:
    samples = speech(30.0)

    own, padded = (load(checkpoints["whisper"], context=context).embed([samples])[0] for context in (OWN, PADDED))

    np.testing.assert_allclose(own, padded, rtol=1e-4, atol=1e-5)


def test_silence_after_a_short_segment_changes_the_published_frames(checkpoints: dict[str, Path]) -> None:
    # the control of the test above: at 1.28 s, the contexts differ
    samples = speech(SECONDS)

    own, padded = (load(checkpoints["whisper"], context=context).embed([samples])[0] for context in (OWN, PADDED))

    assert np.linalg.norm(own - padded) > 1e-2 * np.linalg.norm(own)


def test_a_louder_neighbour_does_not_change_an_embedding(checkpoints: dict[str, Path]) -> None:
    # levels are limited to 80 dB below the loudest window, which must be one of the segment's own
    quiet = 1e-4 * speech(SECONDS)
    backbone = load(checkpoints["whisper"])
    alone = backbone.embed([quiet])[0]

    beside = backbone._encoder([quiet, speech(3.0)])[0][:1].numpy()

    np.testing.assert_allclose(beside, alone, rtol=1e-4, atol=1e-5)


def test_both_contexts_are_in_the_fingerprint_and_own_is_the_default(checkpoints: dict[str, Path]) -> None:
    recipes = [
        recipe_of(EmbedConfig(backbone="huggingface", segment_seconds=4, context=context), checkpoints["whisper"])
        for context in (None, OWN, PADDED)
    ]

    assert [recipe.describe()["context"] for recipe in recipes] == [OWN, OWN, PADDED]
    assert recipes[0].fingerprint == recipes[1].fingerprint != recipes[2].fingerprint
    assert [recipe.slug for recipe in recipes] == ["whisper-last", "whisper-last", "whisper-last-padded"]


@pytest.mark.parametrize("backbone", ["huggingface", "melstats"])
def test_a_context_is_refused_where_there_is_none(backbone: str, checkpoints: dict[str, Path]) -> None:
    folder = checkpoints["wavlm-layer"] if backbone == "huggingface" else None

    with pytest.raises(ConfigError, match="only Whisper's encoders have one; omit --context"):
        recipe_of(EmbedConfig(backbone=backbone, context=PADDED), folder)


def test_other_encoders_keep_their_fingerprints(checkpoints: dict[str, Path]) -> None:
    recipe = recipe_of(EmbedConfig(backbone="huggingface"), checkpoints["wavlm-layer"])

    assert "context" not in recipe.describe()
