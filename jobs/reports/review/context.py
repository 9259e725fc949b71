"""The context of a row: its most suspicious windows, and the other sides of its call, for whoever listens to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.scoring.marks import most_suspicious
from jobs.scoring.stored_windows import windows_in
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker
from jobs.tables.row_history import is_here

Row = dict[str, Any]

SIDE = "/ch[0-9]+$"
"""End of the id of one channel of a recording (`--channels each`)."""

SIDE_COLUMNS = ("utterance_id", "channel", "score", "p_spoof", "label", "reject", "reject_reason")


def call_of(row: Row) -> str | None:
    """Return the id of the call that a row is a side of; None if it is no side of one.

    Examples
    --------
    >>> call_of({"utterance_id": "a.wav/ch1", "channel": 1}), call_of({"utterance_id": "a.wav", "channel": 0})
    ('a.wav', None)
    """
    end = f"/ch{row.get('channel')}"
    name: str = row["utterance_id"]
    return name.removesuffix(end) if row.get("channel") is not None and name.endswith(end) else None


def with_context(table: Ledger, markers: Sequence[Marker], rows: Sequence[Row], shards: Mapping[str, int]) -> list[Row]:
    """Return rows with their context, the sides of a call next to one another at the place of the first.

    Parameters
    ----------
    table : Ledger
        Of scores.
    markers : sequence of Marker
        Of its shards.
    rows : sequence of dict
    shards : mapping
        By id of a row: the place of its shard among the markers.

    Returns
    -------
    list of dict
        The rows with `marked`, windows of which the first is the most suspicious, none where none is stored; and
        `sides`, :data:`SIDE_COLUMNS` of the other channels of the call.
    """
    by_shard: dict[int, list[Row]] = {}
    for row in rows:
        by_shard.setdefault(shards[row["utterance_id"]], []).append(row)
    marked: Row = {}
    sides: dict[str, list[Row]] = {}
    for shard, here in by_shard.items():
        windows = windows_in(table, markers[shard], [row["utterance_id"] for row in here])
        marked |= {name: most_suspicious(found) for name, found in windows.items()}
        for side in _sides(table, markers[shard], {call for row in here if (call := call_of(row)) is not None}):
            sides.setdefault(str(call_of(side)), []).append(side)
    found = [
        row
        | {
            "marked": marked.get(row["utterance_id"], []),
            "sides": [
                side for side in sides.get(call_of(row) or "", []) if side["utterance_id"] != row["utterance_id"]
            ],
        }
        for row in rows
    ]
    return together(found)


def audio_hashes(source: Ledger, embedded: Sequence[Marker], shards: Mapping[str, int]) -> dict[str, str]:
    """Return the SHA-256 of what was heard of recordings, by id.

    Parameters
    ----------
    source : Ledger
        Of embeddings.
    embedded : sequence of Marker
        Of its shards.
    shards : mapping
        By id: the place of the shard among the markers.
    """
    found: dict[str, str] = {}
    for shard in sorted(set(shards.values())):
        for batch in source.batches(embedded[shard], "embeddings", ["utterance_id", "audio_sha256"]):
            here = batch.filter(pc.is_in(batch["utterance_id"], pa.array(list(shards), pa.string()))).to_pydict()
            found |= dict(zip(here["utterance_id"], here["audio_sha256"], strict=True))
    return found


def together(rows: Sequence[Row]) -> list[Row]:
    """Return rows in their order, but with the sides of a call next to one another, by channel.

    Examples
    --------
    >>> names = ("a/ch1", "b", "a/ch0")
    >>> rows = [{"utterance_id": name, "channel": int(name[-1]) if "/" in name else None} for name in names]
    >>> [row["utterance_id"] for row in together(rows)]
    ['a/ch0', 'a/ch1', 'b']
    """
    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        first.setdefault(call_of(row) or row["utterance_id"], place)
    return sorted(rows, key=lambda row: (first[call_of(row) or row["utterance_id"]], row.get("channel") or 0))


def _sides(table: Ledger, marker: Marker, calls: set[str]) -> list[Row]:
    """Return the rows of calls that are in the archive, by channel."""
    if not calls:
        return []
    found: list[Row] = []
    wanted = pa.array(sorted(calls), pa.string())
    for batch in table.batches(marker, "scores", [*SIDE_COLUMNS, "removed_at"]):
        names = pc.replace_substring_regex(batch["utterance_id"], SIDE, "")
        is_side = pc.and_(pc.is_in(names, wanted), pc.is_valid(batch["channel"]))
        found += batch.filter(pc.and_(is_side, is_here(batch))).select(list(SIDE_COLUMNS)).to_pylist()
    return sorted((row for row in found if call_of(row) in calls), key=lambda row: row["channel"])


def side_text(side: Row) -> str:
    """Return another side of a call in a few words.

    Examples
    --------
    >>> side_text({"channel": 1, "label": "bonafide", "score": 3.214, "reject": False, "reject_reason": None})
    'ch1 bonafide, score 3.21'
    >>> side_text({"channel": 0, "label": None, "score": None, "reject": True, "reject_reason": "silent"})
    'ch0 rejected (silent)'
    """
    word = f"rejected ({side['reject_reason']})" if side["reject"] else side["label"]
    return f"ch{side['channel']} {word}" + ("" if side["score"] is None else f", score {side['score']:.2f}")
