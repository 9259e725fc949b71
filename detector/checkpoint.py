"""A checkpoint: the files of an encoder in a local folder, and the digest that identifies it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

from detector import starter
from detector.config import HUGGINGFACE, MELSTATS, OWN, STARTER, WHISPER, EmbedConfig, Recipe
from detector.errors import ConfigError

FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
"""Files of a checkpoint that are read. Nothing else is fetched or opened: no pickles, no code."""


MAX_LAYERS = 1_000


def weights_digest(folder: str | Path) -> str:
    """Compute the SHA-256 over names and bytes of the checkpoint's files; it does not depend on the folder's path.

    Raises
    ------
    ConfigError
        If the folder holds no such file.
    """
    files = sorted({path for pattern in FILES for path in Path(folder).glob(pattern)})
    if not files:
        raise ConfigError(f"{folder}: no checkpoint in this folder; expected {', '.join(FILES)}.")
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def recipe_of(config: EmbedConfig, folder: str | Path | None, model: str | None = None) -> Recipe:
    """Combine a configuration with the digest of its weights; a Whisper checkpoint gets a context.

    Parameters
    ----------
    config : EmbedConfig
    folder : str, Path or None
        Checkpoint folder; None for an encoder without one.
    model : str, optional
        Name for people; by default the folder.

    Raises
    ------
    ConfigError
        If the encoder needs a folder and there is none, or the reverse, or if it has no context and one is named.
    """
    checkpoint = starter.ENCODER if config.backbone == STARTER else folder
    if _model_type(checkpoint) == WHISPER:
        config = replace(config, context=config.context or OWN)
    elif config.context is not None:
        raise ConfigError(f"context {config.context}: only Whisper's encoders have one; omit --context.")
    if config.backbone == MELSTATS:
        if folder is not None:
            raise ConfigError("backbone melstats has no weights; omit --model, or use --backbone huggingface.")
        return Recipe(config, MELSTATS, "")
    if config.backbone == STARTER:
        if folder is not None:
            raise ConfigError("backbone starter includes its weights; omit --model, or use --backbone huggingface.")
        return Recipe(config, STARTER, weights_digest(starter.ENCODER))
    if config.backbone != HUGGINGFACE:
        weights = code_digest(config.backbone) + ("" if folder is None else weights_digest(folder))
        return Recipe(config, model or str(folder or config.backbone), weights)
    if folder is None:
        raise ConfigError("backbone huggingface needs a checkpoint: --model FOLDER, S3 prefix or hub name.")
    return Recipe(config, model or str(folder), weights_digest(folder))


def recipes_of(
    config: EmbedConfig, layers: tuple[int, ...], folder: str | Path | None, model: str | None = None
) -> tuple[Recipe, ...]:
    """Return a recipe for each layer, as :func:`recipe_of` of that layer alone; the weights are read once."""
    recipe = recipe_of(config, folder, model)
    return tuple(replace(recipe, config=replace(recipe.config, layer=layer)) for layer in layers)


def _model_type(folder: str | Path | None) -> str | None:
    """`model_type` of a checkpoint; None without a readable one, which the loader then refuses by name."""
    try:
        found = json.loads((Path(folder or "") / "config.json").read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return found.get("model_type") if isinstance(found, dict) else None


def code_digest(loader: str) -> str:
    """Compute the SHA-256 of the module named by `package.module:function`: changed code gets a new fingerprint.

    Raises
    ------
    ConfigError
        If there is no such module.
    """
    module = loader.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"backbone {loader}: {error}.") from error
    if found is None or found.origin is None:
        raise ConfigError(f"backbone {loader}: Python finds no module {module}. Install its package on every machine.")
    return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()


def n_layers_of(folder: str | Path) -> int:
    """Read the number of encoder layers from the checkpoint's `config.json`.

    Raises
    ------
    ConfigError
        If the file does not state it.
    """
    path = Path(folder) / "config.json"
    try:
        content = json.loads(path.read_text())
        # Whisper has both keys; num_hidden_layers is sometimes missing
        n_layers = int(content.get("encoder_layers", content.get("num_hidden_layers")))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} does not state the number of encoder layers: {error}. Expected num_hidden_layers."
        ) from error
    if n_layers > MAX_LAYERS:
        raise ConfigError(f"{path}: {n_layers:,} encoder layers; expected at most {MAX_LAYERS:,}.")
    return n_layers
