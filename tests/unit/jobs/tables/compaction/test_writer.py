"""The writer of compacted objects: columns of this version, few row groups, rows in order."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import SchemaError
from detector.schema import FAILURES, SCORES
from jobs.tables.compaction.objects import CompactedObject, RowRange
from jobs.tables.compaction.writer import CompactedObjectWriter, RowReader, current_schema


def test_a_column_that_this_version_does_not_write_is_named() -> None:
    later = SCORES.append(pa.field("mood", pa.string()))

    with pytest.raises(SchemaError, match="column mood of string"):
        current_schema("scores", later)


def test_a_reader_returns_as_many_rows_as_are_asked_for() -> None:
    batches = [pa.record_batch({"n": list(range(start, start + 4))}) for start in (0, 4, 8)]
    rows = RowReader(iter(batches))

    found = [[n for batch in rows.read(count) for n in batch["n"].to_pylist()] for count in (1, 3, 0, 6, 5)]

    assert found == [[0], [1, 2, 3], [], [4, 5, 6, 7, 8, 9], [10, 11]]


def test_many_shards_make_few_row_groups() -> None:
    row = {"utterance_id": "a", "uri": "u", "stage": "read", "error": "empty", "message": "", "bytes": 0}
    batch = pa.RecordBatch.from_pylist([row | {"attempts": 1, "run_id": "r"}], schema=FAILURES)
    writer = CompactedObjectWriter("failures", FAILURES)
    for number in range(100):
        writer.add(RowRange(f"{number:06d}", "", 1, "00"), [batch])
    compacted = CompactedObject("f", "o", "l", "failures", ())

    assert pq.read_metadata(io.BytesIO(writer.close(compacted))).num_row_groups == 1
