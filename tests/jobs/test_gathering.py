"""jobs.gathering and jobs.pieces: whatever the order of pieces, a shard comes out whole, once, and to the bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from detector.errors import UtteranceError
from detector.recording import Facts
from detector.schema import FAILURES, embeddings_schema
from jobs import pieces
from jobs.gathering import Gatherer, ShardRows
from jobs.pieces import Piece

DIM = 3
FACTS = Facts("ab", 1.0, 16_000, 1, "flac/pcm_16", "soundfile", -20.0, 1)


def two_segments() -> Facts:
    return Facts("cd", 2.0, 8_000, 2, "wav/pcm_16", "soundfile", -30.0, 2)


def encode(rows: list[Piece]) -> pa.Table:
    """As an encoder does: the embedding is the segment's first sample, its frames the number of samples."""
    table = pa.concat_tables(pieces.batches(rows))
    places, samples = pieces.samples_of(table)
    embeddings = np.array([[each[0]] * DIM for each in samples], np.float32).reshape(-1, DIM)
    return pieces.embedded(table, places, embeddings, np.array([len(each) for each in samples], np.int64))


def samples(value: float, count: int) -> np.ndarray:
    return np.full(count, value, np.float32)


def shard(name: str) -> list[Piece]:
    """One utterance of two segments, one that failed after a segment, one of one segment."""
    broken = UtteranceError("decode_error", "stopped")
    return [
        pieces.segment(name, 0, 0, samples(1.0, 30)),
        pieces.segment(name, 0, 1, samples(4.0, 10)),
        pieces.outcome(name, 0, pieces.decoded(f"{name}/a", "u", None, 9, two_segments())),
        pieces.segment(name, 1, 0, samples(7.0, 10)),
        pieces.outcome(name, 1, pieces.failed(f"{name}/b", "u", None, 9, "decode", broken)),
        pieces.segment(name, 2, 0, samples(0.1, 10)),
        pieces.outcome(name, 2, pieces.decoded(f"{name}/c", "u", None, 9, FACTS)),
        pieces.shard_end(name, 3),
    ]


def gathered(tables: list[pa.Table]) -> tuple[Gatherer, list[ShardRows]]:
    gatherer = Gatherer()
    return gatherer, [rows for table in tables for rows in gatherer.add(table)]


@pytest.mark.parametrize("seed", range(10))
def test_any_order_gives_each_shard_once_with_the_same_rows(seed: int) -> None:
    table = encode([*shard("s"), *shard("t")])
    order = np.random.default_rng(seed).permutation(len(table))
    parts = [table.take(part) for part in np.array_split(order, 5)]

    gatherer, whole = gathered(parts)

    assert sorted(rows.shard_id for rows in whole) == ["s", "t"]
    assert gatherer.unfinished == []
    first = next(rows for rows in whole if rows.shard_id == "s")
    embeddings, failures = first.tables(9, "print", "run")
    assert embeddings.schema == embeddings_schema(DIM)
    assert failures.schema == FAILURES
    assert embeddings["utterance_id"].to_pylist() == ["s/a", "s/c"]
    # 30 frames at 1 and 10 at 4: their mean is 1.75; one segment alone keeps its bits
    assert embeddings["embedding"].to_pylist() == [[1.75] * DIM, [float(np.float32(0.1))] * DIM]
    assert failures.select(["utterance_id", "stage", "error", "attempts"]).to_pylist() == [
        {"utterance_id": "s/b", "stage": "decode", "error": "decode_error", "attempts": 1}
    ]


def test_pieces_that_come_again_change_nothing() -> None:
    table = encode(shard("s"))

    gatherer, whole = gathered([table.slice(0, 4), table, table])

    assert len(whole) == 1
    assert gatherer.unfinished == []


@pytest.mark.parametrize("missing", range(8))
def test_a_shard_is_not_whole_while_a_piece_that_counts_is_missing(missing: int) -> None:
    table = encode([piece for index, piece in enumerate(shard("s")) if index != missing])

    gatherer, whole = gathered([table])

    dropped_with_its_utterance = 3  # the failed utterance's segment counts for nothing
    assert bool(whole) == (missing == dropped_with_its_utterance)
    assert (gatherer.unfinished == ["s"]) == (missing != dropped_with_its_utterance)


def test_an_embedding_that_is_not_finite_is_a_failure_of_the_encoder() -> None:
    rows = [*shard("s")[:3], pieces.shard_end("s", 1)]
    rows[0] = pieces.segment("s", 0, 0, samples(np.inf, 30))

    _, (whole,) = gathered([encode(rows)])
    embeddings, failures = whole.tables(0, "print", "run")

    assert len(embeddings) == 0
    assert failures.select(["stage", "error"]).to_pylist() == [{"stage": "embed", "error": "nonfinite"}]


def test_an_utterance_without_a_frame_has_a_row_without_an_embedding() -> None:
    table = encode([*shard("s")[5:7], pieces.shard_end("s", 1)])
    frames = pa.array([0 if value is not None else None for value in table["n_frames"].to_pylist()], pa.int64())
    table = table.set_column(table.column_names.index("n_frames"), "n_frames", frames)
    ordinals = pa.array([None if value is None else 0 for value in table["ordinal"].to_pylist()], pa.int32())
    table = table.set_column(table.column_names.index("ordinal"), "ordinal", ordinals)

    _, (whole,) = gathered([table])

    assert whole.tables(0, "print", "run")[0]["embedding"].to_pylist() == [None]


def test_samples_travel_to_the_bit_in_tables_of_bounded_size() -> None:
    rng = np.random.default_rng(0)
    sent = [rng.normal(size=480_000).astype(np.float32) for _ in range(12)]  # 30 s each, 23 MB in all

    tables = list(pieces.batches(pieces.segment("s", 0, index, each) for index, each in enumerate(sent)))

    assert [len(table) for table in tables] == [5, 5, 2]  # the fifth passes 8 MiB
    received = [each for table in tables for each in pieces.samples_of(table)[1]]
    assert all(np.array_equal(one, other) for one, other in zip(sent, received, strict=True))
