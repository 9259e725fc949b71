"""The starter is complete and small, and can be used without stating its path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from bench.starter.convert import SHA256
from detector import Detector, starter
from detector.backbones import load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.errors import ConfigError
from detector.head import Head
from jobs.demo.archive import RECORDINGS
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

MEGABYTE = 1_000_000


def test_the_starter_is_a_checkpoint_of_at_most_20_megabytes_in_float16() -> None:
    files = {path.name: path for path in starter.ENCODER.iterdir()}

    assert set(files) == {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert sum(path.stat().st_size for path in files.values()) <= 20 * MEGABYTE
    with safe_open(files["model.safetensors"], "np") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118 - it is no dict
    assert kinds == {"F16"}


def test_the_starter_gives_the_bits_of_the_same_folder_as_a_checkpoint() -> None:
    speech = tone(1.5).astype(np.float32)

    own, _ = load_backbone(EmbedConfig(backbone="starter")).embed([speech])
    config = EmbedConfig(backbone="huggingface", segment_seconds=4)
    there, _ = load_backbone(config, str(starter.ENCODER)).embed([speech])

    np.testing.assert_array_equal(own, there)


def test_silence_after_a_recording_does_not_change_it_in_a_batch() -> None:
    config = EmbedConfig(backbone="starter", layer=1)
    segments = [tone(seconds, seed=number).astype(np.float32) for number, seconds in enumerate((1.0, 2.5, 4.0))]

    alone = np.concatenate([load_backbone(config).embed([each])[0] for each in segments])
    together, _ = load_backbone(config).embed(segments)

    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_a_frame_of_the_starter_has_zero_mean_and_unit_variance() -> None:
    # its last norm has no weights, so a recording's mean frame has mean 0, and is no longer than a frame
    embedding, _ = load_backbone(EmbedConfig(backbone="starter")).embed([tone(1.5).astype(np.float32)])

    assert embedding.shape == (1, 512)
    assert embedding.mean() == pytest.approx(0.0, abs=1e-5)
    assert embedding.std() <= 1.0


def test_the_starter_head_matches_the_starter_encoder() -> None:
    head = Head.starter()

    assert head.embed_config == EmbedConfig(backbone="starter", context="own", segment_seconds=4.0)
    assert head.judges(recipe_of(head.embed_config, None).describe())


def test_a_folder_is_scored_without_a_head_or_a_model(
    tmp_path: Path, bonafide: Callable[..., tuple[int, str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mine").mkdir()
    write_tar(tmp_path / "mine" / "0.tar", {f"{n}.flac": encoded(tone(2.0, seed=n)) for n in range(3)})

    code, out, err = bonafide("score", "--input", tmp_path / "mine", "--output", tmp_path / "tables")

    assert code == 0, err
    assert "scoring with the starter's head" in caplog.text
    assert pq.read_table(tmp_path / "tables" / "scores").num_rows == 3
    assert "scored 3 utterances" in out


def test_the_python_api_uses_the_starter_if_no_head_is_named() -> None:
    verdict = Detector.load().score(encoded(tone(2.0)))

    assert verdict.label in ("bonafide", "spoof")


def test_a_model_beside_the_starter_is_refused() -> None:
    with pytest.raises(ConfigError, match="starter includes its weights; omit --model"):
        recipe_of(EmbedConfig(backbone="starter"), "somewhere")


def test_the_starter_card_states_its_origin_its_data_and_its_limits() -> None:
    card = (starter.ENCODER.parent / "README.md").read_text()

    for word in ("Whisper", "MIT", SHA256, "LibriSpeech", "CC-BY-SA-4.0", "Limits", "docs/starter.md"):
        assert word in card
    assert "Copyright (c) 2022 OpenAI" in (starter.ENCODER.parent / "LICENSE-whisper").read_text()
    head = json.loads(starter.HEAD.read_text())
    assert head["recipe"]["weights"] == recipe_of(EmbedConfig(backbone="starter"), None).weights


def test_speech_of_others_is_not_far_from_the_starter_s_training_rows() -> None:
    # the head of an earlier release rejected 97 % of new speech; these are the demo's human recordings
    detector = Detector.load()
    verdicts = [detector.score(path.read_bytes()) for path in sorted((RECORDINGS / "human").glob("*.flac"))]

    assert len(verdicts) == 14
    assert all(verdict.reject_reason != "out_of_distribution" for verdict in verdicts)
    assert sum(verdict.label == "bonafide" for verdict in verdicts) >= 10
