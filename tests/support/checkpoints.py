"""Small checkpoints with random weights, to run the real code of every family in milliseconds."""

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
    "unispeech-sat": (transformers.UniSpeechSatConfig, transformers.UniSpeechSatModel),
    "data2vec-audio": (transformers.Data2VecAudioConfig, transformers.Data2VecAudioModel),
    "wav2vec2-bert": (transformers.Wav2Vec2BertConfig, transformers.Wav2Vec2BertModel),
    "whisper": (transformers.WhisperConfig, transformers.WhisperModel),
}
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
CONVOLUTIONS = {
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
WHISPER_SIZES = {
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "vocab_size": 100,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
}
WAVEFORM = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "feature_size": 1}
PREPROCESSING = {
    "wav2vec2-bert": {"feature_extractor_type": "SeamlessM4TFeatureExtractor", "num_mel_bins": 80, "stride": 2},
    "whisper": {"feature_extractor_type": "WhisperFeatureExtractor", "n_fft": 400, "hop_length": 160}
    | {"chunk_length": 30, "feature_size": 80},
}


def write_checkpoint(folder: Path, family: str, *, norm: str = "", seed: int = 0, **settings: Any) -> Path:
    """Write a checkpoint of three layers and 32 dimensions.

    ``norm`` is `group` (as wav2vec2-base: group norm in front, post-norm layers) or `layer` (as XLS-R: layer norm
    in front, pre-norm layers); families that come in one design have none.
    """
    config_class, model_class = FAMILIES[family]
    config = config_class(**{**_sizes(family, norm), **settings})
    torch.manual_seed(seed)
    model = model_class(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3.0)  # random weights are smaller than trained ones, and would hide the effect of neighbours
    model.save_pretrained(folder)
    preprocessing = {"sampling_rate": 16_000, "padding_value": 0.0, **PREPROCESSING.get(family, WAVEFORM)}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder


def _sizes(family: str, norm: str) -> dict[str, Any]:
    if family == "whisper":
        return WHISPER_SIZES
    if family == "wav2vec2-bert":
        return {**SIZES, "output_hidden_size": 32, "add_adapter": False}
    if family == "data2vec-audio":
        return {**SIZES, **CONVOLUTIONS, "num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}
    norms = {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer", "conv_bias": norm == "layer"}
    return {**SIZES, **CONVOLUTIONS, **norms}
