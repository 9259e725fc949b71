"""One call gives the bits of its separate steps, and a head is refused with any encoder but its own."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from detector import ConfigError, Detector, UtteranceError
from detector.backbones import Backbone, load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.decoders import Samples
from detector.embedding import embed_segments, join_segments
from detector.groups import Groups
from detector.head import Head
from detector.logistic import Matrix
from detector.recording import Recording
from detector.rejection import p_spoof
from detector.training.config import TrainingConfig
from detector.training.fitting import fit_head
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

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


@pytest.fixture(scope="module")
def melstats() -> Detector:
    return Detector(some_head(), load_backbone(some_head().embed_config))


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


def test_an_embedding_that_is_not_finite_raises_as_it_fails_in_the_job(
    melstats_head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no sound gives melstats infinity: samples are clipped
    def infinite(backbone: Backbone, segments: list[Samples]) -> tuple[Samples, npt.NDArray[np.int64]]:
        vectors, n_frames = embed_segments(backbone, segments)
        return np.full_like(vectors, np.inf), n_frames

    monkeypatch.setattr("detector.api.embed_segments", infinite)

    with pytest.raises(UtteranceError) as caught:
        Detector.load(melstats_head).score(encoded(tone(1.0)))

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


def test_a_path_bytes_a_file_and_a_stream_give_the_same_verdict(melstats: Detector, tmp_path: Path) -> None:
    content = encoded(tone(3.0))
    path = tmp_path / "a.flac"
    path.write_bytes(content)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        file.read(100)  # it is read from its beginning all the same
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb") as sink:
            threading.Thread(target=lambda: (sink.write(content), sink.close())).start()
            given = (str(path), path, bytearray(content), memoryview(content), file, raw, io.BytesIO(content), stream)
            verdicts = [melstats.score(each) for each in given]
        assert not file.closed

    assert verdicts == [melstats.score(content)] * len(given)


@pytest.mark.parametrize(("rate", "n_channels"), [(16_000, 1), (44_100, 1), (8_000, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_are_judged_as_the_wav_file_that_holds_them(
    rate: int, n_channels: int, dtype: type, melstats: Detector
) -> None:
    samples = np.stack([tone(5.0, rate=rate, seed=seed) for seed in range(n_channels)], axis=1).astype(dtype)

    verdict = melstats.score(samples[:, 0] if n_channels == 1 else samples, rate=rate)

    assert verdict == melstats.score(encoded(samples, rate=rate, kind="WAV", subtype="FLOAT"))
    assert verdict.seconds == pytest.approx(5.0, abs=1e-3)


@pytest.mark.parametrize(
    ("audio", "rate", "error", "told"),
    [
        (np.zeros(16_000), None, TypeError, "give rate=16000"),
        (b"RIFF", 16_000, TypeError, "rate 16000 is for an array of samples; found bytes"),
        (np.zeros(16_000, np.int16), 16_000, TypeError, "Divide int16 by 32768"),
        (None, None, TypeError, "object is no type of samples"),
        (io.StringIO("a"), None, TypeError, "mode 'rb'"),
        (np.zeros(16_000), 0, ValueError, "above 0"),
        (np.zeros(16_000), 16_000.5, ValueError, "whole number of Hz"),
        (np.zeros((2, 16_000)), 16_000, ValueError, "Transpose"),
        (np.zeros((1, 2, 3)), 16_000, ValueError, "n_channels"),
        ("none.wav", None, FileNotFoundError, "none.wav"),
        (np.full(16_000, np.nan), 16_000, UtteranceError, "NaN or infinity"),
        (np.zeros(0), 16_000, UtteranceError, "no samples"),
        (np.broadcast_to(np.float32(0.0), 12 * 3600 * 100 + 1), 100, UtteranceError, "more than 12 h"),
    ],
)
def test_what_is_no_recording_is_refused_with_what_to_give(
    audio: object, rate: int | None, error: type[Exception], told: str, melstats: Detector
) -> None:
    with pytest.raises(error, match=told):
        melstats.score(audio, rate=rate)


def test_many_are_judged_in_order_each_when_its_turn_comes_and_a_broken_one_ends_nothing(melstats: Detector) -> None:
    files = [encoded(tone(seconds)) for seconds in (1.0, 2.0)]
    taken, told = [], []

    def given() -> Iterator[bytes]:
        for file in (files[0], b"<html>404</html>", files[1]):
            taken.append(file)
            yield file

    found = melstats.score_many(given(), progress=lambda *numbers: told.append(numbers))
    first = next(found)

    assert len(taken) == 1
    assert [first, *found][::2] == [melstats.score(file) for file in files]
    assert told == [(1, None), (2, None), (3, None)]
    list(melstats.score_many(files, progress=lambda *numbers: told.append(numbers)))
    assert told[3:] == [(1, 2), (2, 2)]


def test_a_long_recording_is_embedded_in_batches_with_the_bits_of_one(melstats: Detector) -> None:
    # 165 s are two batches, of 160 s at most
    audio = encoded(np.tile(tone(5.0), 33))

    assert melstats.score(audio).score == score_by_hand(melstats.head, None, audio)
