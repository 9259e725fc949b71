"""erase: take every row and every mention of a recording out of an output, and prove it.

First all of it is looked at: what is damaged, unknown or cannot be erased is refused before anything is changed. Then
tables, markers, plans and records are rewritten in place, each by a conditional PUT, in an order that leaves no row
behind if it is broken off: the rows first, then what counts them. The same command then ends what was begun. Pages
that show the recording are removed. At the end every object under the output is read again.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.errors import ConfigError, SchemaError
from jobs import compacted, ledger, storage
from jobs.compacted import objects_in
from jobs.errors import RunAgain
from jobs.ledger import KINDS, Ledger
from jobs.progress import progress
from jobs.protocol import PLAN_NAME, Book, Marker, Plan
from jobs.sealed import seal, unseal
from jobs.traces import in_record, matter, picked, plan_without, record_without, shards_of, traces
from jobs.wanted import ERASED, Wanted

REWRITTEN = ("_plans", "_commits", "runs")  # beside the tables

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Remove recordings from an output: rows, plans, records and pages, with their channels and excerpts; prove it."""

    utterance_id: Annotated[tuple[str, ...], "ids of the recordings, as the tables have them"] = field(
        metadata={"positional": True}
    )
    output: Annotated[str, "folder or prefix that holds the tables"]
    dry_run: Annotated[bool, "only say what would be removed"] = False

    def __post_init__(self) -> None:
        if not all(self.utterance_id):
            raise ConfigError("an empty utterance id; expected those of the tables.")


def run(settings: Settings) -> int:
    """Erase, read everything again, and say what was found; return the exit code.

    Raises
    ------
    ConfigError
        Where an id is no recording of the output, or a run is not finished. Nothing was changed then.
    SchemaError
        Where a table is damaged, and nothing was changed; or where something of a recording is left in the end.
    RunAgain
        Where another command wrote into the output meanwhile.
    """
    started = time.time()
    output = storage.normal(settings.output).rstrip("/")
    if compacted.is_copy(output):
        first = next(iter(compacted.Copy(output).look().values()))
        raise ConfigError(f"{output}: is a copy of {first.fold.output}; erase there, then run `compact` again.")
    wanted = Wanted(settings.utterance_id)
    tables = _tables(output)
    if not tables:
        raise ConfigError(f"{output}: no tables of ours here. Give the --output of a run.")
    planned = _planned(tables)
    if unfinished := _unfinished(tables):
        raise ConfigError(f"{unfinished} Run the command that began them to its end, then erase.")
    found = look(output, tables, wanted)
    _say_copies(tables, wanted, found.audio)
    if settings.dry_run:
        here, _ = traces(output, wanted)
        print("\n".join([*here, f"{len(here)} objects mention {wanted}"]))
        return 0
    n_rows = sum(_erase(table, found, wanted) for table in tables)
    n_pages = _remove_pages(output, wanted)
    for uri, content, record, now in _records(output, tables, wanted):
        if now != record:
            _rewrite(uri, content, seal(now, indent=1))
    # a run that planned after the first look may bring back what was erased before it
    now_here = _tables(output)
    if _unfinished(now_here) or _planned(now_here) != planned:
        raise RunAgain(f"{output}: another run planned shards meanwhile. Let it end, then run the same command again.")
    storage.abandon_uploads(output, started)  # drafts of writers that were killed: a listing does not show them
    left, n_objects = traces(output, wanted)
    if left:
        raise SchemaError(
            f"{left[0]}. So {len(left)} of {n_objects} objects; all else of {wanted} is erased. Remove what is none of "
            "ours and run the same command again; where it is a table of ours, score into a new output."
        )
    print(
        f"erased {n_rows} rows of {wanted}, and {n_pages} pages; read again: none of the {n_objects} objects under "
        f"{output} mentions it"
    )
    print(
        "not reached: the recording itself (a loose file that is still in the archive is embedded again by the very "
        "next run, a member of a container once its container changed, and everything by another encoder or in a new "
        "output), older versions of objects in a versioned bucket, files that were exported or copied from here; a "
        "copy that `compact` keeps, until it runs again"
    )
    return 0


def _tables(output: str) -> list[Ledger]:
    return [Ledger(output, kind, key) for kind in KINDS for key in ledger.keys(output, kind)]


def _planned(tables: list[Ledger]) -> dict[str, set[str]]:
    return {table.name: table.book().names for table in tables}


def _unfinished(tables: list[Ledger]) -> str:
    """What is planned and not done; empty where nothing is."""
    for table in tables:
        if left := table.book().names - table.done():
            return f"{table.output}: {len(left)} shards of {table.name} are planned, not done, and may be in the works."
    return ""


