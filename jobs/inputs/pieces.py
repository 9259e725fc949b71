"""Pieces: the rows that flow from decode to encode to commit. Each carries its shard and ordinal, never a position.

```
shard_id  ordinal  segment  samples     outcome                      n_utterances
3f…       0        0        <30 s>
3f…       0        1        <12 s>
3f…       0                             id, uri, 42 s, 2 segments
3f…       1                             id, uri, error: not_audio
3f…                                                                  2             end of the shard
```

An encoder replaces `samples` by `embedding` and `n_frames`, and passes all other columns on, with one more row for each
shard in a table: the receipt, with what the driver counts. With `--segments` it adds the cells of each segment
(:mod:`detector.windows`). The error of a worker is a row too, in the column `trouble`:
an exception would lose its class on the way to the driver.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detector.audio import WHOLE, Excerpt
from detector.decoders import Samples
from detector.errors import UtteranceError
from detector.recording import Facts
from detector.schema import OUTCOME
from detector.windows import CellPart
from jobs.inputs.shards import CHANGED, Portion

CANARIES = "canaries"
"""In place of a shard's id: the row that has an encoder's vectors of :mod:`detector.canaries`."""

BATCH_BYTES = 2 << 20  # about 33 s of audio, which a task hands over at a time

Piece = dict[str, Any]

_PLACE = {"shard_id": pa.string(), "ordinal": pa.int32(), "segment": pa.int32()}
_OUTCOME = pa.struct([*OUTCOME, pa.field("n_segments", pa.int32())])
_ENDS = {
    "outcome": _OUTCOME,
    "is_repeated": pa.bool_(),
    "n_utterances": pa.int32(),
    "ordinals": pa.list_(pa.int32()),
    "passed_over": pa.string(),
    "portion": pa.string(),
    "trouble": pa.string(),
}
_COUNTS = {"bytes": pa.int64(), "recordings": pa.int64(), "segments": pa.int64()}

CELLS = ("cells", "cell_frames", "first_cell")
"""Columns of :data:`EMBEDDED` that are null but for segments of which the windows are embedded, too."""

DECODED = pa.schema({**_PLACE, "samples": pa.binary(), **_ENDS})
EMBEDDED = pa.schema(
    {
        **_PLACE,
        "embedding": pa.list_(pa.float32()),
        "n_frames": pa.int64(),
        **_ENDS,
        "receipt": pa.struct(_COUNTS),
        "cells": pa.list_(pa.float32()),
        "cell_frames": pa.list_(pa.int64()),
        "first_cell": pa.int64(),
    }
)


def segment(shard_id: str, ordinal: int, index: int, samples: Samples) -> Piece:
    """Make a piece of one segment of one utterance: float32 samples at 16 kHz."""
    return {"shard_id": shard_id, "ordinal": ordinal, "segment": index, "samples": samples.tobytes()}


def outcome(shard_id: str, ordinal: int, found: dict[str, Any]) -> Piece:
    """Make the piece that follows the segments of an utterance: its facts, or its failure."""
    return {"shard_id": shard_id, "ordinal": ordinal, "outcome": found}


def shard_end(
    shard_id: str,
    n_utterances: int,
    passed_over: dict[str, Any] | None = None,
    ordinals: Sequence[int] | None = None,
) -> Piece:
    """Make the last piece of a shard, which is complete with this many outcomes and all of their segments.

    It also carries the members that were passed over, as :meth:`jobs.inputs.passed_over.PassedOver.to_content` counts
    them, and the ordinals of the utterances if they are not those from 0 on.
    """
    end = {"shard_id": shard_id, "n_utterances": n_utterances, "ordinals": ordinals}
    return end | ({"passed_over": json.dumps(passed_over)} if passed_over else {})


def trouble(shard_id: str | None, text: str) -> Piece:
    """Make the piece of a worker's error, as :func:`jobs.errors.to_text` writes it; it may concern one shard."""
    return {"shard_id": shard_id, "trouble": text}


def decoded(
    utterance_id: str, uri: str, member: str | None, n_bytes: int, facts: Facts, excerpt: Excerpt = WHOLE
) -> dict[str, Any]:
    """Return the outcome of an utterance that was decoded to its end."""
    where = {"utterance_id": utterance_id, "uri": uri, "member": member, "bytes": n_bytes}
    return {**where, **asdict(facts), **excerpt.cells()}


