"""One call gives the bits of its separate steps, and a head is refused with any encoder but its own."""

from __future__ import annotations

import io
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector import ConfigError, Detector, UtteranceError
from detector.backbones import load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.embedding import embed_segments, join_segments
from detector.groups import Groups
from detector.head import Head
from detector.logistic import Matrix
from detector.recording import Recording
from detector.rejection import p_spoof
from detector.training.config import TrainingConfig
from detector.training.fitting import fit_head
from tests.support.audio import encoded, tone

MELSTATS = EmbedConfig(backbone="melstats", segment_seconds=2.0)
HUGGINGFACE = EmbedConfig(backbone="huggingface", layer=2, segment_seconds=2.0)


def fitted(recipe: Recipe, dim: int) -> Head:
    """A head of the given size, fitted on random rows."""
    is_bonafide = np.tile([True, False], 50)
    embeddings = np.random.default_rng(0).normal(size=(100, dim)) + 0.5 * is_bonafide[:, None]
    head, *_ = fit_head(
        Matrix(embeddings),
        is_bonafide,
        Groups(np.repeat(np.arange(10), 10), "as drawn"),
        TrainingConfig(c=1.0, standardise=True, target_coverage=0.9),
        recipe=recipe.describe(),
        model=recipe.model,
    )
    return head


@pytest.fixture
def melstats_head(tmp_path: Path) -> Path:
    path = tmp_path / "head.json"
    path.write_text(fitted(recipe_of(MELSTATS, None), 80).to_json())
    return path


