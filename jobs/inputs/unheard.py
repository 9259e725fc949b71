"""Unheard: shards of which nothing is read, and that are one row of failures, until what keeps them from it is gone."""

from __future__ import annotations

from collections.abc import Iterator

from detector.errors import UtteranceError
from jobs import storage
from jobs.inputs import pieces
from jobs.inputs.pieces import Piece
from jobs.inputs.shards import FOLDER, Portion, Shard
from jobs.inputs.utterance_ids import ways_out
from jobs.storage import Stored


def pieces_of(portion: Portion) -> Iterator[Piece]:
    """Yield the row of a folder that may not be listed, or of a source whose id another one has, and the shard's end.

    There is no row once a folder may be listed, or a source is heard: its files, or itself, have rows in other shards.
    """
    rows = list(_rows(portion.shard))
    yield from rows if portion.only in (None, (0,)) else ()
    yield pieces.shard_end(portion.shard.shard_id, len(rows))


def _rows(shard: Shard) -> Iterator[Piece]:
    for source in shard.sources:
        if shard.kind == FOLDER and source.etag == storage.DENIED:
            yield pieces.outcome(shard.shard_id, 0, _failed(shard.id_of(None), source, no_permission(source)))
        for other, name in shard.names or () if shard.is_apart else ():
            yield pieces.outcome(shard.shard_id, 0, _failed(name, source, _shared(shard, other)))


def _failed(name: str, source: Stored, error: UtteranceError) -> dict[str, object]:
    return pieces.failed(name, source.uri, None, source.size, "read", error)


def _shared(shard: Shard, other: str) -> UtteranceError:
    return UtteranceError(
        "bad_name",
        f"would be {shard.id_of(None)!r}, which is the id of {other}, too. A recording that had the id before keeps "
        f"it, and of new ones none is heard. If the archive was moved, say so by --moved OLD=NEW. Else: "
        f"{ways_out(shard.uri, other, shard.id_of(None))}",
    )


def no_permission(source: Stored) -> UtteranceError:
    """Return the error of a local file or folder that the user of the run may not read."""
    return UtteranceError(
        "no_permission",
        f"{source.uri}: the user of this run may not read it; give that user the right to read it, and to search the "
        f"folders that it is in (rx), and run again",
    )
