"""Gaps: bytes of a table's file that no column covers, where anything may lie unseen by every reader of tables."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import SchemaError

PARQUET, ARROW = b"PAR1", b"ARROW1"
END_BYTES = 4  # length of the footer, before the last magic


def parquet_gaps(content: bytes, metadata: pq.FileMetaData) -> list[bytes]:
    """Return what lies between the columns of a Parquet file, and between them and the footer: indexes of pages.

    Raises
    ------
    SchemaError
        If another file was appended, or if there are bytes that no index explains.
    """
    footer = len(content) - len(PARQUET) - END_BYTES
    footer -= int.from_bytes(content[footer : footer + END_BYTES], "little")
    place, gaps = len(PARQUET), []
    for start, end in [*sorted(_extents(metadata)), (footer, len(content))]:
        gaps.append(content[place:start])
        place = max(place, end)
    if any(PARQUET in gap for gap in gaps):
        raise SchemaError("is more than one Parquet file")
    gaps = [gap for gap in gaps if gap.strip(b"\0")]
    if gaps and not any(map(_has_index, _columns(metadata))):
        raise SchemaError(f"has {sum(map(len, gaps)):,} bytes that belong to no column")
    return gaps


def refuse_arrow_gap(content: bytes) -> None:
    """Refuse an Arrow file with bytes between its last batch and its footer, or batches that its footer does not list.

    Raises
    ------
    SchemaError
        If there are some, or it is no file of one stream and its footer.
    """
    footer = len(content) - len(ARROW) - END_BYTES
    footer -= int.from_bytes(content[footer : footer + END_BYTES], "little")
    stream = pa.BufferReader(content)
    stream.seek(len(ARROW) + 2)  # of padding
    batches = pa.ipc.open_stream(stream)
    n_batches, n_listed = sum(1 for _ in batches), pa.ipc.open_file(pa.BufferReader(content)).num_record_batches
    if n_batches != n_listed:
        raise SchemaError(f"has {n_batches} batches, and its footer lists {n_listed}")
    if content[stream.tell() : footer].strip(b"\0"):
        raise SchemaError(f"has {footer - stream.tell():,} bytes that belong to no column")


def _columns(metadata: pq.FileMetaData) -> Iterator[pq.ColumnChunkMetaData]:
    for group in range(metadata.num_row_groups):
        if metadata.row_group(group).num_columns != metadata.num_columns:  # Arrow would end the process
            raise SchemaError("has a row group with more columns than the file, or fewer")
        yield from (metadata.row_group(group).column(number) for number in range(metadata.num_columns))


def _extents(metadata: pq.FileMetaData) -> Iterator[tuple[int, int]]:
    """Yield where the bytes of each column of each row group begin and end."""
    for column in _columns(metadata):
        if column.file_path:  # of another file, as all are in the `_metadata` of a dataset
            continue
        offsets = filter(None, (column.dictionary_page_offset, column.data_page_offset))  # 0 without rows
        start = min(offsets, default=len(PARQUET))
        yield start, start + column.total_compressed_size


def _has_index(column: pq.ColumnChunkMetaData) -> bool:
    return column.has_column_index or column.has_offset_index or column.bloom_filter_offset is not None
