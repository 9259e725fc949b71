"""Encoders of small checkpoints, loaded as jobs load them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from detector.backbones.huggingface import HuggingFace
from detector.config import LAST_LAYER, EmbedConfig


def load(
    folder: Path,
    *,
    layer: int = LAST_LAYER,
    batch_seconds: float = 0.0,
    device: str = "cpu",
    layers: tuple[int, ...] | None = None,
    **config: Any,
) -> HuggingFace:
    settings = EmbedConfig(**{"backbone": "huggingface", "layer": layer, "segment_seconds": 29.0} | config)
    return HuggingFace(settings, str(folder), device, batch_seconds, layers)


def copy_of(checkpoint: Path, folder: Path, **preprocessing: Any) -> Path:
    """A writable copy of a checkpoint, with other preprocessing."""
    shutil.copytree(checkpoint, folder)
    rewrite_json(folder / "preprocessor_config.json", **preprocessing)
    return folder


def rewrite_json(path: Path, *, without: str = "", **changes: Any) -> None:
    content = json.loads(path.read_text()) | changes
    content.pop(without, None)
    path.write_text(json.dumps(content))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "model.safetensors"
    weights = change(load_file(path))
    path.unlink()  # the tensors just read are mapped from it
    save_file(weights, path, metadata={"format": "pt"})


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: rewrite_weights(
        folder, lambda weights: {each: tensor for each, tensor in weights.items() if each != name}
    )
