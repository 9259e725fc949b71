"""Sources set aside: they changed while the last run read them, and may be as they were planned again by now.

A plan reads again what differs from the plan before it. A source that was replaced for the time of its reading, and put
back, does not; its row of failures says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

import pyarrow.compute as pc

from jobs.inputs.shards import CHANGED
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker, PlanHistory, slot_of_shard
from jobs.tables.run_records import may_count


def set_aside_before(table: Ledger, history: PlanHistory, done: Set[str]) -> frozenset[str]:
    """Return the URIs of sources that changed while they were read for plans of the last date.

    It costs the records of these plans, and all markers of a plan whose record counts such sources, or is missing.
    """
    return frozenset(
        uri
        for number in _last_plans(history)
        if may_count(table.output, history.plans[number - 1].run_id, CHANGED)
        for marker in table.markers(history.of_plan(number).names & done)
        if CHANGED in marker.detail and _stands(history, marker)
        for uri in _changed(table, marker)
    )


def _stands(history: PlanHistory, marker: Marker) -> bool:
    """Return True unless the shard is planned anew since."""
    planned = history.current.get(slot_of_shard(marker.name))
    return planned is not None and planned.name == marker.name


def _last_plans(history: PlanHistory) -> Iterable[int]:
    dates = [plan.run_date for plan in history.plans]
    return (number for number, date in enumerate(dates, start=1) if date == dates[-1])


def _changed(table: Ledger, marker: Marker) -> list[str]:
    rows = table.read(marker, "failures")
    if rows is None:
        return []
    return rows.filter(pc.equal(rows["error"], CHANGED))["uri"].to_pylist()  # type: ignore[no-any-return]
