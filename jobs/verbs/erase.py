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
from dataclasses import dataclass, field, replace
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.erasure.inventory import Inventory, objects_below, pages, read, records, rows_of, take_inventory
from jobs.erasure.mentions import mentions, plan_without
from jobs.erasure.request import ERASED, ErasureRequest
from jobs.errors import RunAgain
from jobs.tables.checksummed_json import dump_checksummed
from jobs.tables.compaction.copy import is_copy, output_of
from jobs.tables.ledger import Ledger, ledgers
from jobs.tables.protocol import PLAN_NAME, Marker, Plan
from jobs.telemetry.progress import progress

NOT_REACHED = (
    "not reached: the recording itself (a loose file that is still in the archive is embedded again by the very next "
    "run, a member of a container once its container changed, and everything by another encoder or in a new output), "
    "older versions of objects in a versioned bucket, files that were exported or copied from here; a copy that "
    "`compact` keeps, until it runs again"
)

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
    if is_copy(output):
        raise ConfigError(f"{output}: is a copy of {output_of(output)}; erase there, then run `compact` again.")
    wanted = ErasureRequest(settings.utterance_id)
    tables = ledgers(output)
    if not tables:
        raise ConfigError(f"{output}: no tables of ours here. Give the --output of a run.")
    planned = _planned(tables)
    if unfinished := _unfinished(tables):
        raise ConfigError(f"{unfinished} Run the command that began them to its end, then erase.")
    found = take_inventory(output, tables, wanted)
    _say_copies(tables, wanted, found.audio)
    if settings.dry_run:
        here, _ = mentions(output, wanted)
        print("\n".join([*here, f"{len(here)} objects mention {wanted}"]))
        return 0
    n_rows = sum(_erase(table, found, wanted) for table in tables)
    n_pages = _remove_pages(output, wanted)
    _rewrite_records(output, tables, wanted)
    _refuse_new_plans(output, planned)
    storage.abandon_uploads(output, started)  # drafts of writers that were killed: no listing shows them
    n_objects = _prove(output, wanted)
    print(
        f"erased {n_rows} rows of {wanted}, and {n_pages} pages; read again: none of the {n_objects} objects under "
        f"{output} mentions it\n{NOT_REACHED}"
    )
    return 0


def _planned(tables: list[Ledger]) -> dict[str, set[str]]:
    return {table.name: table.history().names for table in tables}


def _unfinished(tables: list[Ledger]) -> str:
    """What is planned and not done; empty where nothing is."""
    for table in tables:
        if left := table.history().names - table.done():
            return f"{table.output}: {len(left)} shards of {table.name} are planned, not done, and may be in the works."
    return ""


def _say_copies(tables: list[Ledger], wanted: ErasureRequest, audio: set[str]) -> None:
    """Name other rows of the same audio: whoever wants a voice gone wants them gone, too.

    The hashes are those of rows that still stand. So nothing can be said of rows that an erasure took before it was
    broken off, nor of the same voice in other bytes: encoded or cut otherwise.
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


def _erase(table: Ledger, found: Inventory, wanted: ErasureRequest) -> int:
    """Take rows out of the objects of a ledger, then what its markers and plans say of them; return how many."""
    n_rows = 0
    markers = found.markers.get(table.name, [])
    current = table.history().names
    with progress(f"erase from {table.name}", len(markers)) as shown:
        for marker in markers:
            now = replace(marker, uri=ERASED) if wanted.labelled(marker.uri) else marker
            for name in marker.objects if marker.name in current else ():
                now = table.recounted(now, name, _erase_rows(table, marker, name, wanted))
            uri = storage.join(table.output, "_commits", table.name, f"{marker.name}.json")
            _rewrite(uri, marker.to_json(), now.to_json())
            n_rows += sum(marker.rows.values()) - sum(now.rows.values())
            shown.shard(sum(marker.rows.values()))
    for uri in filter(PLAN_NAME.search, objects_below(table.output, "_plans", table.name)):
        plan = Plan.from_json(storage.read_bytes(uri), uri)
        _rewrite(uri, plan.to_json(), plan_without(plan, wanted).to_json())
    return n_rows


def _erase_rows(table: Ledger, marker: Marker, name: str, wanted: ErasureRequest) -> bytes:
    """Rewrite an object of a shard, where it holds such rows; return what stands then."""
    uri = storage.join(table.output, marker.objects[name])
    stored = storage.stat(uri)
    content = read(table, marker, name)
    table.recounted(marker, name, content)  # refuses what was changed since it was looked at
    if stored is None or not pc.any(rows_of(content, wanted)[1]).as_py():
        return content
    rows = pq.read_table(io.BytesIO(content), partitioning=None, page_checksum_verification=True)
    goes = pc.match_substring_regex(rows["utterance_id"], wanted.rows)
    content = table.without(marker, name, rows.filter(pc.invert(goes)))
    if storage.put(uri, content, stored.etag) is not None:
        raise RunAgain(f"{uri}: was replaced meanwhile; run the same command again.")
    return content


def _remove_pages(output: str, wanted: ErasureRequest) -> int:
    """Remove pages that show such a recording; the next night writes them anew, without it."""
    n_pages = 0
    for uri, names in pages(output, wanted):
        if names:
            log.info("removing %s: it shows what is erased", uri)
            storage.remove(uri)
            n_pages += 1
    return n_pages


def _rewrite_records(output: str, tables: list[Ledger], wanted: ErasureRequest) -> None:
    """Bring the digests of records in line with the markers, and take such recordings out of what they name."""
    for uri, content, record, now in records(output, tables, wanted):
        if now != record:
            _rewrite(uri, content, dump_checksummed(now, indent=1))


def _refuse_new_plans(output: str, planned: dict[str, set[str]]) -> None:
    """A run that planned after the first look may have brought back what was erased, or may do so soon."""
    tables = ledgers(output)
    if _unfinished(tables) or _planned(tables) != planned:
        raise RunAgain(f"{output}: another run planned shards meanwhile. Let it end, then run the same command again.")


def _prove(output: str, wanted: ErasureRequest) -> int:
    """Read everything again; return how many objects there are."""
    left, n_objects = mentions(output, wanted)
    if left:
        raise SchemaError(
            f"{left[0]}. So {len(left)} of {n_objects} objects; all else of {wanted} is erased. Remove what is none of "
            "ours and run the same command again; where it is a table of ours, score into a new output."
        )
    return n_objects


def _rewrite(uri: str, before: bytes, after: bytes) -> None:
    """Put an object anew where it still is what it was read as."""
    if before == after:
        return
    stored = storage.stat(uri)
    if stored is None or storage.read_bytes(uri) != before or storage.put(uri, after, stored.etag) is not None:
        raise RunAgain(f"{uri}: was changed meanwhile; run the same command again.")
