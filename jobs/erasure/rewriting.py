"""Rewriting: takes rows and mentions out of tables, markers, plans, records and pages, in place.

Each object is replaced by a conditional PUT, so that no write of another command is lost.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from types import MappingProxyType

import pyarrow.compute as pc

from jobs import storage
from jobs.erasure.inventory import Inventory, read_object
from jobs.erasure.redaction import redact_marker, redact_plan, redact_texts
from jobs.erasure.request import ErasureRequest
from jobs.erasure.runs import objects_below, pages, records
from jobs.errors import RunAgain
from jobs.tables.checksummed_json import dump_checksummed
from jobs.tables.ledger import Ledger
from jobs.tables.parquet import read_rows
from jobs.tables.protocol import PLAN_NAME, Marker, Plan
from jobs.telemetry.progress import progress

log = logging.getLogger(__name__)


def rewrite_table(table: Ledger, inventory: Inventory, request: ErasureRequest) -> int:
    """Remove rows from the objects of a ledger, then from its markers; return how many rows were removed.

    A marker's label goes before the rows, which may be all that says what file their ids are of.
    """
    n_rows = 0
    current = table.history().names
    markers = sorted(inventory.markers.get(table.name, []), key=lambda marker: marker.name in current)
    with progress(f"erase from {table.name}", len(markers)) as bar:
        for marker in markers:
            uri = storage.join(table.output, "_commits", table.name, f"{marker.name}.json")
            rewritten = named = redact_marker(marker, request)
            _replace_object(uri, marker.to_json(), named.to_json())
            for name in marker.objects if marker.name in current else ():
                rewritten = table.recounted(rewritten, name, _rewrite_rows(table, marker, name, request))
            _replace_object(uri, named.to_json(), rewritten.to_json())
            n_rows += sum(marker.rows.values()) - sum(rewritten.rows.values())
            bar.shard(sum(marker.rows.values()))
    return n_rows


def rewrite_plans(table: Ledger, request: ErasureRequest) -> None:
    """Take recordings out of the plans of a ledger.

    This is the last step but the proof: until then, plans say where recordings lie that a list gave their ids.
    """
    for uri in filter(PLAN_NAME.search, objects_below(table.output, "_plans", table.name)):
        plan = Plan.from_json(storage.read_bytes(uri), uri)
        _replace_object(uri, plan.to_json(), redact_plan(plan, request).to_json())


def _rewrite_rows(table: Ledger, marker: Marker, name: str, request: ErasureRequest) -> bytes:
    """Remove rows and mentions from an object of a shard, if it has any of the recordings; return its content."""
    uri = storage.join(table.output, marker.objects[name])
    stored = storage.stat(uri)
    content = read_object(table, marker, name)
    table.recounted(marker, name, content)  # refuses an object that was changed since the inventory
    if stored is None:
        return content
    rows = read_rows(content)
    kept = redact_texts(rows.filter(pc.invert(request.rows_of(rows["utterance_id"]))), request)
    if kept.equals(rows):
        return content
    content = table.without(marker, name, kept)
    if storage.put(uri, content, stored.etag) is not None:
        raise RunAgain(f"{uri}: was replaced meanwhile; run the same command again.")
    return content


def remove_pages(output: str, request: ErasureRequest) -> list[str]:
    """Remove pages that mention the recordings.

    Returns
    -------
    list of str
        Runs whose pages were removed.
    """
    runs = []
    for uri, ids in pages(output, request):
        if ids:
            log.info("removing %s: it mentions an erased recording", uri)
            storage.remove(uri)
            runs.append(storage.name_of(uri).removesuffix(".html"))
    return runs


def rewrite_records(
    output: str,
    tables: list[Ledger],
    request: ErasureRequest,
    inventory: Inventory,
    settled: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Update the digests in run records to the rows that are left, and redact the labels of the recordings.

    Returns
    -------
    dict of str
        What is settled by that: SHA-256 of the records as they are now, by URI.
    """
    now = {}
    for record in records(output, tables, request, inventory.affected, settled):
        content = record.content
        if record.redacted != record.stored:
            content = dump_checksummed(record.redacted, indent=1)
            _replace_object(record.uri, record.content, content)
        now[record.uri] = hashlib.sha256(content).hexdigest()
    return now


def _replace_object(uri: str, before: bytes, after: bytes) -> None:
    """Replace an object if it still holds the bytes that were read."""
    if before == after:
        return
    stored = storage.stat(uri)
    if stored is None or storage.read_bytes(uri) != before or storage.put(uri, after, stored.etag) is not None:
        raise RunAgain(f"{uri}: was changed meanwhile; run the same command again.")
