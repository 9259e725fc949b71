"""The inventory: everything that an output holds of the recordings, read before anything is changed.

Damaged objects, ids that are no recordings, and mentions in objects that `erase` cannot rewrite are refused here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.erasure.mentions import (
    ids_in_record,
    is_rewritten,
    named_folders,
    problem_with,
    recordings_in_plan,
    sources_named,
    unread_links,
)
from jobs.erasure.own_objects import OWN_NAMES, read_own
from jobs.erasure.proof import describe_remaining
from jobs.erasure.redaction import redact_marker, redact_plan, redact_texts
from jobs.erasure.request import ErasureRequest
from jobs.erasure.runs import record_uris, records
from jobs.erasure.tables import TEXT_COLUMNS, files_named
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.ledger import Ledger, table_objects
from jobs.tables.protocol import Marker, Plan
from jobs.telemetry.progress import progress


@dataclass
class Inventory:
    """The recordings as an output holds them, before anything is changed.

    Parameters
    ----------
    markers : dict
        Markers to rewrite by ledger; most of them have objects to rewrite.
    present_ids : set of str
        Requested ids that have a row or are planned.
    audio_hashes : set of str
        SHA-256 of their audio.
    containers : dict
        Requested ids that are no recordings, but files that other recordings are read from; with one such recording.
    is_unfinished : bool
        An erasure was interrupted here.
    has_erasures : bool
        An erasure was begun here before, finished or not.
    """

    markers: dict[str, list[Marker]] = field(default_factory=dict)
    present_ids: set[str] = field(default_factory=set)
    audio_hashes: set[str] = field(default_factory=set)
    containers: dict[str, str] = field(default_factory=dict)
    is_unfinished: bool = False
    has_erasures: bool = False


def take_inventory(output: str, tables: list[Ledger], request: ErasureRequest) -> Inventory:
    """Read every table, plan, marker, record and page; change nothing.

    Raises
    ------
    ConfigError
        If an id is no recording, or an object that `erase` does not rewrite mentions one.
    SchemaError
        If a table is not what was committed: rewriting it would hide the damage.
    """
    inventory = Inventory()
    committed_uris: set[str] = set()
    for table in tables:
        history, done = table.history(), table.done()
        names = history.names & done
        with progress(f"look at {table.name}", len(names)) as bar:
            for marker in table.markers(names):
                committed_uris.update(storage.join(output, place) for place in marker.objects.values())
                _add_shard(inventory, table, marker, request)
                bar.shard(sum(marker.rows.values()))
        superseded = [each for each in table.markers(done - history.names) if redact_marker(each, request) != each]
        inventory.markers[table.name] = inventory.markers.get(table.name, []) + superseded
        for plan in history.plans:
            _add_plan(inventory, plan, request)
    for uri in record_uris(output):
        load_checksummed(storage.read_bytes(uri), uri)  # refuses a damaged record while nothing is changed
    _refuse_containers(output, inventory)
    _refuse_unknown_ids(output, tables, request, inventory)
    _refuse_unreachable_mentions(output, committed_uris, request)
    return inventory


def _add_shard(inventory: Inventory, table: Ledger, marker: Marker, request: ErasureRequest) -> None:
    recounted, n_rows, has_mentions = marker, 0, False
    for name in marker.objects:
        content = read_object(table, marker, name)
        recounted = table.recounted(recounted, name, content)
        rows, is_requested = identify_rows(content, request)
        requested, others = rows.filter(is_requested), rows.filter(pc.invert(is_requested))
        n_rows += len(requested)
        has_mentions |= redact_texts(others, request) is not others
        inventory.present_ids |= set().union(*map(request.ids_of, requested["utterance_id"].to_pylist()))
        if "audio_sha256" in rows.column_names:
            inventory.audio_hashes |= set(requested["audio_sha256"].to_pylist())
        for each, user in files_named(others, request):
            inventory.containers[each] = user
    inventory.is_unfinished |= recounted != marker
    inventory.has_erasures |= "erased" in recounted.detail
    if n_rows or has_mentions or recounted != marker or redact_marker(marker, request) != marker:
        inventory.markers.setdefault(table.name, []).append(marker)


def _add_plan(inventory: Inventory, plan: Plan, request: ErasureRequest) -> None:
    inventory.present_ids |= recordings_in_plan(plan, request)
    for uri, each in sources_named(redact_plan(plan, request), request):
        inventory.containers[each] = f"those that are planned of {uri}"


def read_object(table: Ledger, marker: Marker, name: str) -> bytes:
    """Read an object of a shard without checking its content; raise SchemaError if it does not exist."""
    uri = storage.join(table.output, marker.objects[name])
    try:
        return storage.read_bytes(uri)
    except storage.NotFoundError as error:
        raise SchemaError(
            f"{uri}: is gone; it was committed with {marker.rows[name]} rows. `verify` says more."
        ) from error


def identify_rows(content: bytes, request: ErasureRequest) -> tuple[pa.Table, pa.ChunkedArray]:
    """Return the columns that name recordings, a row's own and others, and a mask of the rows to erase."""
    file = pq.ParquetFile(io.BytesIO(content))
    wanted = ("utterance_id", "uri", "audio_sha256", *sorted(TEXT_COLUMNS))
    columns = [name for name in wanted if name in file.schema_arrow.names]
    rows = file.read(columns=columns)
    return rows, request.rows_of(rows["utterance_id"])


