"""verify: recompute every digest from the Parquet objects themselves, and name the object that differs."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.storage import NotFoundError
from jobs.tables import compacted, ledger
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.ledger import KINDS, Ledger
from jobs.tables.protocol import Marker
from jobs.tables.row_digest import add, rows_digest
from jobs.telemetry.progress import progress
from jobs.verbs.gc import TABLES, slot_of


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Check the tables under an output against what was committed: objects, rows, digests, and records of runs."""

    output: Annotated[str, "folder or prefix that holds the tables, or a copy"] = field(metadata={"positional": True})


def run(settings: Settings) -> int:
    """Check, and say what differs; return the exit code.

    Raises
    ------
    SchemaError
        Where an object is not what was committed.
    ConfigError
        Where there is nothing to check.
    """
    output = storage.normal(settings.output)
    if compacted.is_copy(output):
        return _end(_check_copy(output), "stands in the copy")
    tables = [Ledger(output, kind, key) for kind in KINDS for key in ledger.keys(output, kind)]
    if not tables:
        raise ConfigError(f"{output}: no tables of ours here. Give the --output of a run.")
    wrong: list[str] = []
    for table in tables:
        wrong += _check(table)
    wrong += _records_that_differ(output, {table.name: table for table in tables})
    return _end(wrong, "was committed")


def _end(wrong: list[str], what: str) -> int:
    for each in wrong:
        print(each)
    if wrong:
        raise SchemaError(f"{len(wrong)} of what {what} differs; first: {wrong[0]}")
    return 0


def _check_copy(place: str) -> list[str]:
    """Compare every object of a compacted copy with its manifest; say how it went, by ledger as for an output."""
    manifests, wrong = compacted.check(place)
    for name in sorted({each.fold.ledger for each in manifests}):
        folds = [each.fold for each in manifests if each.fold.ledger == name]
        rows = Counter(dict.fromkeys(sorted({fold.table for fold in folds}), 0))
        for fold in folds:
            rows[fold.table] += fold.rows
        counts = ", ".join(f"{count} {table}" for table, count in rows.items())
        print(
            f"copy of {folds[0].output}: {name}: {len(folds)} objects, {counts}, digest {add(f.digest for f in folds)}"
        )
    return wrong


def _check(table: Ledger) -> list[str]:
    """Compare every object of a table with its marker; say how it went."""
    history, done = table.history(), table.done()
    markers = table.markers(history.names & done)
    wrong = _left_over(table, markers)
    with progress(f"verify {table.name}", len(markers)) as shown:
        for marker in markers:
            wrong += _objects_that_differ(table, marker)
            shown.shard(sum(marker.rows.values()))
    rows: dict[str, int] = {}
    for marker in markers:
        rows = {name: rows.get(name, 0) + count for name, count in marker.rows.items()}
    counts = ", ".join(f"{count} {name}" for name, count in sorted(rows.items()))
    left = len(history.current) - len(markers)
    print(
        f"{table.name}: {len(markers)} shards, {counts or 'no rows'}, digest {Ledger.digest(markers)}"
        + (f"; {left} planned and not done yet" if left else "")
    )
    return wrong


def _left_over(table: Ledger, markers: list[Marker]) -> list[str]:
    """Objects of committed shards that their markers leave out: their rows stand, and were never committed."""
    listed = {storage.join(table.output, place) for marker in markers for place in marker.objects.values()}
    whole = {marker.name.rpartition("-")[0] for marker in markers}
    key = table.name.partition("-")[2]
    found = [stored.uri for name in TABLES for stored in storage.listing(storage.join(table.output, name)) or []]
    return [
        f"{uri}: stands, but was not committed with its shard; `gc` removes it"
        for uri in found
        if storage.name_of(uri).startswith(f"{key}-") and slot_of(uri) in whole and uri not in listed
    ]


def _objects_that_differ(table: Ledger, marker: Marker) -> Iterator[str]:
    for name, place in marker.objects.items():
        uri = storage.join(table.output, place)
        try:
            content = storage.read_bytes(uri)
        except NotFoundError:
            yield f"{uri}: is gone; it was committed with {marker.rows[name]} rows"
            continue
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != marker.sha256[name]:
            yield f"{uri}: SHA-256 {sha256}, committed {marker.sha256[name]}{_more(name, content, marker)}"
        elif (digest := rows_digest(name, _rows(content))) != marker.digests[name]:
            yield f"{uri}: the digest of its rows is {digest}, committed {marker.digests[name]}"


def _more(name: str, content: bytes, marker: Marker) -> str:
    """Whether only the file's bytes differ, or its rows too."""
    try:
        return "" if rows_digest(name, _rows(content)) == marker.digests[name] else "; its rows differ"
    except (pa.ArrowException, OSError, KeyError):
        return "; it cannot be read as a table"


def _rows(content: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(content), partitioning=None, page_checksum_verification=True)


def _records_that_differ(output: str, tables: dict[str, Ledger]) -> Iterator[str]:
    """A run's record holds the sum over its plan, unless some of it was replaced since."""
    for stored in storage.listing(storage.join(output, "runs")) or []:
        if not stored.uri.endswith(".json"):
            continue  # a night's page
        record = load_checksummed(storage.read_bytes(stored.uri), stored.uri)
        if record.get("table") not in tables:
            continue
        table = tables[record["table"]]
        history, done = table.history(), table.done()
        names = {shard.name for shard in history.of_plan(record["plan"])} & done
        if (
            len(names) == record["shards"]["committed"]
            and (total := Ledger.digest(table.markers(names))) != record["digest"]
        ):
            yield f"{stored.uri}: its digest is {record['digest']}, that of its shards' markers {total}"
