"""What is computed: the settings that decide an embedding's value, and the fingerprint made of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any

from detector import audio
from detector.errors import ConfigError
from detector.pooling import POOLINGS
from detector.recording import MIN_SEGMENT_SAMPLES

CODE = 1  # counts up whenever our own code changes a value: cutting, joining, standardising, melstats
LAST_LAYER = -1
MELSTATS = "melstats"
HUGGINGFACE = "huggingface"


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Which encoder, which of its layers, pooled how, over segments of which length."""

    backbone: Annotated[str, "encoder: melstats (no weights, a baseline) or huggingface (needs --model)"]
    layer: Annotated[
        int,
        "hidden state to pool: 1 is the first transformer layer, 0 its input, -1 the model's last_hidden_state",
    ] = LAST_LAYER
    pooling: Annotated[str, f"how frames become one vector: {', '.join(POOLINGS)}"] = "mean"
    segment_seconds: Annotated[float, "longer recordings are cut and joined as frame-weighted mean; s"] = 30.0

    def __post_init__(self) -> None:
        if self.backbone not in (MELSTATS, HUGGINGFACE):
            raise ConfigError(f"backbone {self.backbone!r} is not known; expected {MELSTATS} or {HUGGINGFACE}.")
        if self.pooling not in POOLINGS:
            raise ConfigError(f"pooling {self.pooling!r} is not known; expected one of {', '.join(POOLINGS)}.")
        if self.layer < LAST_LAYER:
            raise ConfigError(f"layer {self.layer} is not a layer; expected 0 or more, or -1 for the last.")
        if self.backbone == MELSTATS and self.layer != LAST_LAYER:
            raise ConfigError(f"layer {self.layer}: {MELSTATS} has no layers; leave --layer out.")
        object.__setattr__(self, "segment_seconds", float(self.segment_seconds))  # 30 and 30.0 are one fingerprint
        if not MIN_SEGMENT_SAMPLES <= self.segment_seconds * audio.SAMPLE_RATE <= audio.MAX_SECONDS * audio.SAMPLE_RATE:
            raise ConfigError(
                f"segment_seconds {self.segment_seconds} is under 1 s or over {audio.MAX_SECONDS:g} s; use one between."
            )


@dataclass(frozen=True)
class Recipe:
    """A configuration together with the weights and libraries that carry it out: all that decides a value.

    Parameters
    ----------
    config : EmbedConfig
    model : str
        Name for people and for the table's folder; it does not count in the fingerprint.
    weights : str
        SHA-256 of the checkpoint's files, empty for an encoder without weights.
    """

    config: EmbedConfig
    model: str
    weights: str

    @property
    def slug(self) -> str:
        """Name of the table's partition: `wav2vec2-xls-r-300m-layer9`.

        Examples
        --------
        >>> Recipe(EmbedConfig(backbone="huggingface", layer=9), "facebook/XLS-R 300M", "00").slug
        'xls-r-300m-layer9'
        """
        name = self.model.rstrip("/").rsplit("/", 1)[-1].lower()
        name = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name)
        if self.config.backbone == MELSTATS:
            return name
        return f"{name}-last" if self.config.layer == LAST_LAYER else f"{name}-layer{self.config.layer}"

    def describe(self) -> dict[str, Any]:
        """Everything that decides an embedding's value, as plain JSON values; stored in heads and runs."""
        return {
            "backbone": self.config.backbone,
            "weights": self.weights,
            "layer": self.config.layer,
            "pooling": self.config.pooling,
            "segment_seconds": self.config.segment_seconds,
            "dtype": "float32",
            "code": CODE,
            **audio.versions(),
        }

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over :meth:`describe`: equal means that embeddings may be mixed."""
        return digest_of(self.describe())


def digest_of(value: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a JSON value, keys in sorted order.

    Examples
    --------
    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]
