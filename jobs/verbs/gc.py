"""gc: remove what killed runs left under an output. What a run may still need is only given up by its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from detector.errors import ConfigError
from jobs import storage


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Remove what killed runs left: objects that no plan knows, markers of replaced shards, unfinished uploads."""

    output: Annotated[str, "folder or prefix that holds the tables"] = field(metadata={"positional": True})
    grace_hours: Annotated[float, "garbage is removed only this long after it was first seen, if unchanged; hours"] = (
        24.0
    )
    dry_run: Annotated[bool, "only list what is garbage now"] = False
    lost_plans: Annotated[
        bool, "also remove what was committed under plans that are not here, such as after half a restore"
    ] = False
    abandon: Annotated[str | None, "instead, give up the shards that this run planned and did not finish: a run id"] = (
        None
    )

    def __post_init__(self) -> None:
        if self.abandon is not None and (self.dry_run or self.lost_plans):
            other = "--dry-run: it changes the output" if self.dry_run else "--lost-plans: it removes nothing"
            raise ConfigError(f"--abandon with {other}. Give one of them.")
        if not self.grace_hours >= 0:
            raise ConfigError(f"grace_hours {self.grace_hours}; expected 0 or more.")


def run(settings: Settings) -> int:
    """List garbage, and remove what was listed long enough ago, or give up shards; return the exit code."""
    from jobs.tables import collection  # only now: --help needs none of it

    output = storage.normal(settings.output)
    with storage.as_owner(output):
        if settings.abandon is None:
            collection.collect(output, settings.grace_hours, dry_run=settings.dry_run, lost=settings.lost_plans)
        else:
            collection.abandon(output, settings.abandon)
    return 0
