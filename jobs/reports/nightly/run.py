"""A nightly run: embed and score what is new in an archive, and write the page of what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from detector.errors import ConfigError
from jobs.config import part
from jobs.inputs.archive import InputConfig
from jobs.reports.nightly.page import write_pages
from jobs.reports.review.players import PLAYERS
from jobs.scoring.heads import read_head
from jobs.scoring.run import ScoringConfig, embed_and_score


@dataclass(frozen=True, kw_only=True)
class NightlyConfig(InputConfig, ScoringConfig):
    """Embed and score what is new in an archive; run again, it does nothing."""

    players: Annotated[
        str, "how the nightly page plays recordings: none, link, or embed, which copies small recordings into the page"
    ] = PLAYERS[0]

    def __post_init__(self) -> None:
        if self.players not in PLAYERS:
            raise ConfigError(f"players {self.players!r}; expected one of {', '.join(PLAYERS)}.")
        InputConfig.__post_init__(self)
        ScoringConfig.__post_init__(self)


def nightly(settings: NightlyConfig) -> int:
    """Embed and score what is new, write the page, and return the exit code."""
    head = read_head(settings.head, settings.require_signature)
    return embed_and_score(part(settings, InputConfig), head, settings, "nightly", write_pages)