@dataclass
class Look:
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


def look(output: str, tables: list[Ledger], wanted: Wanted) -> Look:
    """Read every table, plan, marker, record and page; change nothing.

    Raises
    ------
    ConfigError
        Where an id is no recording, or stands where nothing of ours is rewritten.
    SchemaError
        Where a table is not what was committed: to rewrite it would hide that.
    """
    found = Look()
    counted: set[str] = set()
    for table in tables:
        book, done = table.book(), table.done()
        markers = table.markers(book.names & done)
        counted |= {storage.join(output, place) for marker in markers for place in marker.objects.values()}
        with progress(f"look at {table.name}", len(markers)) as shown:
            for marker in markers:
                _look_at_shard(table, marker, wanted, found)
                shown.shard(sum(marker.rows.values()))
        replaced = [each for each in table.markers(done - book.names) if wanted.labelled(each.uri)]
        found.markers[table.name] = found.markers.get(table.name, []) + replaced
        for plan in book.plans:
            _look_at_plan(plan, wanted, found)
    _refuse_unknown(output, tables, wanted, found)
    _refuse_beyond_reach(output, counted, wanted)
    return found


def _look_at_shard(table: Ledger, marker: Marker, wanted: Wanted, found: Look) -> None:
    now, n_rows = marker, 0
    for name in marker.objects:
        content = _read(table, marker, name)
        now = table.recounted(now, name, content)
        rows, goes = _rows_of(content, wanted)
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


def _look_at_plan(plan: Plan, wanted: Wanted, found: Look) -> None:
    found.known |= picked(plan, wanted)
    for shard in shards_of(plan_without(plan, wanted)):
        for source in shard.sources:
            found.sources |= dict.fromkeys(wanted.labelled(source.uri), f"what stands in {source.uri}")


def _read(table: Ledger, marker: Marker, name: str) -> bytes:
    uri = storage.join(table.output, marker.objects[name])
    try:
        return storage.read_bytes(uri)
    except storage.NotFoundError as error:
        raise SchemaError(
            f"{uri}: is gone; it was committed with {marker.rows[name]} rows. `verify` says more."
        ) from error


def _rows_of(content: bytes, wanted: Wanted) -> tuple[pa.Table, pa.ChunkedArray]:
    """What names the rows of a table, and which of them are to go."""
    file = pq.ParquetFile(io.BytesIO(content))
    columns = [name for name in ("utterance_id", "uri", "audio_sha256") if name in file.schema_arrow.names]
    rows = file.read(columns=columns)
    return rows, pc.match_substring_regex(rows["utterance_id"], wanted.rows)


def _refuse_beyond_reach(output: str, counted: set[str], wanted: Wanted) -> None:
    """Refuse while something speaks of a recording that no marker counts, or that is none of ours."""
    tables = {stored.uri for stored in objects_in(output)} - counted
    for stored in storage.listing(output) or []:
        ours = stored.uri in counted or stored.uri.startswith(tuple(f"{output}/{name}/" for name in REWRITTEN))
        if ours or not (what := matter(output, stored.uri, wanted)):
            continue
        remedy = "Remove it, then run the same command again."
        if stored.uri in tables:
            remedy = f"Its rows were never committed. Run `bonafide gc {output} --grace-hours 0` first; or {remedy}"
        raise ConfigError(f"{stored.uri}: {what}, and `erase` does not rewrite it. {remedy}")


def _refuse_unknown(output: str, tables: list[Ledger], wanted: Wanted, found: Look) -> None:
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
        records = list(_records(output, tables, wanted))
        found.begun |= any(now["digest"] != record["digest"] for _, _, record, now in records if "digest" in now)
        markers = (marker.uri for each in found.markers.values() for marker in each)
        lost -= set().union(*map(wanted.labelled, markers), *(in_record(record, wanted) for _, _, record, _ in records))
        lost -= set().union(*(names for _, names in _pages(output, wanted)))
    if lost and not found.begun:
        raise ConfigError(f"{output}: nothing of {', '.join(sorted(lost))} was here. Misspelt, or erased before.")


def _say_copies(tables: list[Ledger], wanted: Wanted, audio: set[str]) -> None:
    """Name other rows of the same audio: whoever wants a voice gone wants them gone, too.

    Impossible it is where the rows are gone already, as after an erasure that was broken off, and for audio that was
    encoded or cut otherwise: its bytes are others.
    """
    same: dict[str, set[str]] = {}
    for table in tables if audio else ():
        if not table.name.startswith("embeddings-"):
            continue
        for marker in table.committed():
            for batch in table.batches(marker, "embeddings", ["utterance_id", "audio_sha256"]):
                for row in batch.filter(pc.is_in(batch["audio_sha256"], pa.array(sorted(audio)))).to_pylist():
                    if not wanted.of(row["utterance_id"]):
                        same.setdefault(row["audio_sha256"], set()).add(row["utterance_id"])
    for others in same.values():
        print(f"the same audio stands under other ids, which are not erased: {', '.join(sorted(others))}")


