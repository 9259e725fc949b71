"""Samples and outcomes are passed in tables of bounded size, and are not changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest

from detector.errors import UtteranceError
from detector.segment_columns import MEASURED
from jobs.inputs import pieces
from jobs.inputs.pieces import Piece
from tests.support.facts import made_up_facts

SEGMENT_SAMPLES = 480_000  # 30 s, 1.92 MB


def test_samples_are_passed_to_the_bit_in_tables_of_bounded_size() -> None:
    rng = np.random.default_rng(0)
    sent = [rng.normal(size=SEGMENT_SAMPLES).astype(np.float32) for _ in range(12)]

    tables = list(pieces.batches(pieces.segment("s", 0, index, each) for index, each in enumerate(sent)))

    assert [len(table) for table in tables] == [2] * 6  # the second passes 2 MiB
    received = [each for table in tables for each in pieces.samples_of(table)[1]]
    assert [each.tobytes() for each in received] == [each.tobytes() for each in sent]


def test_odd_numbers_keep_their_bits() -> None:
    sent = np.array([0.0, -0.0, np.nan, np.inf, np.finfo(np.float32).smallest_subnormal], np.float32)

    (table,) = pieces.batches([pieces.segment("s", 0, 0, sent)])

    assert pieces.samples_of(table)[1][0].tobytes() == sent.tobytes()


def test_a_table_is_yielded_before_the_next_piece_is_requested() -> None:
    asked = []

    def rows() -> Iterator[Piece]:
        for index in range(10):
            asked.append(index)
            yield pieces.segment("s", 0, index, np.zeros(SEGMENT_SAMPLES, np.float32))

    next(pieces.batches(rows()))

    assert asked == [0, 1]


def test_pieces_that_come_slowly_are_handed_on_before_there_are_many() -> None:
    seconds = iter(range(100))  # a second a look: two looks at the first piece of a table, one at each other
    sent = [pieces.shard_end(f"{number}", 0) for number in range(12)]

    tables = list(pieces.batches(sent, clock=lambda: float(next(seconds))))

    assert [len(table) for table in tables] == [5, 5, 2]


def test_no_pieces_give_no_table() -> None:
    assert list(pieces.batches([])) == []


def test_segments_are_found_between_outcomes() -> None:
    failure = pieces.failed("a", "u", None, 9, "read", UtteranceError("empty", "0 bytes"))
    rows = [
        pieces.outcome("s", 0, failure),
        pieces.segment("s", 1, 0, np.ones(3, np.float32)),
        pieces.segment("s", 2, 0, np.ones(2, np.float32)),
        pieces.shard_end("s", 3),
    ]

    (table,) = pieces.batches(rows)

    places, samples = pieces.samples_of(table)
    assert places.tolist() == [1, 2]
    assert [len(each) for each in samples] == [3, 2]
    assert table["ordinal"].to_pylist() == [0, 1, 2, None]


def test_outcomes_come_back_with_every_fact() -> None:
    facts = made_up_facts(seconds=1.5, native_rate=8_000, channels=2, codec="wav/pcm_16", rms_dbfs=-20.5)
    error = UtteranceError("not_audio", "keine Töne")
    sent = [
        pieces.decoded("0.tar#日本.flac", "s3://b/0.tar", "日本.flac", 1 << 40, facts),
        pieces.failed("0.tar#b", "s3://b/0.tar", "b", 7, "decode", error),
    ]

    (table,) = pieces.batches(pieces.outcome("s", index, each) for index, each in enumerate(sent))
    decoded, failed = table["outcome"].to_pylist()

    where = {"uri": "s3://b/0.tar", "stage": None, "error": None, "message": None} | dict.fromkeys(MEASURED)
    assert decoded == {
        **where,
        "utterance_id": "0.tar#日本.flac",
        "member": "日本.flac",
        "bytes": 1 << 40,
        **asdict(facts),
        "start": None,
        "end": None,
        "channel": None,
    }
    assert failed == dict.fromkeys([*asdict(facts), "start", "end", "channel"]) | {
        **where,
        "utterance_id": "0.tar#b",
        "member": "b",
        "bytes": 7,
        "stage": "decode",
        "error": "not_audio",
        "message": "keine Töne",
    }


@pytest.mark.parametrize("dim", [1, 3])
def test_embeddings_take_the_place_of_samples_and_leave_the_rest(dim: int) -> None:
    rows = [
        pieces.segment("s", 0, 0, np.zeros(9, np.float32)),
        pieces.shard_end("t", 0),
        pieces.segment("s", 0, 1, np.zeros(9, np.float32)),
    ]
    table = pa.Table.from_pylist(rows, schema=pieces.DECODED)
    vectors = np.arange(2 * dim, dtype=np.float32).reshape(2, dim)

    embedded = pieces.embedded(table, pieces.samples_of(table)[0], vectors, np.array([4, 0]))

    assert embedded.schema == pieces.EMBEDDED
    assert embedded["embedding"].to_pylist() == [vectors[0].tolist(), None, vectors[1].tolist()]
    assert embedded["n_frames"].to_pylist() == [4, None, 0]
    for name in ("shard_id", "ordinal", "segment", "outcome", "n_utterances", "trouble"):
        assert embedded[name] == table[name]


def test_a_table_without_segments_has_no_embeddings() -> None:
    (table,) = pieces.batches([pieces.shard_end("s", 0)])

    embedded = pieces.embedded(table, pieces.samples_of(table)[0], np.zeros((0, 3), np.float32), np.zeros(0, np.int64))

    assert embedded.schema == pieces.EMBEDDED
    assert embedded.to_pylist() == [dict.fromkeys(pieces.EMBEDDED.names) | {"shard_id": "s", "n_utterances": 0}]
