"""Verification: recompute every digest from the Parquet objects themselves, and name the objects that differ."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from detector.errors import ConfigError
from jobs import storage
from jobs.storage import Stored
from jobs.tables.canaries import read_references
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.compaction.copy import verify_copy
from jobs.tables.copies import differences
from jobs.tables.dropping import describe_waiting
from jobs.tables.empty import verify_empty_failures
from jobs.tables.garbage import OBJECT_NAME, slot_of
from jobs.tables.heads import verify_heads
from jobs.tables.ledger import Ledger, ledgers, table_objects
from jobs.tables.left_out import left_out
from jobs.tables.names import Names
from jobs.tables.parquet import read_rows
from jobs.tables.protocol import Marker, PlanHistory
from jobs.tables.row_digest import add, rows_digest
from jobs.tables.run_records import RECORD_NAME
from jobs.tables.shard_objects import Contents, ShardObjects
from jobs.tables.totals import Totals
from jobs.telemetry.names import say
from jobs.telemetry.progress import progress


def verify_tables(output: str) -> list[str]:
    """Compare all tables under an output with what was committed, and print how it went.

    Returns
    -------
    list of str
        A message for each difference.
    """
    tables, unplanned = ledgers(output), list(differences(output))
    if not (tables or unplanned):
        raise ConfigError(f"{output}: no tables of ours here. Give the --output of a run.")
    wrong = [message for table in tables for message in _verify_table(table)]
    wrong += [*_foreign_objects(output), *verify_heads(output), *verify_empty_failures(output)]
    say(*left_out(output, tables))
    return [*unplanned, *wrong, *_verify_records(output, {table.name: table for table in tables})]


def verify_compacted(place: str) -> list[str]:
    """Compare a compacted copy with its manifests, and print how it went for each ledger, as for an output.

    Returns
    -------
    list of str
        A message for each difference.
    """
    manifests, wrong = verify_copy(place)
    wrong += [*verify_heads(place), *verify_empty_failures(place)]
    for name in sorted({each.compacted.ledger for each in manifests}):
        objects = [each.compacted for each in manifests if each.compacted.ledger == name]
        rows = Counter(dict.fromkeys(sorted({each.table for each in objects}), 0))
        for each in objects:
            rows[each.table] += each.rows
        counts = ", ".join(f"{count} {table}" for table, count in rows.items())
        digest = add(each.digest for each in objects)
        say(f"copy of {objects[0].output}: {name}: {len(objects)} objects, {counts}, digest {digest}")
    return wrong


def _verify_table(table: Ledger) -> list[str]:
    read_references(table)  # refuses a damaged one
    history, done = table.history(), table.done()
    shards = history.current.committed(done)
    wrong = [f"{uri}: names shards that are not committed; `gc` removes it" for uri in table.lying_checkpoints(history)]
    totals, committed = Totals(), array("q")
    with progress(f"verify {table.name}", len(shards)) as shown:
        for marker, contents in ShardObjects(table.output).of(table.markers(shards.names)):
            totals.add(marker)
            committed.extend(hash(storage.join(table.output, place)) for place in marker.objects.values())
            wrong += _verify_shard(table, marker, contents)
            shown.shard(sum(marker.rows.values()))
    unchanged = table.history(history).current.committed(done)  # a run may have planned others again meanwhile
    wrong += _uncommitted_objects(table, unchanged.slots, np.sort(np.array(committed, np.int64)))
    counts = ", ".join(f"{count} {name}" for name, count in sorted(totals.rows.items()))
    left = describe_waiting(history, done)
    say(
        f"{table.name}: {totals.n_shards} shards, {counts or 'no rows'}, digest {totals.digest}"
        + (f"; {left}" if left else "")
    )
    return wrong


def _uncommitted_objects(table: Ledger, slots: Names, committed: npt.NDArray[np.int64]) -> Iterator[str]:
    """Yield a message for each object of a committed shard that its marker leaves out: readers see its rows.

    Parameters
    ----------
    slots : Names
        Of shards that are committed as they are planned.
    committed : array of int
        The hash of each object that a marker names, sorted: 8 bytes rather than a URI.
    """

    def is_right(stored: Stored) -> bool:
        if not storage.name_of(stored.uri).startswith(f"{table.key}-") or slot_of(stored.uri) not in slots:
            return True
        place = int(np.searchsorted(committed, hash(stored.uri)))
        return place < len(committed) and committed[place] == hash(stored.uri)

    for stored in table_objects(table.output, is_right):
        yield f"{stored.uri}: exists, but was not committed with its shard; `gc` removes it"


def _foreign_objects(output: str) -> Iterator[str]:
    """Yield a message for each object among the tables that no run writes, by its name: readers see its rows."""

    def is_ours(stored: Stored) -> bool:
        name = storage.name_of(stored.uri)
        return not name.endswith(".parquet") or OBJECT_NAME.fullmatch(name) is not None

    for stored in table_objects(output, is_ours):
        yield f"{stored.uri}: was not written by a run, and readers see its rows; remove it"


def _verify_shard(table: Ledger, marker: Marker, contents: Contents) -> Iterator[str]:
    for name, place in marker.objects.items():
        uri = storage.join(table.output, place)
        content = contents[name]
        if content is None:
            yield f"{uri}: is gone; it was committed with {marker.rows[name]} rows of {marker.uri}"
            continue
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != marker.sha256[name]:
            differs = _row_difference(name, content, marker)
            yield f"{uri}: SHA-256 {sha256}, committed {marker.sha256[name]}; source {marker.uri}{differs}"
        elif (digest := rows_digest(name, read_rows(content))) != marker.digests[name]:
            yield f"{uri}: the digest of its rows is {digest}, committed {marker.digests[name]}"


def _row_difference(name: str, content: bytes, marker: Marker) -> str:
    """Return what to add to a message about an object with other bytes: whether its rows differ, too."""
    try:
        return "" if rows_digest(name, read_rows(content)) == marker.digests[name] else "; its rows differ"
    except (pa.ArrowException, OSError, KeyError):
        return "; it cannot be read as a table"


def _verify_records(output: str, tables: dict[str, Ledger]) -> Iterator[str]:
    """Compare each run's record with the digest of its plan's shards, unless some of them were replaced since."""

    @cache
    def state_of(name: str) -> tuple[PlanHistory, Names]:
        return tables[name].history(), tables[name].done()

    folder = storage.join(output, "runs")
    for stored in storage.listing(folder) or []:
        if not stored.uri.endswith(".json"):
            continue  # a nightly report's page
        if not RECORD_NAME.fullmatch(stored.uri.removeprefix(f"{folder}/")):
            yield f"{stored.uri}: was not written by a run; remove it"
            continue
        record = load_checksummed(storage.read_bytes(stored.uri), stored.uri)
        if record.get("table") not in tables:
            continue
        history, done = state_of(record["table"])
        names = history.of_plan(record["plan"]).names & done
        if len(names) != record["shards"]["committed"]:
            continue
        if (total := Ledger.digest(tables[record["table"]].markers(names))) != record["digest"]:
            yield f"{stored.uri}: its digest is {record['digest']}, that of its shards' markers {total}"