def _erase(table: Ledger, found: Look, wanted: Wanted) -> int:
    """Take rows out of the objects of a ledger, then what its markers and plans say of them; return how many."""
    n_rows = 0
    markers = found.markers.get(table.name, [])
    current = table.book().names
    with progress(f"erase from {table.name}", len(markers)) as shown:
        for marker in markers:
            now = replace(marker, uri=ERASED) if wanted.labelled(marker.uri) else marker
            for name in marker.objects if marker.name in current else ():
                now = table.recounted(now, name, _erase_rows(table, marker, name, wanted))
            uri = storage.join(table.output, "_commits", table.name, f"{marker.name}.json")
            _rewrite(uri, marker.to_json(), now.to_json())
            n_rows += sum(marker.rows.values()) - sum(now.rows.values())
            shown.shard(sum(marker.rows.values()))
    for uri in filter(PLAN_NAME.search, _of(table.output, "_plans", table.name)):
        plan = Plan.from_json(storage.read_bytes(uri), uri)
        _rewrite(uri, plan.to_json(), plan_without(plan, wanted).to_json())
    return n_rows


def _erase_rows(table: Ledger, marker: Marker, name: str, wanted: Wanted) -> bytes:
    """Rewrite an object of a shard, where it holds such rows; return what stands then."""
    uri = storage.join(table.output, marker.objects[name])
    stored = storage.stat(uri)
    content = _read(table, marker, name)
    table.recounted(marker, name, content)  # refuses what was changed since it was looked at
    if stored is None or not pc.any(_rows_of(content, wanted)[1]).as_py():
        return content
    rows = pq.read_table(io.BytesIO(content), partitioning=None, page_checksum_verification=True)
    goes = pc.match_substring_regex(rows["utterance_id"], wanted.rows)
    content = table.without(marker, name, rows.filter(pc.invert(goes)))
    if storage.put(uri, content, stored.etag) is not None:
        raise RunAgain(f"{uri}: was replaced meanwhile; run the same command again.")
    return content


def _remove_pages(output: str, wanted: Wanted) -> int:
    """Remove pages that show such a recording; the next night writes them anew, without it."""
    n_pages = 0
    for uri, names in _pages(output, wanted):
        if names:
            log.info("removing %s: it shows what is erased", uri)
            storage.remove(uri)
            n_pages += 1
    return n_pages


def _pages(output: str, wanted: Wanted) -> Iterator[tuple[str, set[str]]]:
    for uri in _of(output, "runs"):
        if not uri.endswith(".json"):
            yield uri, wanted.spoken_of(storage.read_bytes(uri).decode(errors="replace"))


def _records(
    output: str, tables: list[Ledger], wanted: Wanted
) -> Iterator[tuple[str, bytes, dict[str, Any], dict[str, Any]]]:
    """Records of runs: URI, bytes, content, and what the content should be by the markers as they are now."""
    books = {table.name: (table, table.book(), table.done()) for table in tables}
    for uri in _of(output, "runs"):
        if not uri.endswith(".json"):
            continue
        content = storage.read_bytes(uri)
        record = unseal(content, uri)
        now = record_without(record, wanted)
        if record.get("table") in books:
            now |= _totals(*books[record["table"]], record)
        yield uri, content, record, now


def _totals(table: Ledger, book: Book, done: set[str], record: dict[str, Any]) -> dict[str, Any]:
    """Digest of a record whose plan lost rows; the counts stay: so much was done."""
    names = {shard.name for shard in book.of_plan(record["plan"])} & done
    markers = table.markers(names)
    erased = sum(marker.detail.get("erased", 0) for marker in markers)
    whole = len(names) == record["shards"]["committed"]
    return {"erased": erased, "digest": Ledger.digest(markers)} if erased and whole else {}


def _rewrite(uri: str, before: bytes, after: bytes) -> None:
    """Put an object anew where it still is what it was read as."""
    if before == after:
        return
    stored = storage.stat(uri)
    if stored is None or storage.read_bytes(uri) != before or storage.put(uri, after, stored.etag) is not None:
        raise RunAgain(f"{uri}: was changed meanwhile; run the same command again.")


def _of(output: str, *folders: str) -> list[str]:
    return [stored.uri for stored in storage.listing(storage.join(output, *folders)) or []]
