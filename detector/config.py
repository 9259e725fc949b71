"""Settings that decide the value of an embedding, and the fingerprint made from them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from detector import audio, decoders
from detector.errors import ConfigError
from detector.pooling import POOLINGS
from detector.recording import MIN_SEGMENT_SAMPLES
from detector.windows import Windows

CODE = 1  # raised whenever our own code changes a value: cutting, joining, standardising, melstats
LAST_LAYER = -1
MAX_LAYERS = 1_000  # of any encoder
SEGMENT_SECONDS = 30.0
STARTER_SECONDS = 4.0  # its head was fitted on recordings of up to 4 s, and shorter segments are faster
MELSTATS = "melstats"
HUGGINGFACE = "huggingface"
STARTER = "starter"
WHISPER = "whisper"  # `model_type` of the only family with a context
OWN, PADDED = "own", "padded"
CONTEXTS = (OWN, PADDED)
BUILT_IN = (MELSTATS, STARTER, HUGGINGFACE)
CHANNELS = ("mix", "first", "each")
DTYPES = ("float32", "bfloat16", "float16")
FORMER = ("decode", "resample")
"""Entries that recipes of earlier versions have: versions of libraries. What these compute is measured now instead, by
:mod:`detector.canaries`."""
FUSED = "fused"
"""Entry of the recipe of a fused head: the recipes of the embeddings that it judges side by side, in their order."""
MAX_PARTS = 64
LOADER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")  # package.module:function


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Encoder, layer, pooling and segment length of an embedding."""

    backbone: Annotated[
        str,
        "melstats (no weights, a baseline), starter (small, included), huggingface (needs --model), or your own "
        "encoder, package.module:loader",
    ]
    layer: Annotated[
        int,
        "hidden state to pool: 1 is the first transformer layer, 0 its input, -1 the model's last_hidden_state",
    ] = LAST_LAYER
    pooling: Annotated[str, f"reduction of frames to one vector: {', '.join(POOLINGS)}"] = "mean"
    segment_seconds: Annotated[
        float,
        f"longer recordings are cut, and pooled over the frames of all segments; s [default: {SEGMENT_SECONDS:g}; "
        f"starter: {STARTER_SECONDS:g}]",
    ] = None  # type: ignore[assignment]  # the backbone's default, which __post_init__ fills in
    channels: Annotated[
        str, "mix: the mean of all channels; first: only the first; each: a row per channel, <utterance_id>/ch0, /ch1 …"
    ] = CHANNELS[0]
    context: Annotated[
        str | None,
        "what Whisper hears of a segment. own: the segment alone; padded: 30 s, with silence after the segment, as "
        "published, which takes up to ten times longer [default: own]",
    ] = None
    dtype: Annotated[str, f"type in which the encoder multiplies: {', '.join(DTYPES)}"] = DTYPES[0]

    def __post_init__(self) -> None:
        if self.backbone not in BUILT_IN and not LOADER.fullmatch(self.backbone):
            raise ConfigError(
                f"backbone {self.backbone!r} is not known; expected {', '.join(BUILT_IN)} or package.module:loader."
            )
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype {self.dtype!r} is not known; expected one of {', '.join(DTYPES)}.")
        if self.channels not in CHANNELS:
            raise ConfigError(f"channels {self.channels!r} is not known; expected one of {', '.join(CHANNELS)}.")
        if self.context not in (None, *CONTEXTS):
            raise ConfigError(f"context {self.context!r} is not known; expected one of {', '.join(CONTEXTS)}.")
        if self.pooling not in POOLINGS:
            raise ConfigError(f"pooling {self.pooling!r} is not known; expected one of {', '.join(POOLINGS)}.")
        if not isinstance(self.layer, int) or not LAST_LAYER <= self.layer < MAX_LAYERS:
            raise ConfigError(f"layer {self.layer} does not exist; expected 0 to {MAX_LAYERS - 1}, or -1 for the last.")
        if self.backbone == MELSTATS and (self.layer, self.dtype) != (LAST_LAYER, DTYPES[0]):
            raise ConfigError(
                f"layer {self.layer}, dtype {self.dtype}: {MELSTATS} has no layers and one dtype; omit --layer, "
                f"--layers and --dtype."
            )
        seconds: float | None = self.segment_seconds
        if seconds is None:
            seconds = STARTER_SECONDS if self.backbone == STARTER else SEGMENT_SECONDS
        object.__setattr__(self, "segment_seconds", float(seconds))  # 30 and 30.0 must give the same fingerprint
        if (
            not MIN_SEGMENT_SAMPLES
            <= self.segment_seconds * audio.SAMPLE_RATE
            <= decoders.MAX_SECONDS * audio.SAMPLE_RATE
        ):
            raise ConfigError(
                f"segment_seconds {self.segment_seconds} is out of range; expected 1 to {decoders.MAX_SECONDS:g} s."
            )


