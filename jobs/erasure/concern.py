"""Concern: the planned shards that may hold a recording of an erasure request.

A container's recordings are not in its plan, so its own id stands for theirs; and rows of a recording that left the
archive stay in their slot, whatever a later plan reads for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from jobs.erasure.mentions import ids_in_plan
from jobs.erasure.request import ErasureRequest
from jobs.inputs.shards import Shard
from jobs.tables.ledger import Ledger
from jobs.tables.names import Names
from jobs.tables.protocol import Entry


def may_hold(entry: Entry, request: ErasureRequest) -> bool:
    """Return True if a planned shard may read a requested recording."""
    if not entry.has_sources:
        return False
    names = {name for _, name in Shard.from_content(entry.work).ids()}
    return not request.containers.isdisjoint(names) or any(map(request.ids_of, names))


def slots_of(tables: Iterable[Ledger], request: ErasureRequest) -> set[str]:
    """Return the slots that may hold a requested recording by any plan, also by one that was replaced since."""
    return {
        entry.slot
        for table in tables
        for plan in table.history().plans
        for entry in plan.entries
        if may_hold(entry, request)
    }


def is_planned_anew(table: Ledger, before: Names, n_plans: int, slots: set[str], request: ErasureRequest) -> bool:
    """Return True if a plan of this table that was made since may bring a requested recording back, or names one.

    Parameters
    ----------
    before : Names
        The shards that were planned then.
    n_plans : int
        The plans that there were.
    slots : set of str
        Which may have rows of the recordings, so that a run may take these over.
    """
    history = table.history()
    if any(ids_in_plan(plan, request) for plan in history.plans[n_plans:]):
        return True
    planned = (history.by_name[name] for name in history.names - before)
    return any(each.slot in slots or may_hold(each.entry, request) for each in planned)
