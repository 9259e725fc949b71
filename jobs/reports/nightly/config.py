"""Settings of a nightly run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from detector.errors import ConfigError
from jobs.config import check_place_of_copy
from jobs.inputs.config import InputConfig
from jobs.scoring.config import ScoringConfig

PLAYERS = ("none", "link", "embed")
MOST_MINUTES = 7 * 24 * 60
LEAST_MIB = 512  # Python, Arrow, and an object of the copy in memory


@dataclass(frozen=True, kw_only=True)
class NightlyConfig(InputConfig, ScoringConfig):
    """Embed and score what is new in an archive; running it again does nothing."""

    players: Annotated[
        str, "how the nightly page plays recordings: none, link, or embed, which copies small recordings into the page"
    ] = PLAYERS[0]
    compact_to: Annotated[
        str | None, "bring this compacted copy of the tables up to date when the night is done; apart from the output"
    ] = None
    compact_minutes: Annotated[float, "time for --compact-to, after which the next night goes on; min"] = 60.0
    compact_mib: Annotated[int, "memory for --compact-to, which runs in a process of its own; MiB"] = 2_048
    compact_required: Annotated[bool, "end with the exit code of --compact-to where the night itself ended with 0"] = (
        False
    )

    def __post_init__(self) -> None:
        if self.compact_to is not None:
            check_place_of_copy(self.output, self.compact_to)
        if not 0.0 < self.compact_minutes <= MOST_MINUTES or self.compact_mib < LEAST_MIB:
            raise ConfigError(
                f"compact_minutes {self.compact_minutes}, compact_mib {self.compact_mib}; expected more than 0 and "
                f"at most {MOST_MINUTES}, and {LEAST_MIB} or more."
            )
        if self.players not in PLAYERS:
            raise ConfigError(f"players {self.players!r}; expected one of {', '.join(PLAYERS)}.")
        InputConfig.__post_init__(self)
        ScoringConfig.__post_init__(self)