def _refuse_unreachable_mentions(output: str, committed_uris: set[str], request: ErasureRequest) -> None:
    """Refuse while an object mentions a recording, but no marker counts it and bonafide does not rewrite it."""
    uncommitted = {stored.uri for stored in table_objects(output)} - committed_uris
    if links := unread_links(output):
        raise ConfigError(f"{links[0]}. Remove it, then run the same command again.")
    if folders := named_folders(output, request):
        raise ConfigError(f"{folders[0]}. Remove the folder, then run the same command again.")
    for stored in storage.listing(output) or []:
        name = stored.uri.removeprefix(f"{output}/")
        is_ours = is_rewritten(name) and stored.uri not in uncommitted
        if name.startswith("runs/") and is_ours:
            is_ours = read_own(name, storage.read_bytes(stored.uri)) is not None
        if is_ours or not (problem := problem_with(output, stored, request)):
            continue
        remedy = (
            "bonafide did not write it. Delete it, or rewrite it without the recording; then run the same command "
            "again."
        )
        if OWN_NAMES.fullmatch(name):
            remedy = (
                "It has the name of an object of bonafide's, and is damaged or of another release. Use the release "
                "that wrote it, or restore it from a copy; then run the same command again."
            )
        if stored.uri in uncommitted and is_rewritten(name):
            remedy = (
                f"Its rows were never committed. Run `bonafide gc {output} --grace-hours 0` first, or remove it; then "
                "run the same command again."
            )
        raise ConfigError(f"{stored.uri}: {problem}, and `erase` does not rewrite it. {remedy}")


def _refuse_containers(output: str, inventory: Inventory) -> None:
    """Refuse ids of files that other recordings are read from: their rows and plans need the name."""
    if inventory.containers:
        name, user = next(iter(inventory.containers.items()))
        raise ConfigError(
            f"{output}: other recordings, such as {user}, are read from {name}, so the tables must keep its name. "
            "Give the ids of recordings. A container that failed as a whole has none: repair it, or score the others "
            "into a new output."
        )


def _refuse_unknown_ids(output: str, tables: list[Ledger], request: ErasureRequest, inventory: Inventory) -> None:
    """Refuse ids that are no recordings; an interrupted erasure may have left an id in records only.

    Pages do not count: they go before records are written again, and a page holds words and numbers that may be ids.
    """
    unknown = set(request.ids) - inventory.present_ids
    if unknown and inventory.has_erasures:
        stored_records = list(records(output, tables, request))
        inventory.is_unfinished |= any(
            each.redacted.get("digest") != each.stored.get("digest") for each in stored_records
        )
        marker_labels = (marker.uri for markers in inventory.markers.values() for marker in markers)
        unknown -= set().union(*map(request.ids_in_label, marker_labels))
        unknown -= set().union(*(ids_in_record(each.stored, request) for each in stored_records))
    if unknown and not inventory.is_unfinished:
        unknown_request = ErasureRequest(sorted(unknown), request.roots)
        proof = f": {describe_remaining(output, unknown_request)}" if inventory.has_erasures else ""
        raise ConfigError(
            f"{output}: holds no recording {', '.join(unknown_request.ids)}. The id is misspelt, or the recording was "
            f"erased before{proof}."
        )
