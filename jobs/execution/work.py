"""Work: what a run embeds with, on whatever machines; it is the same for each pass over what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from detector.canaries import Heard
from detector.config import Recipe
from jobs.config import ModelConfig
from jobs.execution.assemblers import Assemblers
from jobs.execution.pool import Pool
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.inputs.limits import Limits


@dataclass(frozen=True)
class Work:
    """What a run embeds portions of shards with.

    Parameters
    ----------
    recipes : tuple of Recipe
        They differ in nothing but the layer; all layers are computed in one pass.
    model : ModelConfig
    pool : Pool
    limits : Limits
    watchdog : Watchdog
    stop : StopRequest
    assemblers : Assemblers
        What :meth:`jobs.execution.runner.Runner.assemblers` returned.
    heard : mapping, optional
        The canaries as the driver hears them. Workers that hear others raise ConfigError; every encoder adds its
        vectors to the first table that it returns (:func:`jobs.inputs.pieces.canaries`).
    """

    recipes: tuple[Recipe, ...]
    model: ModelConfig
    pool: Pool
    limits: Limits
    watchdog: Watchdog
    stop: StopRequest
    assemblers: Assemblers
    heard: Mapping[str, Heard] | None = None
