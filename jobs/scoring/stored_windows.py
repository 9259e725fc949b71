"""Stored windows: rows of `segments` of some recordings, read from the shard that holds them."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from jobs.scoring.marks import Window
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker

COLUMNS = ("utterance_id", "start_seconds", "end_seconds", "score", "p_spoof")


def windows_in(table: Ledger, marker: Marker, ids: Collection[str]) -> dict[str, list[Window]]:
    """Return the windows of recordings that have any with a score, in the order of time.

    Parameters
    ----------
    table : Ledger
        Of scores.
    marker : Marker
        Of the shard that holds the recordings.
    ids : collection of str
    """
    found: dict[str, list[Window]] = {}
    if not marker.rows.get("segments"):
        return found
    wanted = pa.array(list(ids), pa.string())
    for batch in table.batches(marker, "segments", list(COLUMNS)):
        is_wanted = pc.and_(pc.is_in(batch["utterance_id"], wanted), pc.is_valid(batch["score"]))
        for name, *numbers in zip(*(batch.filter(is_wanted)[column].to_pylist() for column in COLUMNS), strict=True):
            found.setdefault(name, []).append(Window(*numbers))
    return {name: sorted(windows) for name, windows in found.items()}
