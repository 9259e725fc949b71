"""Permission: files that a run found but could not open, and that can be opened by now.

What may be read shows neither in a file's size nor in its time of change. So no plan would see that a file may be read
again; its row of failures says so.
"""

from __future__ import annotations

from collections.abc import Set
from functools import partial

import pyarrow.compute as pc

from jobs import storage
from jobs.errors import SourceChangedError
from jobs.inputs.archive import Archive
from jobs.inputs.requests import answers
from jobs.storage import Stored
from jobs.tables.garbage import slot_of
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker, PlanHistory
from jobs.tables.run_records import may_count
from jobs.tables.source_index import SourceIndex

NO_PERMISSION = "no_permission"
"""The word in `failures`; in the detail of a marker, how many such rows its shard has, if it has any."""


def readable_again(
    table: Ledger, history: PlanHistory, done: Set[str], archive: Archive, index: SourceIndex
) -> frozenset[str]:
    """Return the URIs of files of committed shards that could not be opened, and now can.

    It costs the record of each plan, and where one counts such files, a listing, a marker for each of its shards that
    has failures, and a request for each file.
    """
    sources = (*archive.files, *(shard.sources[0] for shard in archive.containers))
    found = {source.uri: source for source in sources}
    # records of earlier releases do not count them: only local files were such rows then
    is_local = bool(archive.roots) or any(storage.scheme_of(uri) == "file" for uri in found)
    look = partial(may_count, table.output, name=NO_PERMISSION, otherwise=is_local)
    run_ids = [plan.run_id for plan in history.plans]
    counting = {run_id for run_id, counts in zip(run_ids, answers(look, run_ids), strict=True) if counts}
    if not counting:
        return frozenset()
    failures = storage.listing(storage.join(table.output, "failures")) or []
    failed = history.current.having(slot_of(stored.uri) for stored in failures)
    names = set()
    for planned in (each for each in failed.values() if each.run_id in counting):
        sources = planned.shard.sources if planned.entry.has_sources else ()
        found |= {source.uri: source for source in sources if index.has_seen(source)}
        names |= {planned.name} if any(each.uri in found for each in sources) else set()
    return frozenset(
        uri
        for marker in table.markers(names & done)
        if NO_PERMISSION in marker.detail
        for uri in _denied(table, marker)
        if _may_be_read(found.get(uri))
    )


def _denied(table: Ledger, marker: Marker) -> list[str]:
    """Return the URIs of the files of a shard that could not be opened."""
    rows = table.read(marker, "failures")
    if rows is None:
        return []
    return rows.filter(pc.equal(rows["error"], NO_PERMISSION))["uri"].to_pylist()  # type: ignore[no-any-return]


def _may_be_read(source: Stored | None) -> bool:
    """Return True if a file can be opened; one that the archive leaves out, or that has changed since, is no matter."""
    if source is None:
        return False
    try:
        storage.first_bytes(source, 1)
    except (storage.RefusedError, SourceChangedError):
        return False
    return True
