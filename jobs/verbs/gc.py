"""gc: remove what killed runs left under an output. What a run may still need is only given up by its name."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Annotated

from detector.errors import ConfigError
from jobs import storage
from jobs.telemetry.names import say

HOUR = 3600.0

log = logging.getLogger(__name__)


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
    """List garbage, and remove what was listed long enough ago; return the exit code.

    Raises
    ------
    ConfigError
        If no run has written there: a collection of a place that is misspelt would be a success for years.
    SchemaError
        If plans of what is committed are not here, unless what they planned is given up.
    """
    output = storage.normal(settings.output)
    with storage.as_owner(output):
        _collect(output, settings)
    return 0


def _collect(output: str, settings: Settings) -> None:
    from jobs.tables.compaction.copy import is_copy  # only now: --help needs none of it
    from jobs.tables.copies import refuse_garbage_of_lost_plans
    from jobs.tables.garbage import find_garbage, mark
    from jobs.tables.ledger import ledgers

    garbage = find_garbage(output) if settings.abandon is None else {}
    if not settings.lost_plans:
        refuse_garbage_of_lost_plans(output, garbage)
    if not (garbage or ledgers(output) or is_copy(output)):
        raise ConfigError(f"{output}: no tables of ours here. Give the --output of a run.")
    if settings.abandon is not None:
        _abandon(output, settings.abandon)
        return
    if settings.dry_run:
        say(*sorted(garbage), f"{len(garbage)} objects are garbage")
        return
    now, due = mark(output, garbage, settings.grace_hours * HOUR)
    for uri in due:
        log.info("removing %s", uri)
        storage.remove(uri)
    uploads = storage.abandon_uploads(output, now - settings.grace_hours * HOUR)
    say(
        f"removed {len(due)} objects and {len(uploads)} unfinished uploads; {len(garbage) - len(due)} more are "
        f"garbage, and go once they have been for {settings.grace_hours:g} h"
    )


def _abandon(output: str, run_id: str) -> None:
    """Give up what a run planned and did not finish, and print where that is recorded."""
    from jobs.tables.dropping import abandon  # only now: --help needs none of it

    found = abandon(output, run_id)
    for each in found:
        say(f"{each.table}: gave up {each.n_shards} shards that run {run_id} planned; record: {each.record}")
    if not found:
        say(f"run {run_id} left no shard that is planned and not done")
