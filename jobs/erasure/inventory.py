"""The survey: what an output holds of recordings, looked at before anything is changed.

What is damaged, no recording, or beyond the reach of `erase` is refused here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.erasure.mentions import erasable_text, in_record, mentions, picked, plan_without, record_without, shards_of
from jobs.erasure.request import ErasureRequest
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.ledger import Ledger, table_objects
from jobs.tables.protocol import Marker, Plan, PlanHistory
from jobs.telemetry.progress import progress

REWRITTEN = ("_plans", "_commits", "runs")  # beside the tables


@dataclass
class Inventory:
    """What an output holds of recordings, as it was before anything was changed.

    Parameters
    ----------
    markers : dict
        By ledger: markers to rewrite, most of them with objects to rewrite.
    known : set of str
        Ids that have a row, or are planned.
    audio : set of str
        SHA-256 of their audio.
    sources : dict
        By id: other recordings that are read from what it names.
    begun, before : bool
        Whether an erasure was broken off here; whether there was one at all.
    """

    markers: dict[str, list[Marker]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    audio: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)
    begun: bool = False
    before: bool = False


def take_inventory(output: str, tables: list[Ledger], wanted: ErasureRequest) -> Inventory:
    """Read every table, plan, marker, record and page; change nothing.

    Raises
    ------
    ConfigError
        Where an id is no recording, or stands where nothing of ours is rewritten.
    SchemaError
        Where a table is not what was committed: to rewrite it would hide that.
    """
    found = Inventory()
    counted: set[str] = set()
    for table in tables:
        history, done = table.history(), table.done()
        markers = table.markers(history.names & done)
        counted |= {storage.join(output, place) for marker in markers for place in marker.objects.values()}
        with progress(f"look at {table.name}", len(markers)) as shown:
            for marker in markers:
                _see_shard(table, marker, wanted, found)
                shown.shard(sum(marker.rows.values()))
        replaced = [each for each in table.markers(done - history.names) if wanted.labelled(each.uri)]
        found.markers[table.name] = found.markers.get(table.name, []) + replaced
        for plan in history.plans:
            _see_plan(plan, wanted, found)
    for uri in filter(is_record, objects_below(output, "runs")):
        load_checksummed(storage.read_bytes(uri), uri)  # a damaged one is refused while nothing is changed
    _refuse_unknown(output, tables, wanted, found)
    _refuse_beyond_reach(output, counted, wanted)
    return found


def _see_shard(table: Ledger, marker: Marker, wanted: ErasureRequest, found: Inventory) -> None:
    now, n_rows = marker, 0
    for name in marker.objects:
        content = read(table, marker, name)
        now = table.recounted(now, name, content)
        rows, goes = rows_of(content, wanted)
        gone, stays = rows.filter(goes), rows.filter(pc.invert(goes))
        n_rows += len(gone)
        found.known |= set().union(*map(wanted.of, gone["utterance_id"].to_pylist()))
        if "audio_sha256" in rows.column_names:
            found.audio |= set(gone["audio_sha256"].to_pylist())
        for uri in pc.unique(stays["uri"]).to_pylist():
            for each in wanted.labelled(uri):
                found.sources[each] = stays["utterance_id"][pc.index(stays["uri"], uri).as_py()].as_py()
    found.begun |= now != marker
    found.before |= "erased" in now.detail
    if n_rows or now != marker or wanted.labelled(marker.uri):
        found.markers.setdefault(table.name, []).append(marker)


def _see_plan(plan: Plan, wanted: ErasureRequest, found: Inventory) -> None:
    found.known |= picked(plan, wanted)
    for shard in shards_of(plan_without(plan, wanted)):
        for source in shard.sources:
            found.sources |= dict.fromkeys(wanted.labelled(source.uri), f"what stands in {source.uri}")


def read(table: Ledger, marker: Marker, name: str) -> bytes:
    """An object of a shard, whatever it holds; SchemaError where it is gone."""
    uri = storage.join(table.output, marker.objects[name])
    try:
        return storage.read_bytes(uri)
    except storage.NotFoundError as error:
        raise SchemaError(
            f"{uri}: is gone; it was committed with {marker.rows[name]} rows. `verify` says more."
        ) from error


def rows_of(content: bytes, wanted: ErasureRequest) -> tuple[pa.Table, pa.ChunkedArray]:
    """What names the rows of a table, and which of them are to go."""
    file = pq.ParquetFile(io.BytesIO(content))
    columns = [name for name in ("utterance_id", "uri", "audio_sha256") if name in file.schema_arrow.names]
    rows = file.read(columns=columns)
    return rows, pc.match_substring_regex(rows["utterance_id"], wanted.rows)


def _refuse_beyond_reach(output: str, counted: set[str], wanted: ErasureRequest) -> None:
    """Refuse while something speaks of a recording that no marker counts, or that is none of ours."""
    tables = {stored.uri for stored in table_objects(output)} - counted
    for stored in storage.listing(output) or []:
        ours = stored.uri in counted or stored.uri.startswith(tuple(f"{output}/{name}/" for name in REWRITTEN))
        if ours or not (what := erasable_text(output, stored.uri, wanted)):
            continue
        remedy = "Remove it, then run the same command again."
        if stored.uri in tables:
            remedy = f"Its rows were never committed. Run `bonafide gc {output} --grace-hours 0` first; or {remedy}"
        raise ConfigError(f"{stored.uri}: {what}, and `erase` does not rewrite it. {remedy}")


def _refuse_unknown(output: str, tables: list[Ledger], wanted: ErasureRequest, found: Inventory) -> None:
    """Refuse ids that are no recordings: what looks like them is of others."""
    if found.sources:
        each, other = next(iter(found.sources.items()))
        raise ConfigError(
            f"{output}: {each} is where other recordings are read from, as {other}; no table can do without its name. "
            "Give the ids of recordings. A container that failed as a whole has none: repair it, or score the others "
            "into a new output."
        )
    lost = set(wanted.ids) - found.known
    if lost and found.before:
        # once rows are gone, totals and pages may be all that is left of an erasure that was broken off
        written = list(records(output, tables, wanted))
        found.begun |= any(now.get("digest") != record.get("digest") for _, _, record, now in written)
        markers = (marker.uri for each in found.markers.values() for marker in each)
        lost -= set().union(*map(wanted.labelled, markers), *(in_record(record, wanted) for _, _, record, _ in written))
        lost -= set().union(*(names for _, names in pages(output, wanted)))
    if lost and not found.begun:
        proof = _proof(output, ErasureRequest(sorted(lost))) if found.before else ""
        raise ConfigError(
            f"{output}: nothing of {', '.join(sorted(lost))} was here. Misspelt, or erased before{proof}."
        )


def _proof(output: str, wanted: ErasureRequest) -> str:
    """What is left where all was erased before, but the proof of it may have been broken off."""
    left, n_objects = mentions(output, wanted)
    return f": {left[0]}" if left else f": none of the {n_objects} objects mentions it"


def is_record(uri: str) -> bool:
    """Whether an object among the runs is a record; a page else."""
    return uri.endswith(".json")


def pages(output: str, wanted: ErasureRequest) -> Iterator[tuple[str, set[str]]]:
    """Pages of runs, and the recordings that each shows."""
    for uri in objects_below(output, "runs"):
        if not is_record(uri):
            yield uri, wanted.spoken_of(storage.read_bytes(uri).decode(errors="replace"))


def records(
    output: str, tables: list[Ledger], wanted: ErasureRequest
) -> Iterator[tuple[str, bytes, dict[str, Any], dict[str, Any]]]:
    """Records of runs: URI, bytes, content, and what the content should be by the markers as they are now."""
    histories = {table.name: (table, table.history(), table.done()) for table in tables}
    for uri in filter(is_record, objects_below(output, "runs")):
        content = storage.read_bytes(uri)
        record = load_checksummed(content, uri)
        now = record_without(record, wanted)
        if record.get("table") in histories:
            now |= _totals(*histories[record["table"]], record)
        yield uri, content, record, now


def _totals(table: Ledger, history: PlanHistory, done: set[str], record: dict[str, Any]) -> dict[str, Any]:
    """Digest of a record whose plan lost rows; the counts stay: so much was done."""
    names = {shard.name for shard in history.of_plan(record["plan"])} & done
    markers = table.markers(names)
    erased = sum(marker.detail.get("erased", 0) for marker in markers)
    whole = len(names) == record["shards"]["committed"]
    return {"erased": erased, "digest": Ledger.digest(markers)} if erased and whole else {}


def objects_below(output: str, *folders: str) -> list[str]:
    """URIs of all objects of a folder of the output."""
    return [stored.uri for stored in storage.listing(storage.join(output, *folders)) or []]