@dataclass(frozen=True)
class Recipe:
    """A configuration with the weights that carry it out: everything that is chosen about a value.

    Parameters
    ----------
    config : EmbedConfig
    model : str
        Name for people and for the folder of the table; not part of the fingerprint.
    weights : str
        SHA-256 of the checkpoint's files; empty for an encoder without weights.
    former : tuple of pairs
        Entries of :data:`FORMER` with which the recipe stands in an older output: they give it the fingerprint that the
        output has.
    windows : Windows, optional
        Windows that are embedded beside the whole recording, whose own embedding is the same with and without them: so
        they are not part of the fingerprint.
    """

    config: EmbedConfig
    model: str
    weights: str
    former: tuple[tuple[str, str], ...] = ()
    windows: Windows | None = None

    @property
    def slug(self) -> str:
        """Name of the partition of the embedding table: `wav2vec2-xls-r-300m-layer9`.

        Examples
        --------
        >>> Recipe(EmbedConfig(backbone="huggingface", layer=9), "facebook/XLS-R 300M", "00").slug
        'xls-r-300m-layer9'
        """
        name = self.model.rstrip("/").rsplit("/", 1)[-1].lower()
        name = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name)
        if self.config.backbone != MELSTATS:
            name += "-last" if self.config.layer == LAST_LAYER else f"-layer{self.config.layer}"
        if self.config.pooling != "mean":
            name += "-" + self.config.pooling.replace("+", "-")
        if self.config.channels != CHANNELS[0]:
            name += f"-{self.config.channels}"
        if self.config.context == PADDED:
            name += f"-{PADDED}"
        return name if self.config.dtype == DTYPES[0] else f"{name}-{self.config.dtype}"

    def describe(self) -> dict[str, Any]:
        """All that is chosen about the value of an embedding, as JSON values; stored in heads and run records."""
        return {
            "backbone": self.config.backbone,
            "weights": self.weights,
            "layer": self.config.layer,
            "pooling": self.config.pooling,
            "segment_seconds": self.config.segment_seconds,
            "dtype": self.config.dtype,
            "code": CODE,
            **dict(self.former),
            **({} if self.config.context is None else {"context": self.config.context}),
        } | channels_of(self.config.channels)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of :meth:`describe`; embeddings of equal fingerprints may be mixed."""
        return digest_of(self.describe())

    def known_as(self, described: Mapping[str, Any]) -> Recipe | None:
        """Return this recipe with the fingerprint of a description that was stored; None if it is another recipe's.

        Examples
        --------
        >>> recipe = Recipe(EmbedConfig(backbone="melstats"), "melstats", "")
        >>> stored = recipe.describe() | {"decode": "libsndfile 1.2.2", "resample": "soxr HQ 1.1.0"}
        >>> recipe.known_as(stored).fingerprint == digest_of(stored), recipe.known_as(stored | {"layer": 3})
        (True, None)
        """
        if without_former(described) != without_former(self.describe()):
            return None
        return replace(self, former=tuple((name, described[name]) for name in FORMER if name in described))


def parts_of(described: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the descriptions of the recipes that a head's recipe joins: one, unless the head is fused.

    Raises
    ------
    ConfigError
        If the recipe of a fused head is not a list of recipes.

    Examples
    --------
    >>> parts_of(joined([{"layer": 1}, {"layer": 2}])), parts_of({"layer": 1})
    (({'layer': 1}, {'layer': 2}), ({'layer': 1},))
    """
    if FUSED not in described:
        return (dict(described),)
    parts = described[FUSED]
    is_list = isinstance(parts, list) and len(described) == 1 and 2 <= len(parts) <= MAX_PARTS
    if not is_list or not all(isinstance(part, dict) and FUSED not in part for part in parts):
        raise ConfigError(f"recipe {str(described)[:80]}; expected the recipes of 2 to {MAX_PARTS} tables.")
    return tuple(parts)


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the recipe of a head that judges embeddings of these recipes side by side."""
    return parts[0] if len(parts) == 1 else {FUSED: list(parts)}


def without_former(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description of a recipe without :data:`FORMER`: those of equal recipes are equal, whatever their age."""
    return joined([{name: value for name, value in part.items() if name not in FORMER} for part in parts_of(described)])