def failed(
    utterance_id: str, uri: str, member: str | None, n_bytes: int, stage: str, error: UtteranceError
) -> dict[str, Any]:
    """Return the outcome of an utterance that gives no score; its segments, if there are any, are dropped."""
    where = {"utterance_id": utterance_id, "uri": uri, "member": member, "bytes": n_bytes}
    return {**where, "stage": stage, **vars(error)}


def repeated(shard_id: str, ordinal: int, found: dict[str, Any]) -> Piece:
    """Make the piece of an utterance whose id an earlier one of the shard has; that is not to be taken, either."""
    return {**outcome(shard_id, ordinal, found), "is_repeated": True}


def is_changed(found: Mapping[str, Any] | None) -> bool:
    """Return True for the outcome of an utterance whose source changed while it was read; it outweighs any other."""
    return found is not None and found.get("error") == CHANGED


def of(portion: Portion, rows: Iterable[Piece]) -> Iterator[Piece]:
    """Yield the pieces that belong to a portion of a shard; the end of the shard carries the portion as JSON."""
    for row in rows:
        if "n_utterances" in row:
            row = {**row, "portion": portion.to_json()}
        is_asked_for = portion.part == "all" or ("samples" in row) == (portion.part == "segments")
        if is_asked_for or is_changed(row.get("outcome")):
            yield row


MAX_PIECES = 4_096
"""Pieces of a table: what failed has no samples, and is progress, too."""

HELD_SECONDS = 5.0
"""Until what came is handed on although it is little: a container of slow tiny members makes progress, too."""


def batches(
    rows: Iterable[Piece], table_bytes: int = BATCH_BYTES, clock: Callable[[], float] = time.monotonic
) -> Iterator[pa.Table]:
    """Collect pieces into tables of about ``table_bytes``, within which an encoder may sort by length.

    Where pieces come slowly, a table has what came in :data:`HELD_SECONDS`.
    """
    held: list[Piece] = []
    n_bytes, since = 0, 0.0
    for row in rows:
        since = since if held else clock()
        held.append(row)
        n_bytes += len(row.get("samples") or b"")
        if n_bytes >= table_bytes or len(held) == MAX_PIECES or clock() - since >= HELD_SECONDS:
            yield pa.Table.from_pylist(held, schema=DECODED)
            held, n_bytes = [], 0
    if held:
        yield pa.Table.from_pylist(held, schema=DECODED)


def troubled(text: str) -> pa.Table:
    """Return the table of :data:`EMBEDDED` with the error of a worker that concerns no one shard."""
    return pa.Table.from_pylist([trouble(None, text)], schema=EMBEDDED)


def canaries(vectors: npt.NDArray[np.float32], versions: dict[str, str]) -> pa.Table:
    """Return the row that has an encoder's vectors of the canaries, shape (n_canaries, width), and its versions."""
    row = {
        "shard_id": CANARIES,
        "embedding": vectors.reshape(-1),
        "n_frames": len(vectors),
        "passed_over": json.dumps(versions),
    }
    return pa.Table.from_pylist([row], schema=EMBEDDED)


def canary_rows(table: pa.Table) -> pa.Table:
    """Return the rows of :func:`canaries` in a table of :data:`EMBEDDED`."""
    return table.filter(pc.equal(table["shard_id"], CANARIES))


def canaries_in(table: pa.Table) -> list[tuple[npt.NDArray[np.float32], dict[str, str]]]:
    """Return the vectors and versions in the rows of :func:`canaries` in a table of :data:`EMBEDDED`."""
    reports = canary_rows(table)
    vectors = [
        reports["embedding"][row].values.to_numpy().reshape(reports["n_frames"][row].as_py(), -1)
        for row in range(len(reports))
    ]
    return list(zip(vectors, map(json.loads, reports["passed_over"].to_pylist()), strict=True))


def canaries_digest(vectors: npt.NDArray[np.float32], versions: dict[str, str]) -> str:
    """Return what tells the canaries of one encoder from those of another: the same digest, the same vectors."""
    return hashlib.sha256(vectors.tobytes() + json.dumps(versions, sort_keys=True).encode()).hexdigest()


