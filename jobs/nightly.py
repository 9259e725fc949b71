"""nightly: embed and score what is new in an archive since the last run."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.archive import InputConfig
from jobs.config import part
from jobs.score import ScoringConfig, embed_and_score, read_head


@dataclass(frozen=True, kw_only=True)
class Settings(InputConfig, ScoringConfig):
    """Embed and score what is new in an archive; run again, it does nothing."""

    def __post_init__(self) -> None:
        InputConfig.__post_init__(self)
        ScoringConfig.__post_init__(self)


def run(settings: Settings) -> int:
    """Do the night's work; return the exit code."""
    head = read_head(settings.head, settings.require_signature)
    return embed_and_score(part(settings, InputConfig), head, settings, "nightly")
