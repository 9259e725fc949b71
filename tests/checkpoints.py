"""Small checkpoints with random weights: the real code path of every family, in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

FAMILIES = {
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
}


def write_checkpoint(folder: Path, family: str, *, norm: str, seed: int = 0, **settings: Any) -> Path:
    """Write a checkpoint of three layers and 32 dimensions.

    ``norm`` is `group` (as wav2vec2-base: group norm in front, post-norm layers) or `layer` (as XLS-R: layer norm
    in front, pre-norm layers).
    """
    config_class, model_class = FAMILIES[family]
    config = config_class(
        **{
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "conv_dim": (32,) * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
            "feat_extract_norm": norm,
            "do_stable_layer_norm": norm == "layer",
            "conv_bias": norm == "layer",
            **settings,
        }
    )
    torch.manual_seed(seed)
    model = model_class(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3.0)  # trained weights are not as small as random ones: let neighbours show
    model.save_pretrained(folder)
    preprocessing = {"do_normalize": True, "sampling_rate": 16_000, "feature_size": 1, "padding_value": 0.0}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder
