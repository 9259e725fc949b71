"""Run files: the records and pages under `runs/`, and the recordings that they name."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

from jobs import storage
from jobs.erasure.own_objects import read_own
from jobs.erasure.redaction import redact_record
from jobs.erasure.request import ErasureRequest
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PlanHistory
from jobs.tables.totals import Totals


@dataclass(frozen=True)
class StoredRecord:
    """A run's record: as it is stored, and without the recordings of the request, with digests of the rows left."""

    uri: str
    content: bytes
    stored: dict[str, Any]
    redacted: dict[str, Any]


def objects_below(output: str, *folders: str) -> list[str]:
    """List the URIs of all objects in a folder of the output."""
    return [stored.uri for stored in storage.listing(storage.join(output, *folders)) or []]


def record_uris(output: str) -> list[str]:
    """List the URIs of run records."""
    return [uri for uri in objects_below(output, "runs") if uri.endswith(".json")]


def pages(output: str, request: ErasureRequest) -> Iterator[tuple[str, set[str]]]:
    """Yield each page's URI, with the requested ids that it mentions."""
    for uri in objects_below(output, "runs"):
        page = read_own(uri.removeprefix(f"{output}/"), storage.read_bytes(uri)) if uri.endswith(".html") else None
        if isinstance(page, str):
            yield uri, request.ids_in_text(page)


def records(output: str, tables: list[Ledger], request: ErasureRequest) -> Iterator[StoredRecord]:
    """Yield each run's record, as it is and as the current markers say that it should be."""
    states = {table.name: (table, table.history(), table.done()) for table in tables}
    for uri in record_uris(output):
        content = storage.read_bytes(uri)
        record = load_checksummed(content, uri)
        redacted = redact_record(record, request)
        if record.get("table") in states:
            redacted |= _erasure_totals(*states[record["table"]], record)
        yield StoredRecord(uri, content, record, redacted)


def _erasure_totals(table: Ledger, history: PlanHistory, done: Set[str], record: dict[str, Any]) -> dict[str, Any]:
    """Return the new digest of a record whose plan lost rows; its counts stay, because the run did that work."""
    names = history.of_plan(record["plan"]).names & done
    totals = Totals.of(table.markers(names))
    n_erased = totals.numbers["erased"]
    is_whole = len(names) == record["shards"]["committed"]
    return {"erased": n_erased, "digest": totals.digest} if n_erased and is_whole else {}
