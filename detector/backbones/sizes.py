"""Sizes: a checkpoint whose settings ask for more than its weights hold is refused before memory is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers

from detector.checkpoint import MAX_LAYERS
from detector.errors import ConfigError

MAX_SIZE = 1 << 20  # any number in the settings: sizes, vocabularies, positions, samples
MAX_SIZES = {"n_fft": 8_192, "feature_size": 1_024, "num_mel_bins": 1_024}  # their products are computed, too
MAX_UNSTORED = 1 << 28  # values without weights, which would be random: those of a decoder's vocabulary, 1 GiB


def refuse_absurd(path: Path, settings: dict[str, Any]) -> None:
    """Raise :class:`ConfigError` if a file of settings states a number that no encoder has.

    Examples
    --------
    >>> refuse_absurd(Path("m/config.json"), {"conv_dim": [512, 10**9]})
    Traceback (most recent call last):
    detector.errors.ConfigError: m/config.json: conv_dim 1,000,000,000; expected at most 1,048,576. It is no encoder's.
    """
    for name, value in settings.items():
        most = MAX_LAYERS if "layers" in name else MAX_SIZES.get(name, MAX_SIZE)
        found = next((each for each in _numbers(value) if abs(each) > most), None)
        if found is None and isinstance(value, list) and len(value) > MAX_LAYERS:
            name, found, most = f"the length of {name},", len(value), MAX_LAYERS
        if found is not None:
            raise ConfigError(f"{path}: {name} {found:,}; expected at most {most:,}. It is no encoder's.")


def refuse_other_shapes(folder: Path, config: Any) -> None:
    """Raise :class:`ConfigError` if the model of a configuration is not the one whose weights a folder has.

    The model is made without memory for its weights.
    """
    stored = _stored_shapes(folder)
    try:
        with torch.device("meta"):
            model = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, RuntimeError, IndexError, ZeroDivisionError, AttributeError) as error:
        raise ConfigError(f"{folder}/config.json: the checkpoint cannot be loaded: {error}") from error
    prefix = f"{model.base_model_prefix}."
    stored = {name.removeprefix(prefix): shape for name, shape in stored.items()}
    n_unstored = 0
    for name, values in model.named_parameters():
        shape = tuple(values.shape)
        if stored.get(name, shape) != shape:
            raise ConfigError(
                f"{folder}/config.json: by its sizes {name} is of {_shown(shape)}, and the *.safetensors hold one of "
                f"{_shown(stored[name])}. Fetch the checkpoint again; the two files are of different models."
            )
        n_unstored += 0 if name in stored else math.prod(shape)
    if n_unstored > MAX_UNSTORED:
        raise ConfigError(
            f"{folder}/config.json: its sizes ask for {n_unstored:,} values that the *.safetensors do not hold; "
            f"expected at most {MAX_UNSTORED:,}. Fetch the checkpoint again; the two files are of different models."
        )


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def _stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a folder, from the files' headers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise ConfigError(f"{path}: the checkpoint cannot be loaded: {error}") from error
    return shapes


def _shown(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{each:,}" for each in shape)
