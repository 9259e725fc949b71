"""A checkpoint: the files of an encoder in a local folder, and the digest that tells it from others."""

from __future__ import annotations

import hashlib
from pathlib import Path

from detector.config import MELSTATS, EmbedConfig, Recipe
from detector.errors import ConfigError

FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
"""What is read of a checkpoint. Nothing else is fetched or opened: no pickles, no code."""


def weights_digest(folder: str | Path) -> str:
    """SHA-256 over names and bytes of the checkpoint's files; the same wherever the folder lies.

    Raises
    ------
    ConfigError
        Where the folder holds no such file.
    """
    files = sorted({path for pattern in FILES for path in Path(folder).glob(pattern)})
    if not files:
        raise ConfigError(f"{folder}: no checkpoint here; expected {', '.join(FILES)}.")
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def recipe_of(config: EmbedConfig, folder: str | Path | None, model: str | None = None) -> Recipe:
    """The recipe that ``config`` and a checkpoint folder make."""
    if config.backbone == MELSTATS:
        if folder is not None:
            raise ConfigError("backbone melstats has no weights; leave --model out, or use --backbone huggingface.")
        return Recipe(config, MELSTATS, "")
    if folder is None:
        raise ConfigError("backbone huggingface needs a checkpoint: --model FOLDER, S3 prefix or hub name.")
    return Recipe(config, model or str(folder), weights_digest(folder))
