"""Checkpoints with the sizes of published encoders and random weights: speed does not depend on what was learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "small": (
        "Wav2Vec2",
        GROUP
        | {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
        | {"intermediate_size": 1024, "conv_dim": (128,) * 7},
    ),
    "wav2vec2-base": ("Wav2Vec2", GROUP),
    "hubert-base": ("Hubert", GROUP),
    "wavlm-base": ("WavLM", GROUP),
    "xls-r-300m": (
        "Wav2Vec2",
        LAYER | {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16} | {"intermediate_size": 4096},
    ),
    "wavlm-large": (
        "WavLM",
        LAYER
        | {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
        | {"intermediate_size": 4096, "conv_bias": False},
    ),
    "xls-r-1b": (
        "Wav2Vec2",
        LAYER | {"hidden_size": 1280, "num_hidden_layers": 48, "num_attention_heads": 16} | {"intermediate_size": 5120},
    ),
    "xls-r-2b": (
        "Wav2Vec2",
        LAYER | {"hidden_size": 1920, "num_hidden_layers": 48, "num_attention_heads": 16} | {"intermediate_size": 7680},
    ),
}
"""By name: the family, and settings of its configuration that differ from the defaults."""


def checkpoint(model: str, folder: Path) -> Path:
    """Return ``model`` if it is a checkpoint folder; else write a checkpoint of that name into ``folder``."""
    if Path(model).is_dir():
        return Path(model)
    if model not in MODELS:
        raise SystemExit(f"--model {model}: no such folder, and not one of {', '.join(MODELS)}.")
    family, settings = MODELS[model]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings)
    getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
    preprocessing = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "sampling_rate": 16_000,
        "do_normalize": True,
        "feature_size": 1,
        "padding_value": 0.0,
        "return_attention_mask": settings["feat_extract_norm"] == "layer",  # as in the published checkpoints
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder
