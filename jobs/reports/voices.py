"""Voice machines: flagged recordings of no system that the head has heard, and which of them are alike.

Nothing is stored of it: the clusters are a function of the tables, so it does not matter in which order shards were
scored, or which runs were interrupted. Rows are taken in the order in which they were first seen, and a cluster is
called after the earliest of them (:mod:`detector.leaders`).

```
night 1   a b    night 2   c      a leads, c joins a; d joins none and leads     a ─ c      called after a
                           d      the next night adds rows behind these          d          called after d
```
"""

from __future__ import annotations

import datetime
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector.attribution import UNKNOWN_SYSTEM
from detector.head import Head
from detector.leaders import leaders
from detector.metrics import Floats
from detector.schema import SPOOF
from jobs.errors import RunAgain
from jobs.tables.ledger import Ledger
from jobs.tables.names import Names
from jobs.tables.protocol import Marker, PlanHistory
from jobs.tables.row_history import is_here

MAX_ROWS = 10_000
MAX_SHARDS = 1_000
COLUMNS = (
    *("utterance_id", "uri", "member", "seconds", "score", "p_spoof", "label", "reject", "first_seen", "run_id"),
    *("nearest_system", "system_similarity", "start", "end", "channel", "removed_at"),
)
"""Columns of `scores` that are read."""

Row = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Voices:
    """Clusters of recordings that are alike.

    Parameters
    ----------
    clusters : tuple of tuple of dict
        Rows of each cluster in the order in which they were first seen, with its name as `cluster`; the largest cluster
        first. Recordings that are like no other are clusters of one.
    n_rows : int
    n_runs, of_runs : int
        How many of the newest runs were read, of how many.
    is_cut : bool
        True if the newest run alone has more than so many rows, of which the earliest by id were taken.
    """

    clusters: tuple[tuple[Row, ...], ...]
    n_rows: int
    n_runs: int
    of_runs: int
    is_cut: bool


def find_voices(
    table: Ledger,
    source: Ledger,
    history: PlanHistory,
    head: Head,
    last_plan: int | None = None,
    max_rows: int = MAX_ROWS,
    max_shards: int = MAX_SHARDS,
) -> Voices:
    """Find the flagged recordings of unknown systems that are alike.

    The newest runs are read, each as a whole, until the next one would bring more than ``max_rows`` rows or
    ``max_shards`` shards; the newest one is always read.

    Parameters
    ----------
    table, source : Ledger
        The scores, and the embeddings that they were made from.
    history : PlanHistory
        Plans of the scores.
    head : Head
        With attribution.
    last_plan : int, optional
        Number of the newest plan to read [default: the last].
    """
    if head.systems is None or head.systems.alike is None:
        return Voices((), 0, 0, 0, is_cut=False)
    last_plan = len(history.plans) if last_plan is None else last_plan
    done = table.done(history)
    found: list[tuple[Row, Floats]] = []
    n_shards = n_runs = 0
    is_cut = False
    for number in range(last_plan, 0, -1):
        planned = history.of_plan(number).committed(done)
        names = planned.where(~planned.is_dropped).names
        n_shards += len(names)
        if n_runs and n_shards > max_shards:
            break
        rows = nsmallest(max_rows + 1, _unknown_rows(table, source, history, head, names, max_rows + 1), key=_order)
        if n_runs and len(found) + len(rows) > max_rows:
            break
        is_cut |= len(rows) > max_rows
        found += rows[:max_rows]
        n_runs += 1
    found.sort(key=_order)
    return Voices(_clusters(found, head.systems.alike), len(found), n_runs, last_plan, is_cut)


def cluster_name(utterance_id: str) -> str:
    """Return the name of the cluster that a recording leads.

    Examples
    --------
    >>> cluster_name("calls/0.tar#a.flac")
    'voice-2eeba2949e'
    """
    return f"voice-{hashlib.sha256(utterance_id.encode()).hexdigest()[:10]}"


def _clusters(found: list[tuple[Row, Floats]], alike: float) -> tuple[tuple[Row, ...], ...]:
    """Put rows, in their order, into clusters: the largest first, then by the order of their leaders."""
    if not found:
        return ()
    of_leader: dict[int, list[Row]] = {}
    for (row, _), leader in zip(found, leaders(np.stack([vector for _, vector in found]), alike), strict=True):
        name = cluster_name(found[leader][0]["utterance_id"])
        of_leader.setdefault(int(leader), []).append({"cluster": name, **row})
    return tuple(tuple(rows) for rows in sorted(of_leader.values(), key=len, reverse=True))


def _unknown_rows(
    table: Ledger, source: Ledger, history: PlanHistory, head: Head, names: Names, n_rows: int
) -> Iterator[tuple[Row, Floats]]:
    """Yield the flagged rows of unknown systems of some shards, the earliest of each, with their coordinates."""
    for marker in table.markers(names):
        if not marker.detail.get(UNKNOWN_SYSTEM):
            continue
        flagged = (row for batch in table.batches(marker, "scores", list(COLUMNS)) for row in _flagged(batch))
        rows = nsmallest(n_rows, flagged, key=_row_order)
        try:
            embedded = source.marker(history.by_name[marker.name].entry.state)
            vectors = _coordinates(source, embedded, head, [row["utterance_id"] for row in rows])
        except RunAgain:
            log.info("%s: embedded anew since it was scored, so its recordings are not compared", marker.uri)
            continue
        yield from ((row, vectors[row["utterance_id"]]) for row in rows if row["utterance_id"] in vectors)


def _flagged(batch: pa.RecordBatch) -> list[Row]:
    """Return the rows that are accepted as spoof, of an unknown system, and still in the archive."""
    wanted = pc.and_(pc.equal(batch["label"], SPOOF), pc.equal(batch["nearest_system"], UNKNOWN_SYSTEM))
    wanted = pc.and_(wanted, pc.invert(batch["reject"]))
    return list(batch.filter(pc.and_(wanted.fill_null(False), is_here(batch))).to_pylist())


def _coordinates(source: Ledger, embedded: Marker, head: Head, ids: list[str]) -> dict[str, Floats]:
    """Return the coordinates of some rows of a shard, by id."""
    found: dict[str, Floats] = {}
    wanted = pa.array(ids, pa.string())
    for batch in source.batches(embedded, "embeddings", ["utterance_id", "embedding"]):
        rows = batch.filter(pc.and_(pc.is_in(batch["utterance_id"], wanted), batch["embedding"].is_valid()))
        if len(rows) and head.systems is not None:
            embeddings = np.array(rows["embedding"].to_pylist(), dtype=np.float64)
            vectors = head.systems.coordinates((embeddings - np.array(head.mean)) / np.array(head.scale))
            found |= dict(zip(rows["utterance_id"].to_pylist(), vectors, strict=True))
    return found


def _order(found: tuple[Row, Floats]) -> tuple[datetime.date, str]:
    return _row_order(found[0])


def _row_order(row: Row) -> tuple[datetime.date, str]:
    return row["first_seen"] or datetime.date.min, row["utterance_id"]
