"""Copies of an output: what stands in one and no plan of it knows, because it was not copied in the right order.

Where runs write, a plan is older than all that is made for it. A copy that is made while a run works keeps that only if
it takes markers first, then the tables, and plans last (docs/operations.md). Else the next run would give the number of
a lost plan to another one, and take for its own what was committed under the lost one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from detector.errors import SchemaError
from jobs import storage
from jobs.tables.garbage import OBJECT_NAME, ledger_of, slot_of
from jobs.tables.ledger import Ledger, ledgers, table_objects
from jobs.tables.names import Names, as_names
from jobs.tables.parquet import part_of
from jobs.tables.protocol import REMEDY, PlanHistory
from jobs.tables.table_part import TablePart

NUMBER = re.compile(r"\d{6,}$")


def refuse_lost_plans(table: Ledger, history: PlanHistory, done: Iterable[str]) -> None:
    """Raise SchemaError if a plan of what is committed is not here.

    Parameters
    ----------
    history : PlanHistory
        Read before ``done`` was listed, so the plans are read again before anything is refused.
    """
    if without_plan(history, done) and (lost := without_plan(table.history(), done)):
        raise SchemaError(f"{_marker_uri(table, lost[0])}: {_described(table)}. {REMEDY}.")


def refuse_garbage_of_lost_plans(output: str, garbage: Iterable[str]) -> None:
    """Raise SchemaError if garbage has markers whose plans are not here: with these, it may be none."""
    markers = list(garbage)
    for name in sorted({name for uri in markers if (name := ledger_of(uri))}):
        table = Ledger(output, *name.split("-"))
        refuse_lost_plans(table, table.history(), _committed(markers, name))


def _committed(markers: Iterable[str], table: str) -> list[str]:
    """Return the names of the shards of a table that have markers."""
    return [storage.name_of(uri).removesuffix(".json") for uri in markers if ledger_of(uri) == table]


def without_plan(history: PlanHistory, done: Iterable[str]) -> list[str]:
    """Return the names of committed shards whose plans are not here.

    Examples
    --------
    >>> without_plan(PlanHistory(), ["0123456789abcdef-000001"])
    ['0123456789abcdef-000001']
    """
    unknown = as_names(done) - Names.of(history.row_names)  # at once: the names that are left are few
    return sorted(name for name in unknown if (number := NUMBER.search(name)) and int(number[0]) > len(history.plans))


def differences(output: str) -> Iterator[str]:
    """Yield a message for each marker whose plan is not here, and for each object whose shard no plan knows."""
    # plans are read last: one that is made meanwhile is older than what is made for it
    objects = [stored.uri for stored in table_objects(output)]
    markers = [stored.uri for stored in storage.listing(storage.join(output, "_commits")) or []]
    committed = {name for uri in markers if (name := ledger_of(uri))}
    known: dict[str, PlanHistory] = {}
    for name in sorted(committed | {table.name for table in ledgers(output)}):
        table = Ledger(output, *name.split("-"))
        known[table.key] = table.history()
        for lost in without_plan(known[table.key], _committed(markers, name)):
            yield f"{_marker_uri(table, lost)}: {_described(table)}. {REMEDY}"
    yield from _unplanned_objects(objects, known, {storage.name_of(uri).removesuffix(".json") for uri in markers})


def _unplanned_objects(objects: list[str], known: dict[str, PlanHistory], done: set[str]) -> Iterator[str]:
    for uri in objects:
        match = OBJECT_NAME.fullmatch(storage.name_of(uri))
        if match is None:
            continue
        history = known.get(match["key"], PlanHistory())
        planned = history.current.get(slot_of(uri))
        if planned is None:
            yield f"{uri}: no plan knows its shard; `gc` removes it"
        elif planned.name not in done and (part := _part_at(uri)) and without_plan(history, [part.shard]):
            yield f"{uri}: its rows are of a plan that is not here; remove it, and the next run writes it anew"


def _part_at(uri: str) -> TablePart | None:
    """Return what an object says of itself; None if it is damaged, or was removed since it was listed."""
    try:
        return part_of(uri, storage.read_bytes(uri))
    except storage.NotFoundError:
        return None


def _marker_uri(table: Ledger, name: str) -> str:
    return storage.join(table.output, "_commits", table.name, f"{name}.json")


def _described(table: Ledger) -> str:
    return f"is committed, and its plan is not among those in _plans/{table.name}"