def difference(described: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the settings in which two descriptions of recipes differ.

    Examples
    --------
    >>> difference({"layer": 9, "pooling": "mean"}, {"layer": -1, "pooling": "mean", "context": "padded"})
    'context None, not padded; layer 9, not -1'
    """
    here, there = (parts_of(without_former(each)) for each in (described, other))
    if len(here) != len(there):
        return f"{len(here)} table(s) side by side, not {len(there)}"
    settings = (
        (name, one.get(name), two.get(name))
        for one, two in zip(here, there, strict=True)
        for name in sorted({*one, *two})
    )
    return "; ".join(f"{name} {one}, not {two}" for name, one, two in settings if one != two)


def channels_of(channels: str) -> dict[str, str]:
    """Entry of a recipe for its channels. The mean has none, so that older fingerprints stay valid."""
    return {} if channels == CHANNELS[0] else {"channels": channels}


def by_channels(described: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the descriptions of the recipes that differ from one in nothing but the channels, by these."""
    others = [{name: value for name, value in part.items() if name != "channels"} for part in parts_of(described)]
    return {channels: joined([part | channels_of(channels) for part in others]) for channels in CHANNELS}


def layers_of(text: str, n_layers: int) -> tuple[int, ...]:
    """Parse a list of layers for an encoder of ``n_layers``.

    Parameters
    ----------
    text : str
        Numbers separated by commas, or `all`: every hidden state, from the input of the first layer to the output of
        the last.
    n_layers : int

    Returns
    -------
    tuple of int
        As :attr:`EmbedConfig.layer`, without repetition, in rising order with -1 at the end.

    Raises
    ------
    ConfigError
        If the text is not such a list, repeats a layer, or names one that the encoder lacks.

    Examples
    --------
    >>> layers_of("9,6,-1", 24), layers_of("all", 2)
    ((6, 9, -1), (0, 1, 2))
    """
    if text == "all":
        return tuple(range(n_layers + 1))
    try:
        found = [int(number) for number in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"layers {text!r}; expected numbers separated by commas, such as 6,9,12, or all.") from error
    if len(set(found)) != len(found) or not all(LAST_LAYER <= layer <= n_layers for layer in found):
        raise ConfigError(
            f"layers {text!r}; expected distinct numbers from 0 to {n_layers}, or -1 for the last hidden state."
        )
    return tuple(sorted(found, key=lambda layer: (layer == LAST_LAYER, layer)))


_sorted_json = json.JSONEncoder(sort_keys=True, allow_nan=False).encode  # made once: plans have millions of digests


def digest_of(value: Any, *, digits: int = 16) -> str:
    """Hexadecimal digits of the SHA-256 of a JSON value, keys in sorted order.

    Two values with the same sixteen digits are found in minutes; with the same thirty-two, in no time that matters.

    Examples
    --------
    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(_sorted_json(value).encode()).hexdigest()[:digits]
