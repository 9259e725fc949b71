"""A checkpoint: the files of an encoder in a local folder, and the digest that tells it from others."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

from detector import starter
from detector.config import HUGGINGFACE, MELSTATS, STARTER, EmbedConfig, Recipe
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
    if config.backbone == STARTER:
        if folder is not None:
            raise ConfigError("backbone starter is in the box; leave --model out, or use --backbone huggingface.")
        return Recipe(config, STARTER, weights_digest(starter.ENCODER))
    if config.backbone != HUGGINGFACE:
        weights = code_digest(config.backbone) + ("" if folder is None else weights_digest(folder))
        return Recipe(config, model or str(folder or config.backbone), weights)
    if folder is None:
        raise ConfigError("backbone huggingface needs a checkpoint: --model FOLDER, S3 prefix or hub name.")
    return Recipe(config, model or str(folder), weights_digest(folder))


def code_digest(loader: str) -> str:
    """SHA-256 of the module that `package.module:function` names: another encoder is another fingerprint.

    Raises
    ------
    ConfigError
        Where there is no such module.
    """
    module = loader.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"backbone {loader}: {error}.") from error
    if found is None or found.origin is None:
        raise ConfigError(f"backbone {loader}: Python finds no module {module}; is its package installed?")
    return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()


def n_layers_of(folder: str | Path) -> int:
    """Number of layers of the checkpoint's encoder, as its `config.json` says.

    Raises
    ------
    ConfigError
        Where it does not.
    """
    path = Path(folder) / "config.json"
    try:
        content = json.loads(path.read_text())
        # Whisper's num_hidden_layers is the encoder's too, and sometimes left out
        return int(content.get("encoder_layers", content.get("num_hidden_layers")))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} does not say how many layers the encoder has: {error}.") from error
