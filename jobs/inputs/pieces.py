"""Pieces: the rows that flow from decode to encode to commit. Each carries its shard and ordinal, never a position.

```
shard_id  ordinal  segment  samples     outcome                      n_utterances
3f…       0        0        <30 s>
3f…       0        1        <12 s>
3f…       0                             id, uri, 42 s, 2 segments
3f…       1                             id, uri, error: not_audio
3f…                                                                  2             end of the shard
```

An encoder replaces `samples` by `embedding` and `n_frames`, and passes all other columns on. The error of a worker is a
row too, in the column `trouble`: an exception would lose its class on the way to the driver.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
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

CANARIES = "canaries"
"""In place of a shard's id: the row that has an encoder's vectors of :mod:`detector.canaries`."""

BATCH_BYTES = 8 << 20  # about 130 s of audio, which a task hands over at a time

Piece = dict[str, Any]

_PLACE = {"shard_id": pa.string(), "ordinal": pa.int32(), "segment": pa.int32()}
_OUTCOME = pa.struct([*OUTCOME, pa.field("n_segments", pa.int32())])
_ENDS = {"outcome": _OUTCOME, "n_utterances": pa.int32(), "passed_over": pa.string(), "trouble": pa.string()}

DECODED = pa.schema({**_PLACE, "samples": pa.binary(), **_ENDS})
EMBEDDED = pa.schema({**_PLACE, "embedding": pa.list_(pa.float32()), "n_frames": pa.int64(), **_ENDS})


def segment(shard_id: str, ordinal: int, index: int, samples: Samples) -> Piece:
    """Make a piece of one segment of one utterance: float32 samples at 16 kHz."""
    return {"shard_id": shard_id, "ordinal": ordinal, "segment": index, "samples": samples.tobytes()}


def outcome(shard_id: str, ordinal: int, found: dict[str, Any]) -> Piece:
    """Make the piece that follows the segments of an utterance: its facts, or its failure."""
    return {"shard_id": shard_id, "ordinal": ordinal, "outcome": found}


def shard_end(shard_id: str, n_utterances: int, passed_over: dict[str, Any] | None = None) -> Piece:
    """Make the last piece of a shard, which is complete with this many outcomes and all of their segments.

    It also carries the members that were passed over, as :meth:`jobs.inputs.passed_over.PassedOver.to_content` counts
    them.
    """
    end = {"shard_id": shard_id, "n_utterances": n_utterances}
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


def of(part: str, rows: Iterable[Piece]) -> Iterator[Piece]:
    """Return the pieces that belong to a :attr:`jobs.inputs.shards.Portion.part`.

    Examples
    --------
    >>> [piece["ordinal"] for piece in of("known", [{"ordinal": 0, "samples": b""}, {"ordinal": 1}])]
    [1]
    """
    return (row for row in rows if part == "all" or ("samples" in row) == (part == "segments"))


def batches(rows: Iterable[Piece], table_bytes: int = BATCH_BYTES) -> Iterator[pa.Table]:
    """Collect pieces into tables of about ``table_bytes``, within which an encoder may sort by length."""
    held: list[Piece] = []
    n_bytes = 0
    for row in rows:
        held.append(row)
        n_bytes += len(row.get("samples") or b"")
        if n_bytes >= table_bytes:
            yield pa.Table.from_pylist(held, schema=DECODED)
            held, n_bytes = [], 0
    if held:
        yield pa.Table.from_pylist(held, schema=DECODED)


def canaries(vectors: npt.NDArray[np.float32], versions: dict[str, str]) -> pa.Table:
    """Return the row that has an encoder's vectors of the canaries, shape (n_canaries, width), and its versions."""
    row = {
        "shard_id": CANARIES,
        "embedding": vectors.reshape(-1),
        "n_frames": len(vectors),
        "passed_over": json.dumps(versions),
    }
    return pa.Table.from_pylist([row], schema=EMBEDDED)


def without_canaries(table: pa.Table) -> tuple[pa.Table, list[tuple[npt.NDArray[np.float32], dict[str, str]]]]:
    """Take the rows of :func:`canaries` out of a table of :data:`EMBEDDED`; return the rest, and what they have."""
    is_report = pc.fill_null(pc.equal(table["shard_id"], CANARIES), False)
    if not pc.any(is_report).as_py():
        return table, []
    reports = table.filter(is_report)
    vectors = [
        reports["embedding"][row].values.to_numpy().reshape(reports["n_frames"][row].as_py(), -1)
        for row in range(len(reports))
    ]
    return table.filter(pc.invert(is_report)), list(
        zip(vectors, map(json.loads, reports["passed_over"].to_pylist()), strict=True)
    )


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
) -> pa.Table:
    """Replace the samples of ``rows`` by their embeddings."""
    lengths = np.zeros(len(table) + 1, dtype=np.int32)
    lengths[rows + 1] = embeddings.shape[1]
    is_segment = np.zeros(len(table), dtype=bool)
    is_segment[rows] = True
    frames = np.zeros(len(table), dtype=np.int64)
    frames[rows] = n_frames
    vectors = pa.ListArray.from_arrays(
        pa.array(np.cumsum(lengths, dtype=np.int32)), pa.array(embeddings.reshape(-1)), mask=pa.array(~is_segment)
    )
    columns = {
        **{name: table[name] for name in _PLACE},
        "embedding": vectors,
        "n_frames": pa.array(frames, mask=~is_segment),
        **{name: table[name] for name in _ENDS},
    }
    return pa.table(columns, schema=EMBEDDED)
