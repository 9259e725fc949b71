"""Settings of an embedding run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from detector.config import LAST_LAYER, EmbedConfig
from detector.errors import ConfigError
from jobs.config import CostConfig, ModelConfig, OutputConfig, RunConfig, SegmentsConfig
from jobs.inputs.config import InputConfig


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(InputConfig, EmbedConfig, ModelConfig, OutputConfig, SegmentsConfig, RunConfig, CostConfig):
    """Embed an archive: read, decode, encode, and write one row per utterance for each layer."""

    layers: Annotated[
        str | None, "several layers in one pass, each in its own table: numbers and commas, such as 6,9,12, or all"
    ] = None

    def __post_init__(self) -> None:
        for kind in (InputConfig, EmbedConfig, SegmentsConfig, RunConfig, CostConfig):  # each checks its own fields
            kind.__post_init__(self)
        if self.layers is not None and self.layer != LAST_LAYER:
            raise ConfigError(f"--layer {self.layer} and --layers {self.layers}: give one of them.")
