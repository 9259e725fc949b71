"""Loading: a checkpoint folder becomes an encoder, cut after the deepest requested layer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers

from detector.audio import SAMPLE_RATE
from detector.backbones.families import FAMILIES, Family, family_of, settle
from detector.backbones.features import Features
from detector.backbones.sizes import refuse_absurd, refuse_other_shapes
from detector.config import LAST_LAYER
from detector.errors import ConfigError

UNUSED = ("masked_spec_embed", "decoder.")  # weights for training, and those of Whisper's decoder, begin like this


@dataclass(frozen=True)
class Loaded:
    """An encoder in evaluation mode, on the CPU, in float32.

    Its `last_hidden_state` is the deepest of the requested layers.
    """

    model: Any
    family: Family
    features: Features
    deepest: int
    dim: int


def load(folder: Path, layers: tuple[int, ...], context: str | None = None) -> Loaded:
    """Load a checkpoint.

    Parameters
    ----------
    folder : Path
        Holds `config.json`, `preprocessor_config.json` and safetensors weights.
    layers : tuple of int
        As :attr:`detector.config.EmbedConfig.layer`.
    context : str, optional
        As :attr:`detector.config.EmbedConfig.context`.

    Raises
    ------
    ConfigError
        If the family is not supported, the checkpoint needs remote code, its weights are incomplete, not in
        safetensors or of other sizes than its settings, the model lacks a layer, or its sample rate is not 16 kHz.
    """
    settings = _preprocessing(folder)
    family = _family(folder, context)
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    n_layers = getattr(config, family.n_layers)
    if max(layers) > n_layers:
        raise ConfigError(
            f"{folder}: layer {max(layers)} was requested, but the model has {n_layers}. Use a lower --layer."
        )
    is_whole = LAST_LAYER in layers or (family.last_is_normed and n_layers in layers)
    deepest = LAST_LAYER if is_whole else max(layers)
    if not is_whole:
        setattr(config, family.n_layers, deepest)
        config.num_hidden_layers = deepest
    if hasattr(config, "decoder_layers"):
        config.decoder_layers = 0
    try:
        features = family.features(settings, config)
    except ConfigError as error:
        raise ConfigError(f"{folder}/{error}") from error
    refuse_other_shapes(folder, config)
    model = family.encoder(_weights(folder, config)).eval()
    settle(model)
    normed = family.norm_after(model)
    if normed is not None and not is_whole:
        # a pre-norm encoder normalises once more at its end; hidden_states[k] of the whole model lack that norm
        normed.layer_norm = torch.nn.Identity()
    return Loaded(model, family, features, deepest, int(config.hidden_size))


def _family(folder: Path, context: str | None) -> Family:
    described = _json(folder / "config.json")
    refuse_absurd(folder / "config.json", described)
    name = described.get("model_type")
    if name not in FAMILIES or "auto_map" in described:
        raise ConfigError(
            f"{folder}/config.json: model_type {name!r}"
            f"{' with remote code (auto_map)' if 'auto_map' in described else ''}; "
            f"expected one of {', '.join(FAMILIES)}, without remote code."
        )
    if not list(folder.glob("*.safetensors")):
        raise ConfigError(f"{folder}: no *.safetensors. Convert the checkpoint offline; pickled weights run code.")
    if described.get("add_adapter"):
        raise ConfigError(f"{folder}: a model with an adapter on top is not supported; use its base encoder.")
    return family_of(name, context)


def _preprocessing(folder: Path) -> dict[str, Any]:
    settings = _json(folder / "preprocessor_config.json")
    refuse_absurd(folder / "preprocessor_config.json", settings)
    rate = settings.get("sampling_rate")
    if rate != SAMPLE_RATE:
        raise ConfigError(f"{folder}: the encoder expects {rate} Hz; only encoders for {SAMPLE_RATE} Hz are supported.")
    return settings


def _weights(folder: Path, config: Any) -> Any:
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # it would warn of the weights of layers that were cut off
    transformers.logging.disable_progress_bar()
    try:
        model, report = transformers.AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise ConfigError(f"{folder}: the checkpoint cannot be loaded: {error}") from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(UNUSED))
    if missing:
        raise ConfigError(f"{folder}: weights are missing, for example {missing[0]}; they would be random.")
    return model


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing; a checkpoint folder needs it.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {type(content).__name__}; expected an object of settings.")
    return content
