"""Run files: the records and pages under `runs/`, and the recordings that they name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jobs import storage
from jobs.erasure.own_objects import read_own
from jobs.erasure.redaction import redact_record
from jobs.erasure.request import ErasureRequest
from jobs.errors import RunAgain
from jobs.inputs.requests import objects
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PlanHistory
from jobs.tables.totals import Totals

PAGE_BYTES = 8 << 20  # a record or page has less, as a rule


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
    for uri, content in _contents(each for each in objects_below(output, "runs") if each.endswith(".html")):
        page = None if content is None else read_own(uri.removeprefix(f"{output}/"), content)
        if isinstance(page, str):
            yield uri, request.ids_in_text(page)


def lacking_pages(output: str, tables: list[Ledger]) -> list[str]:
    """Return the runs that scored into these tables, and whose records ask for a page that is not there."""
    there = objects_below(output, "runs")
    missing = {uri.removesuffix(".json") for uri in there if uri.endswith(".json")}
    missing -= {uri.removesuffix(".html") for uri in there if uri.endswith(".html")}
    scored = {table.name for table in tables if table.is_scores}
    found = [load_checksummed(text, uri) for uri, text in _contents(f"{uri}.json" for uri in sorted(missing)) if text]
    return [each["run_id"] for each in found if each.get("table") in scored and "players" in each.get("settings", {})]


def records(
    output: str,
    tables: list[Ledger],
    request: ErasureRequest,
    affected: Mapping[str, Set[str]] = MappingProxyType({}),
    settled: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[StoredRecord]:
    """Yield each run's record, as it is and as the current markers say that it should be.

    Parameters
    ----------
    tables : list of Ledger
        Whose markers are read.
    affected : mapping
        By ledger, the shards that lost rows; only plans that have one of them have another digest.
    settled : mapping
        SHA-256 by URI of records that have their digests already.
    """
    states = {table.name: (table, table.history(), table.done()) for table in tables}
    for uri, content in _contents(record_uris(output)):
        if content is None:
            raise RunAgain(f"{uri}: was removed meanwhile; run the same command again.")
        record = load_checksummed(content, uri)
        redacted = redact_record(record, request)
        is_settled = settled.get(uri) == hashlib.sha256(content).hexdigest()
        if not is_settled and record.get("table") in states and affected.get(record["table"]):
            redacted |= _erasure_totals(*states[record["table"]], record, affected[record["table"]])
        yield StoredRecord(uri, content, record, redacted)


def _contents(uris: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield objects with their content, several read at once; None for one that is gone."""

    def content(uri: str) -> tuple[str, bytes | None]:
        try:
            return uri, storage.read_bytes(uri)
        except storage.NotFoundError:
            return uri, None

    return (found for _, found in objects(content, uris, lambda _: PAGE_BYTES))


def _erasure_totals(
    table: Ledger, history: PlanHistory, done: Set[str], record: dict[str, Any], affected: Set[str]
) -> dict[str, Any]:
    """Return the new digest of a record whose plan lost rows; its counts stay, because the run did that work."""
    names = history.of_plan(record["plan"]).names & done
    if affected.isdisjoint(names):
        return {}
    totals = Totals.of(table.markers(names))
    n_erased = totals.numbers["erased"]
    is_whole = len(names) == record["shards"]["committed"]
    return {"erased": n_erased, "digest": totals.digest} if n_erased and is_whole else {}
