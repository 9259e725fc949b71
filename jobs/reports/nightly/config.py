"""Settings of a nightly run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from detector.errors import ConfigError
from jobs.inputs.config import InputConfig
from jobs.scoring.config import ScoringConfig

PLAYERS = ("none", "link", "embed")


@dataclass(frozen=True, kw_only=True)
class NightlyConfig(InputConfig, ScoringConfig):
    """Embed and score what is new in an archive; running it again does nothing."""

    players: Annotated[
        str, "how the nightly page plays recordings: none, link, or embed, which copies small recordings into the page"
    ] = PLAYERS[0]

    def __post_init__(self) -> None:
        if self.players not in PLAYERS:
            raise ConfigError(f"players {self.players!r}; expected one of {', '.join(PLAYERS)}.")
        InputConfig.__post_init__(self)
        ScoringConfig.__post_init__(self)
