"""Places: where the recordings of a request lie, also if their ids do not say so, because a list gave them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.erasure.inventory import present
from jobs.erasure.request import ErasureRequest, Place
from jobs.inputs.shards import SHARED, Shard
from jobs.tables.ledger import Ledger
from jobs.tables.parquet import part_of, row_batches
from jobs.tables.protocol import Entry
from jobs.tables.shard_objects import ShardObjects


def with_unheard(tables: list[Ledger], request: ErasureRequest) -> ErasureRequest:
    """Return a request that has, too, whatever was not heard for an id of a requested recording.

    It may be another recording, or the same file: in a folder that was given by a link or another spelling, or in an
    archive that had moved. Nobody has heard which, and nothing is lost by its row, which says no more than that.
    """
    plans = (plan for table in tables for plan in table.history().plans)
    unheard = [
        (shard.id_of(None), name) for plan in plans for shard in _apart(plan.entries) for _, name in shard.names or ()
    ]
    claimed = {claim for claim, name in unheard if request.ids_of(name)}
    found = {name for claim, name in unheard if claim in claimed or request.ids_of(claim)}
    return ErasureRequest(request.asked, request.roots, unheard=sorted(found))


def _apart(entries: Iterable[Entry]) -> Iterator[Shard]:
    works = (entry.work for entry in entries if entry.has_sources)
    return (Shard.from_content(work) for work in works if work["kind"] == SHARED and work["sources"])


def with_places(tables: list[Ledger], request: ErasureRequest) -> ErasureRequest:
    """Return a request that knows the places of its recordings, too, unless others that stay are read from there.

    Markers and messages name files, not ids: `s3://archive/alice-smith.wav` must go with `recording-1`. Plans say which
    file it is, and in an output of scores alone its rows. A file may also have had another id before, when it was not
    heard for this one. The file of another recording that the rule would call like a requested one is no place of it.
    """
    has_plans = not all(table.is_scores for table in tables)
    found, others = _of_plans(tables, request) if has_plans else _of_rows(tables, request)
    places = {place: name for place, name in found.items() if not _is_said(place, request)}
    files = {uri: name for (uri, member), name in found.items() if member is None}
    unheard = request.ids[len(request.asked) :]
    return ErasureRequest(request.asked, request.roots, places, files, others, unheard)


def _of_plans(tables: list[Ledger], request: ErasureRequest) -> tuple[dict[Place, str], set[str]]:
    """Return the places that only recordings to be erased have, and the files of others that are called like one."""
    histories = [table.history() for table in tables]
    found: dict[Place, str] = {}
    called_so: set[str] = set()
    for history in histories:
        for place, name in (pair for plan in history.plans for pair in _names(plan.entries)):
            if owners := request.ids_of(name):
                found[place] = min(owners)
            elif request.ids_in_label(place[0]):
                called_so.add(place[0])
    others = called_so.difference(uri for uri, _ in found)
    for history in histories if found else ():
        for place, name in _names((planned.entry for planned in history.current.values()), there=True):
            if place in found and not request.ids_of(name):
                del found[place]
    return found, others


def _of_rows(tables: list[Ledger], request: ErasureRequest) -> tuple[dict[Place, str], set[str]]:
    """Return what :func:`_of_plans` does, by committed rows."""
    found: dict[Place, str] = {}
    for rows in _rows(tables):
        for row in rows.filter(request.rows_of(rows["utterance_id"])).to_pylist():
            for owner in request.ids_of(row["utterance_id"]):
                found[row["uri"], row["member"]] = owner
    heard = {uri for uri, _ in found}
    called_so: set[str] = set()
    for rows in _rows(tables):
        others = rows.filter(pc.invert(request.rows_of(rows["utterance_id"])))
        called_so.update(filter(request.ids_in_label, pc.unique(others["uri"]).to_pylist()))
        for row in others.filter(pc.is_in(others["uri"], pa.array(sorted(heard), pa.string()))).to_pylist():
            found.pop((row["uri"], row["member"]), None)
    return found, called_so - heard


def _rows(tables: list[Ledger]) -> Iterator[pa.RecordBatch]:
    """Yield ids and places of all committed rows; a damaged object is left to the inventory, which refuses it."""
    for table in tables:
        objects = ShardObjects(table.output)
        for marker, contents in objects.of(table.markers(table.history().names & table.done())):
            for name in marker.objects:
                content = present(table, marker, name, contents)
                if part_of(name, content) is not None:
                    yield from row_batches(pq.ParquetFile(io.BytesIO(content)), ["utterance_id", "uri", "member"])


def _names(entries: Iterable[Entry], *, there: bool = False) -> Iterator[tuple[Place, str]]:
    """Yield where each recording lies that entries of plans name, and its id.

    Parameters
    ----------
    there : bool
        Leave out what was not heard for its id, and is not there any more or is heard by now.
    """
    for entry in entries:
        if not entry.has_sources:
            continue
        shard = Shard.from_content(entry.work)
        if shard.kind == SHARED:
            if shard.is_apart or not there:
                yield from (((uri, None), name) for uri, name in shard.ids())
            continue
        container = None if shard.kind == "files" else shard.sources[0].uri
        for place, name in shard.names or ():
            yield (place, None) if container is None else (container, place), name


def _is_said(place: Place, request: ErasureRequest) -> bool:
    """Return True if the request finds the place by the id itself, as the contract's rule makes it."""
    uri, member = place
    return bool(request.ids_in_label(uri if member is None else f"{uri}#{member}"))