def samples_of(table: pa.Table) -> tuple[npt.NDArray[np.int64], list[Samples]]:
    """Find the rows of ``table`` that are segments, and return their indices and their float32 samples."""
    column = table["samples"]
    rows = np.flatnonzero(column.is_valid().to_numpy())
    return rows, [np.frombuffer(column[int(row)].as_buffer(), dtype=np.float32) for row in rows]


def embedded(
    table: pa.Table,
    rows: npt.NDArray[np.int64],
    embeddings: npt.NDArray[np.float32],
    n_frames: npt.NDArray[np.int64],
    cells: Sequence[CellPart] = (),
) -> pa.Table:
    """Replace the samples of ``rows`` by their embeddings, and by their cells where windows are asked for."""
    is_segment = np.zeros(len(table), dtype=bool)
    is_segment[rows] = True
    frames = np.zeros(len(table), dtype=np.int64)
    frames[rows] = n_frames
    columns = {
        **{name: table[name] for name in _PLACE},
        "embedding": _lists(len(table), rows, embeddings),
        "n_frames": pa.array(frames, mask=~is_segment),
        **{name: table[name] for name in _ENDS},
        "receipt": pa.nulls(len(table), EMBEDDED.field("receipt").type),
        **{name: pa.nulls(len(table), EMBEDDED.field(name).type) for name in CELLS},
    }
    if cells:
        first = np.zeros(len(table), dtype=np.int64)
        first[rows] = [part.first for part in cells]
        columns["cells"] = _lists(len(table), rows, [part.vectors.reshape(-1) for part in cells])
        columns["cell_frames"] = _lists(len(table), rows, [part.n_frames for part in cells])
        columns["first_cell"] = pa.array(first, mask=~is_segment)
    return pa.table(columns, schema=EMBEDDED)


def _lists(length: int, rows: npt.NDArray[np.int64], values: Iterable[npt.NDArray[Any]]) -> pa.ListArray:
    """Return an array of lists with these values in these rows, and null in all others."""
    sizes = np.zeros(length + 1, dtype=np.int64)
    values = list(values)
    sizes[rows + 1] = [len(each) for each in values]
    is_null = np.ones(length, dtype=bool)
    is_null[rows] = False
    flat = pa.array(np.concatenate(values) if values else np.zeros(0, np.float32))
    return pa.ListArray.from_arrays(pa.array(np.cumsum(sizes), pa.int32()), flat, mask=pa.array(is_null))


def cells_in(table: pa.Table, row: int) -> CellPart | None:
    """Return the cells in a row of :data:`EMBEDDED`; None if it has none."""
    first = table["first_cell"][row].as_py()
    if first is None:
        return None
    vectors, n_frames = (table[name][row].values.to_numpy().copy() for name in CELLS[:2])
    return CellPart(first, vectors.reshape(len(n_frames), -1) if len(n_frames) else vectors.reshape(0, 1), n_frames)


def receipts(table: pa.Table) -> pa.Table:
    """Return the receipt of each shard that a table of :data:`DECODED` has pieces of."""
    n_bytes = pc.struct_field(table["outcome"], "bytes")
    counted = pa.table(
        {
            "shard_id": table["shard_id"],
            "bytes": n_bytes,
            "recordings": pc.cast(table["outcome"].is_valid(), pa.int64()),
            "segments": pc.cast(table["samples"].is_valid(), pa.int64()),
        }
    ).filter(table["trouble"].is_null())
    sums = counted.group_by("shard_id").aggregate([(name, "sum") for name in _COUNTS])
    rows = [
        {"shard_id": row["shard_id"], "receipt": {name: row[f"{name}_sum"] or 0 for name in _COUNTS}}
        for row in sums.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=EMBEDDED)


def for_driver(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Divide a table of :data:`EMBEDDED`: what the driver alone is to see, and the pieces of shards."""
    is_canary = pc.fill_null(pc.equal(table["shard_id"], CANARIES), False)
    is_report = pc.or_(is_canary, pc.or_(table["trouble"].is_valid(), table["receipt"].is_valid()))
    return table.filter(is_report), table.filter(pc.invert(is_report))
