"""Checkpoints as they are published load to the same bits, and invalid ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from detector.backbones import load_backbone, sizes
from detector.config import EmbedConfig
from detector.errors import ConfigError
from tests.support.encoders import copy_of, load, rewrite_json, rewrite_weights, without

pytestmark = pytest.mark.usefixtures("one_thread")

OLD_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def as_pretrained_on_the_hub(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of XLS-R's weights on the hub: the encoder within its training model, with old PyTorch's weight norm."""
    renamed = {}
    for name, tensor in weights.items():
        for new, old in OLD_NAMES.items():
            name = name.replace(new, old)
        renamed[f"wav2vec2.{name}"] = tensor
    return renamed | {"quantizer.codevectors": torch.zeros(1, 4, 2)}


def test_a_checkpoint_of_the_training_model_gives_the_encoder_s_bits(
    checkpoints: dict[str, Path], utterances: list[np.ndarray], alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    folder = copy_of(checkpoints["wav2vec2-layer"], tmp_path / "copy")
    rewrite_weights(folder, as_pretrained_on_the_hub)

    assert load(folder).embed(utterances)[0].tobytes() == alone["wav2vec2-layer"].tobytes()


def test_a_checkpoint_in_several_files_gives_the_same_bits(
    checkpoints: dict[str, Path], utterances: list[np.ndarray], alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    folder = copy_of(checkpoints["hubert-layer"], tmp_path / "copy")
    (folder / "model.safetensors").unlink()
    transformers.AutoModel.from_pretrained(checkpoints["hubert-layer"]).save_pretrained(folder, max_shard_size="100KB")

    assert len(list(folder.glob("*.safetensors"))) > 1
    assert load(folder).embed(utterances)[0].tobytes() == alone["hubert-layer"].tobytes()


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_setting(folder: Path, name: str, value: object) -> None:
    rewrite_json(folder / "config.json", **{name: value})


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "another family": (lambda folder: rewrite_json(folder / "config.json", model_type="bert"), "model_type 'bert'"),
    "remote code": (lambda folder: rewrite_json(folder / "config.json", auto_map={"AutoModel": "a.B"}), "remote code"),
    "an adapter": (lambda folder: rewrite_json(folder / "config.json", add_adapter=True), "adapter"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "a config that is not JSON": (lambda folder: (folder / "config.json").write_text("<html>"), "is not JSON"),
    "heads that do not divide the width": (
        lambda folder: rewrite_json(folder / "config.json", num_attention_heads=5),
        "cannot be loaded",
    ),
    "pickled weights only": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "no \\*.safetensors",
    ),
    "no preprocessing": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "preprocessor_config.json is missing",
    ),
    "preprocessing that does not say whether to standardise": (
        lambda folder: rewrite_json(folder / "preprocessor_config.json", without="do_normalize"),
        "do_normalize",
    ),
    "a telephone's rate": (
        lambda folder: rewrite_json(folder / "preprocessor_config.json", sampling_rate=8_000),
        "8000 Hz",
    ),
    "a missing layer": (without("encoder.layers.1.attention.k_proj.weight"), "weights are missing"),
    "a missing front end": (without("feature_extractor.conv_layers.0.conv.weight"), "weights are missing"),
    "another front end's preprocessing": (
        lambda folder: rewrite_json(
            folder / "config.json", model_type="wav2vec2-bert", feature_projection_input_dim=99
        ),
        "it may belong to another checkpoint",
    ),
    "weights of another shape": (
        lambda folder: rewrite_json(folder / "config.json", hidden_size=64),
        "is of 64.* and the \\*.safetensors hold one of 32",
    ),
    **{
        f"{name} of {value}": (partial(with_setting, name=name, value=value), cause)
        for name, value, cause in [
            ("hidden_size", 10**9, "hidden_size 1,000,000,000; expected at most 1,048,576"),
            ("hidden_size", 1 << 20, "is of 1,048,576.* and the \\*.safetensors hold one of 32"),
            ("intermediate_size", 1 << 20, "is of 1,048,576.* and the \\*.safetensors hold one of 64"),
            ("num_hidden_layers", 10**6, "num_hidden_layers 1,000,000; expected at most 1,000"),
            ("vocab_size", 10**8, "vocab_size 100,000,000; expected at most 1,048,576"),
            ("conv_dim", [32] * 6 + [10**12], "conv_dim 1,000,000,000,000; expected at most 1,048,576"),
            ("conv_dim", [32] * 2_000, "the length of conv_dim, 2,000; expected at most 1,000"),
            ("num_conv_pos_embeddings", 1 << 20, "is of 1 × 1 × 1,048,576, and the"),
        ]
    },
    "half a file of weights": (lambda folder: halved(folder / "model.safetensors"), "cannot be loaded"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_an_unfit_checkpoint_is_refused(what: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    damage, cause = UNFIT[what]
    folder = copy_of(checkpoints["wav2vec2-layer"], tmp_path / "copy")
    damage(folder)

    with pytest.raises(ConfigError, match=cause) as refused:
        load(folder)

    assert str(folder) in str(refused.value)


def test_values_that_no_file_holds_are_refused_where_they_are_many(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(checkpoints["wav2vec2-layer"], tmp_path / "copy")
    without("masked_spec_embed")(folder)
    monkeypatch.setattr(sizes, "MAX_UNSTORED", 31)

    with pytest.raises(
        ConfigError, match=r"ask for 32 values that the \*\.safetensors do not hold; expected at most 31"
    ):
        load(folder)


@pytest.mark.parametrize("name", ["encoder.layers.2.attention.k_proj.weight", "masked_spec_embed"])
def test_weights_beyond_the_cut_and_weights_for_training_may_be_missing(
    name: str, checkpoints: dict[str, Path], utterances: list[np.ndarray], tmp_path: Path
) -> None:
    folder = copy_of(checkpoints["wav2vec2-layer"], tmp_path / "copy")
    expected, _ = load(folder, layer=2).embed(utterances[:1])
    without(name)(folder)

    assert load(folder, layer=2).embed(utterances[:1])[0].tobytes() == expected.tobytes()


def test_a_layer_that_the_model_does_not_have_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="layer 4 was requested, but the model has 3"):
        load(checkpoints["wavlm-group"], layer=4)
    with pytest.raises(ConfigError, match="layer 4 was requested, but the model has 3"):
        load(checkpoints["whisper"], layers=(1, 4))


def test_no_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a checkpoint"):
        load_backbone(EmbedConfig(backbone="huggingface"))


def test_a_missing_gpu_is_refused(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # wherever the tests run

    with pytest.raises(ConfigError, match="torch finds no GPU on this machine"):
        load(checkpoints["wav2vec2-group"], device="cuda")


def test_an_unknown_device_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="gpu"):
        load(checkpoints["wav2vec2-group"], device="gpu")
