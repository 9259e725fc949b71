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
    contents_of,
    everything,
    ids_in_record,
    is_rewritten,
    named_folders,
    problem_with,
    recordings_in_plan,
    sources_named,
    unread,
)
from jobs.erasure.own_objects import OWN_NAMES, read_own
from jobs.erasure.proof import describe_remaining
from jobs.erasure.redaction import redact_marker, redact_plan, redact_texts
from jobs.erasure.request import ErasureRequest
from jobs.erasure.runs import record_uris, records
from jobs.erasure.tables import TEXT_COLUMNS, files_named
from jobs.inputs.requests import answers
from jobs.storage import Stored
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.erasures import is_unfinished
from jobs.tables.ledger import Ledger, table_objects
from jobs.tables.protocol import Marker, Plan
from jobs.tables.shard_objects import Contents, ShardObjects
from jobs.tables.steps import read
from jobs.telemetry.progress import progress

SHOWN_USERS = 20  # of the recordings that are read from one file


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
    same_audio : dict
        By such a hash, other ids that have the same.
    affected : dict
        By ledger, the shards that lost rows or will, by this erasure or by an earlier one.
    containers : dict
        Requested ids of files that other recordings are read from; with the ids of these, or the first of many.
    is_unfinished : bool
        An erasure was interrupted here.
    has_erasures : bool
        An erasure was begun here before, finished or not.
    """

    markers: dict[str, list[Marker]] = field(default_factory=dict)
    present_ids: set[str] = field(default_factory=set)
    audio_hashes: set[str] = field(default_factory=set)
    same_audio: dict[str, set[str]] = field(default_factory=dict)
    affected: dict[str, set[str]] = field(default_factory=dict)
    containers: dict[str, set[str]] = field(default_factory=dict)
    is_unfinished: bool = False
    has_erasures: bool = False

    def add_user(self, container: str, user: str) -> None:
        """Note a recording that is read from a file of a requested id."""
        users = self.containers.setdefault(container, set())
        if len(users) < SHOWN_USERS:
            users.add(user)


def take_inventory(
    output: str, tables: list[Ledger], request: ErasureRequest, slots: set[str] | None = None
) -> Inventory:
    """Read every table, plan, marker, record and page; change nothing.

    Parameters
    ----------
    slots : set of str, optional
        Where the recordings are by the plans: read first, so that rows of the same audio are found in the same pass.

    Raises
    ------
    ConfigError
        If an id is no recording, or an object that `erase` does not rewrite mentions one.
    SchemaError
        If a table is not what was committed: rewriting it would hide the damage.
    """
    inventory = Inventory()
    committed_uris: set[str] = set()
    objects = ShardObjects(output)
    hashes = _hashes_of(tables, objects, slots or set(), request)
    for table in tables:
        history, done = table.history(), table.done()
        names = history.names & done
        with progress(f"look at {table.name}", len(names)) as bar:
            for marker, contents in objects.of(table.markers(names)):
                committed_uris.update(storage.join(output, place) for place in marker.objects.values())
                _add_shard(inventory, table, marker, contents, request, hashes)
                bar.shard(sum(marker.rows.values()))
        superseded = [each for each in table.markers(done - history.names) if redact_marker(each, request) != each]
        inventory.markers[table.name] = inventory.markers.get(table.name, []) + superseded
        for plan in history.plans:
            _add_plan(inventory, plan, request)
    _find_same_audio(inventory, tables, objects, inventory.audio_hashes - hashes, request)
    for uri, content in answers(_with_content, record_uris(output)):
        load_checksummed(content, uri)  # refuses a damaged record while nothing is changed
    _refuse_containers(output, inventory)
    _refuse_unknown_ids(output, tables, request, inventory)
    _refuse_unreachable_mentions(output, committed_uris, request)
    return inventory


def _with_content(uri: str) -> tuple[str, bytes]:
    return uri, storage.read_bytes(uri)


def _hashes_of(tables: list[Ledger], objects: ShardObjects, slots: set[str], request: ErasureRequest) -> set[str]:
    """Return the hashes of audio that is to be erased, from the shards that have it by the plans."""
    hashes: set[str] = set()
    for table in tables if slots else ():
        shards = table.history().current.having(slots).committed(table.done())
        for marker, contents in objects.of(table.markers(shards.names), "embeddings"):
            if "embeddings" in marker.objects:
                content = present(table, marker, "embeddings", contents)
                table.recounted(marker, "embeddings", content)  # refuses a damaged one
                rows, is_requested = identify_rows(content, request)
                hashes |= set(rows.filter(is_requested)["audio_sha256"].to_pylist())
    return hashes


def _find_same_audio(
    inventory: Inventory, tables: list[Ledger], objects: ShardObjects, hashes: set[str], request: ErasureRequest
) -> None:
    """Look once more for the audio of rows that no plan had told of."""
    for table in tables if hashes else ():
        if table.is_scores:
            continue
        for marker, contents in objects.of(table.committed(), "embeddings"):
            if "embeddings" in marker.objects:
                rows, is_requested = identify_rows(present(table, marker, "embeddings", contents), request)
                _add_same_audio(inventory, rows.filter(pc.invert(is_requested)), hashes)


def _add_same_audio(inventory: Inventory, others: pa.Table, hashes: set[str]) -> None:
    same = others.filter(pc.is_in(others["audio_sha256"], pa.array(sorted(hashes), pa.string())))
    for row in same.select(["utterance_id", "audio_sha256"]).to_pylist():
        inventory.same_audio.setdefault(row["audio_sha256"], set()).add(row["utterance_id"])


def _add_shard(
    inventory: Inventory, table: Ledger, marker: Marker, contents: Contents, request: ErasureRequest, hashes: set[str]
) -> None:
    recounted, n_rows, has_mentions = marker, 0, False
    for name in marker.objects:
        content = present(table, marker, name, contents)
        recounted = table.recounted(recounted, name, content)
        rows, is_requested = identify_rows(content, request)
        requested, others = rows.filter(is_requested), rows.filter(pc.invert(is_requested))
        n_rows += len(requested)
        has_mentions |= redact_texts(others, request) is not others
        inventory.present_ids |= set().union(*map(request.ids_of, requested["utterance_id"].to_pylist()))
        if "audio_sha256" in rows.column_names:
            inventory.audio_hashes |= set(requested["audio_sha256"].to_pylist())
        if hashes and name == "embeddings":
            _add_same_audio(inventory, others, hashes)
        for each, user in files_named(others, request):
            inventory.add_user(each, user)
    inventory.is_unfinished |= recounted != marker
    inventory.has_erasures |= "erased" in recounted.detail
    if n_rows or recounted != marker or "erased" in marker.detail:
        inventory.affected.setdefault(table.name, set()).add(marker.name)
    if n_rows or has_mentions or recounted != marker or redact_marker(marker, request) != marker:
        inventory.markers.setdefault(table.name, []).append(marker)


def _add_plan(inventory: Inventory, plan: Plan, request: ErasureRequest) -> None:
    inventory.present_ids |= recordings_in_plan(plan, request)
    for user, each in sources_named(redact_plan(plan, request), request):
        inventory.add_user(each, user)


def read_object(table: Ledger, marker: Marker, name: str) -> bytes:
    """Read an object of a shard without checking its content; raise SchemaError if it does not exist."""
    return present(table, marker, name, {name: read(table.output, marker.objects[name])})


def present(table: Ledger, marker: Marker, name: str, contents: Contents) -> bytes:
    """Return the content of an object of a shard; raise SchemaError if it does not exist."""
    content = contents[name]
    if content is None:
        uri = storage.join(table.output, marker.objects[name])
        raise SchemaError(f"{uri}: is gone; it was committed with {marker.rows[name]} rows. `verify` says more.")
    return content


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
    if problems := unread(output):
        remedy = "Remove it, or put what it leads to, or hides, in its place where this user may read it"
        raise ConfigError(f"{problems[0]}. {remedy}; then run the same command again.")
    if folders := named_folders(output, request):
        raise ConfigError(f"{folders[0]}. Remove the folder, then run the same command again.")
    drafts = {stored.uri for stored in storage.drafts(output)}  # they are removed
    objects = (each for each in everything(output) if each.uri not in drafts)
    others = (each for each in objects if _may_not_be_ours(output, each, uncommitted))
    for stored, content in contents_of(output, others):
        name = stored.uri.removeprefix(f"{output}/")
        is_ours = is_rewritten(name) and stored.uri not in uncommitted  # a record or page, if it is one
        if is_ours and isinstance(content, bytes) and read_own(name, content) is not None:
            continue
        if not (problem := problem_with(output, stored, content, request)):
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


def _may_not_be_ours(output: str, stored: Stored, uncommitted: set[str]) -> bool:
    """Return True unless the name of an object says that it is rewritten, whatever it holds."""
    name = stored.uri.removeprefix(f"{output}/")
    return not is_rewritten(name) or name.startswith("runs/") or stored.uri in uncommitted


def _refuse_containers(output: str, inventory: Inventory) -> None:
    """Refuse ids of files that other recordings are read from: their rows and plans need the name."""
    if inventory.containers:
        name, found = next(iter(inventory.containers.items()))
        users = ", ".join(sorted(found))
        raise ConfigError(
            f"{output}: other recordings, {users}, are read from {name}, so the tables must keep its name. Give the "
            "ids of recordings; if it is one that was given another id since, erase all of these ids at once. A "
            "container that failed as a whole has none: repair it, or score the others into a new output."
        )


def _refuse_unknown_ids(output: str, tables: list[Ledger], request: ErasureRequest, inventory: Inventory) -> None:
    """Refuse ids that are no recordings; an interrupted erasure may have left an id in records only.

    Pages do not count: they go before records are written again, and a page holds words and numbers that may be ids.
    """
    unknown = set(request.asked) - inventory.present_ids
    if unknown and inventory.has_erasures:
        stored_records = list(records(output, tables, request, inventory.affected))
        inventory.is_unfinished |= any(
            each.redacted.get("digest") != each.stored.get("digest") for each in stored_records
        )
        marker_labels = (marker.uri for markers in inventory.markers.values() for marker in markers)
        unknown -= set().union(*map(request.ids_in_label, marker_labels))
        unknown -= set().union(*(ids_in_record(each.stored, request) for each in stored_records))
    if unknown and not inventory.is_unfinished and not is_unfinished(output, request.asked):
        unknown_request = ErasureRequest(sorted(unknown), request.roots)
        proof = f": {describe_remaining(output, unknown_request)}" if inventory.has_erasures else ""
        raise ConfigError(
            f"{output}: holds no recording {', '.join(unknown_request.ids)}. The id is misspelt, or the recording was "
            f"erased before{proof}."
        )
