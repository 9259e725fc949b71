"""The writer of compacted objects: it takes batches of rows and returns the bytes of one Parquet object."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import SchemaError
from detector.schema import FAILURES, SCORES, SEGMENTS, embeddings_schema
from jobs.tables.checksummed_json import dump_checksummed
from jobs.tables.compaction.objects import FOOTER_KEY, CompactedObject, RowRange
from jobs.tables.parquet import parquet_options

MIB = 1 << 20
GROUP_BYTES = 32 * MIB  # of rows in memory that become one row group
RANGE_BYTES, CHUNK_BYTES = 200, 300  # of a footer: for each row range, and for each column of a row group


class CompactedObjectWriter:
    """Writes one compacted object.

    Parameters
    ----------
    table : str
    schema : pa.Schema
        Schema of any of its shards. The object gets the columns of :mod:`detector.schema`; a column that an earlier
        version did not write is null.
    """

    def __init__(self, table: str, schema: pa.Schema) -> None:
        self.table = table
        self.ranges: list[RowRange] = []
        self._schema, self._checked = current_schema(table, schema), schema
        self._file = io.BytesIO()
        self._writer = pq.ParquetWriter(self._file, self._schema, **parquet_options(self._schema))
        self._batches: list[pa.RecordBatch] = []
        self._n_groups = 0
        self._n_bytes = 0  # of the batches in memory
        self._most_stored_bytes = 0  # of their shards' objects: an upper bound, as those are mostly footer

    def add(self, row_range: RowRange, batches: Iterable[pa.RecordBatch], n_bytes: int = 0) -> None:
        """Take the rows of a shard; ``n_bytes`` is the size of its object."""
        self.ranges.append(row_range)
        self._most_stored_bytes += n_bytes
        for batch in batches:
            if batch.schema != self._checked:  # checked for every shard, or columns that only later ones have were lost
                if current_schema(self.table, batch.schema) != self._schema:
                    raise SchemaError(
                        f"{self.table}: shard {row_range.shard} has embeddings of another size than others."
                    )
                self._checked = batch.schema
            self._batches.append(_with_all_columns(batch, self._schema))
            self._n_bytes += self._batches[-1].nbytes
            if self._n_bytes >= GROUP_BYTES:
                self._flush()

    def has_room(self, n_bytes: int, limit: int) -> bool:
        """Return True if a shard whose object has ``n_bytes`` fits into an object of ``limit`` bytes."""
        if self._written_bytes() + self._most_stored_bytes + n_bytes > limit:
            self._flush()  # now the size of what is held is known, not estimated
        return self._written_bytes() + n_bytes <= limit

    def _written_bytes(self) -> int:
        """Return the bytes so far, with the footer's."""
        chunks = (self._n_groups + 1) * len(self._schema)
        return int(self._file.tell()) + RANGE_BYTES * len(self.ranges) + CHUNK_BYTES * chunks

    def close(self, compacted: CompactedObject) -> bytes:
        """Return the bytes of the object; its footer holds ``compacted``."""
        self._flush()
        self._writer.add_key_value_metadata({FOOTER_KEY: dump_checksummed(compacted.to_content())})
        self._writer.close()
        content = self._file.getvalue()
        del self._writer, self._file  # else the object would stay in memory until the next one is begun
        return content

    def _flush(self) -> None:
        """Write the batches in memory as one row group."""
        if any(map(len, self._batches)):
            rows = pa.Table.from_batches(self._batches, self._schema)
            self._writer.write_table(rows, row_group_size=len(rows))
            self._n_groups += 1
        self._batches, self._n_bytes, self._most_stored_bytes = [], 0, 0


class RowReader:
    """Reads rows of an object from front to back, a given number at a time."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rest: pa.RecordBatch | None = None

    def read(self, count: int) -> list[pa.RecordBatch]:
        """Return the next ``count`` rows; fewer at the end."""
        read = []
        while count and (batch := self._rest if self._rest is not None else next(self._batches, None)) is not None:
            read.append(batch.slice(0, count))
            self._rest = batch.slice(count) if len(batch) > count else None
            count -= len(read[-1])
        return read


def current_schema(table: str, schema: pa.Schema) -> pa.Schema:
    """Return the schema that this version writes for the table of an object, which may lack some of its columns.

    Raises
    ------
    SchemaError
        If the object has columns or types that this version does not know.
    """
    current = {"scores": SCORES, "segments": SEGMENTS, "failures": FAILURES}.get(table)
    if current is None:
        kind = schema.field("embedding").type
        if not pa.types.is_fixed_size_list(kind):
            raise SchemaError(f"{table}: embedding of {kind}; expected a fixed-size list.")
        current = embeddings_schema(kind.list_size)
    for each in schema:
        if each.name not in current.names or current.field(each.name).type != each.type:
            raise SchemaError(f"{table}: column {each.name} of {each.type}, which this version does not write. Update.")
    return current


def _with_all_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    names = batch.schema.names
    columns = [batch[each.name] if each.name in names else pa.nulls(len(batch), each.type) for each in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
