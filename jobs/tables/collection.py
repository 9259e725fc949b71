"""Collection: removes garbage that was listed long enough ago, or gives up what a run left unfinished, and says so."""

from __future__ import annotations

import logging

from detector.errors import ConfigError
from jobs import storage
from jobs.tables import dropping
from jobs.tables.compaction.copy import is_copy
from jobs.tables.copies import refuse_garbage_of_lost_plans
from jobs.tables.garbage import find_garbage, mark
from jobs.tables.ledger import ledgers
from jobs.telemetry.names import say

HOUR = 3600.0

log = logging.getLogger(__name__)


def collect(output: str, grace_hours: float, *, dry_run: bool = False, lost: bool = False) -> None:
    """List garbage, remove what was listed long enough ago, and print how much that is.

    Parameters
    ----------
    output : str
        Normal URI.
    grace_hours : float
        For which an object is garbage before it is removed, unchanged.
    dry_run : bool
        Only list it.
    lost : bool
        Also collect what was committed under plans that are not here.

    Raises
    ------
    ConfigError
        If no run has written there: a collection of a place that is misspelt would be a success for years.
    SchemaError
        If plans of what is committed are not here, unless what they planned is given up.
    """
    garbage = find_garbage(output)
    if not lost:
        refuse_garbage_of_lost_plans(output, garbage)
    _refuse_other_place(output, garbage)
    if dry_run:
        say(*sorted(garbage), f"{len(garbage)} objects are garbage")
        return
    now, due = mark(output, garbage, grace_hours * HOUR)
    for uri in due:
        log.info("removing %s", uri)
        storage.remove(uri)
    uploads = storage.abandon_uploads(output, now - grace_hours * HOUR)
    say(
        f"removed {len(due)} objects and {len(uploads)} unfinished uploads; {len(garbage) - len(due)} more are "
        f"garbage, and go once they have been for {grace_hours:g} h"
    )


def abandon(output: str, run_id: str) -> None:
    """Give up what a run planned and did not finish, and print where that is recorded.

    Raises
    ------
    ConfigError
        If no run has written there.
    SchemaError
        If plans of what is committed are not here.
    """
    refuse_garbage_of_lost_plans(output, {})
    _refuse_other_place(output, {})
    found = dropping.abandon(output, run_id)
    for each in found:
        say(f"{each.table}: gave up {each.n_shards} shards that run {run_id} planned; record: {each.record}")
    if not found:
        say(f"run {run_id} left no shard that is planned and not done")


def _refuse_other_place(output: str, garbage: dict[str, str]) -> None:
    if not (garbage or ledgers(output) or is_copy(output)):
        raise ConfigError(f"{output}: no tables of ours here. Give the --output of a run.")