@pytest.fixture
def wav2vec2_head(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    path = tmp_path / "head.json"
    path.write_text(fitted(recipe_of(HUGGINGFACE, checkpoints["wav2vec2-layer"]), 32).to_json())
    return path


def score_by_hand(head: Head, checkpoint: Path | None, audio: bytes) -> float:
    """Compute a score step by step: bytes, segments, embeddings, their mean, the score."""
    recording = Recording(io.BytesIO(audio), head.embed_config.segment_seconds)
    backbone = load_backbone(head.embed_config, checkpoint and str(checkpoint))
    embedding = join_segments(*embed_segments(backbone, list(recording.segments())))
    assert embedding is not None
    return float(head.scores(embedding[None].astype(np.float64))[0])


@pytest.mark.parametrize("seconds", [0.5, 7.3])  # one segment, and four
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_score_has_the_bits_of_its_pieces(
    seconds: float, rate: int, wav2vec2_head: Path, checkpoints: dict[str, Path]
) -> None:
    audio = encoded(tone(seconds, rate=rate), rate=rate)
    checkpoint = checkpoints["wav2vec2-layer"]
    detector = Detector.load(wav2vec2_head, str(checkpoint))

    verdict = detector.score(audio)

    assert verdict.score is not None
    assert verdict.score.hex() == score_by_hand(detector.head, checkpoint, audio).hex()
    assert verdict.seconds == pytest.approx(seconds, abs=1 / 16_000)
    assert verdict.p_spoof == p_spoof(np.array([verdict.score]), 0.5)[0]
    assert verdict.reject is (verdict.reject_reason is not None)


def test_a_head_without_weights_needs_no_checkpoint(melstats_head: Path) -> None:
    detector = Detector.load(melstats_head)
    audio = encoded(tone(5.0))

    assert detector.score(audio).score == score_by_hand(detector.head, None, audio)


def test_the_prior_moves_the_probability_and_not_the_score(melstats_head: Path) -> None:
    detector = Detector.load(melstats_head)
    audio = encoded(tone(1.0))

    own, rare = detector.score(audio), detector.score(audio, prior=0.01)

    assert (own.prior, rare.prior) == (0.5, 0.01)
    assert own.score == rare.score
    assert own.score is not None
    assert rare.p_spoof == p_spoof(np.array([own.score]), 0.01)[0]


@pytest.mark.parametrize(
    ("audio", "reason"),
    [(encoded(tone(0.02)), "too_short"), (encoded(tone(0.09)), "too_short"), (encoded(np.zeros(16_000)), "silent")],
)
def test_a_recording_that_cannot_be_judged_has_no_score(audio: bytes, reason: str, melstats_head: Path) -> None:
    verdict = Detector.load(melstats_head).score(audio)

    assert (verdict.reject, verdict.reject_reason) == (True, reason)
    assert (verdict.score, verdict.p_spoof, verdict.label, verdict.entropy_bits) == (None, None, None, None)


def test_bytes_that_are_not_a_recording_raise(melstats_head: Path) -> None:
    with pytest.raises(UtteranceError) as caught:
        Detector.load(melstats_head).score(b"<html>404</html>")

    assert caught.value.error == "not_audio"


def test_an_embedding_that_is_not_finite_raises_as_it_fails_in_the_job(melstats_head: Path) -> None:
    # samples of 1e30 are finite, their power is not
    audio = encoded(1e30 * tone(1.0), kind="WAV", subtype="FLOAT")

    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(UtteranceError) as caught:
        Detector.load(melstats_head).score(audio)

    assert caught.value.error == "nonfinite"


def test_a_checkpoint_may_lie_elsewhere(wav2vec2_head: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    moved = shutil.copytree(checkpoints["wav2vec2-layer"], tmp_path / "moved")

    assert Detector.load(wav2vec2_head, str(moved)).score(encoded(tone(1.0))).score is not None


@pytest.mark.parametrize("other", ["wav2vec2-group", "hubert-layer", None])
def test_another_checkpoint_is_refused(other: str | None, wav2vec2_head: Path, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError):
        Detector.load(wav2vec2_head, other and str(checkpoints[other]))


def test_other_weights_of_the_same_shape_are_refused_by_name(
    wav2vec2_head: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    retrained = shutil.copytree(checkpoints["wav2vec2-layer"], tmp_path / "retrained")
    weights = bytearray((retrained / "model.safetensors").read_bytes())
    weights[-4] ^= 1
    (retrained / "model.safetensors").write_bytes(weights)

    with pytest.raises(ConfigError, match="Give the same checkpoint") as refused:
        Detector.load(wav2vec2_head, str(retrained))

    assert recipe_of(HUGGINGFACE, retrained).weights in str(refused.value)


def test_a_head_of_an_earlier_version_is_read_whatever_libraries_its_recipe_names(melstats_head: Path) -> None:
    head = Head.from_json(melstats_head.read_text(), "head.json")
    melstats_head.write_text(replace(head, recipe=head.recipe | {"decode": "libsndfile 1.0"}).to_json())

    detector = Detector.load(melstats_head)

    assert detector.head.fingerprint != head.fingerprint
    assert (
        detector.score(encoded(tone(1.0))).score
        == Detector(head, load_backbone(head.embed_config)).score(encoded(tone(1.0))).score
    )


@pytest.mark.parametrize("recipe", [{}, {"backbone": "melstats", "layer": "last"}])
def test_a_head_with_an_invalid_recipe_is_refused(recipe: dict[str, str], melstats_head: Path) -> None:
    head = Head.from_json(melstats_head.read_text(), "head.json")
    melstats_head.write_text(replace(head, recipe=recipe).to_json())

    with pytest.raises(ConfigError):
        Detector.load(melstats_head)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.json").write_bytes(pickle.dumps({"weights": [1.0]}))

    with pytest.raises(ConfigError, match=r"head\.json"):
        Detector.load(tmp_path / "head.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"head\.json"):
        Detector.load(tmp_path / "head.json")


def test_an_encoder_of_another_size_is_refused(checkpoints: dict[str, Path]) -> None:
    head = fitted(recipe_of(HUGGINGFACE, checkpoints["wav2vec2-layer"]), 80)

    with pytest.raises(ConfigError, match="the head has 80 dimensions, the encoder gives 32"):
        Detector(head, load_backbone(HUGGINGFACE, str(checkpoints["wav2vec2-layer"])))
