"""Untrusted Parquet: files that others wrote, read within limits, and without the extension types that they declare.

A Parquet file may carry an Arrow schema with extension types, which Arrow builds by calling Python code that a library
registered; Ray's extension types used to unpickle bytes of the schema. The schema is part of the file's footer, which
is inspected here before Arrow opens the file.
"""

from __future__ import annotations

import base64
import contextlib
import io
import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.inputs.expansion import FREE_BYTES, MAX_RATIO
from jobs.inputs.footers import Column, columns_of
from jobs.inputs.watched_pages import WatchedPages

MAX_FOOTER_BYTES = 16 << 20  # of 14,000 columns in row groups, each with a kilobyte of statistics
LARGE_FOOTER_BYTES = 1 << 20
MAX_COLUMNS = 1_000
BATCH_ROWS = 65_536
MAGIC = b"PAR1"
EXTENSION = b"ARROW:extension:name"
EXTENSION_IN_BASE64 = tuple(
    base64.b64encode(bytes(n) + EXTENSION)[-(-n * 8 // 6) : (n + len(EXTENSION)) * 8 // 6] for n in range(3)
)
"""The digits of Base64 that it alone decides, in each of the places that it may have among groups of three bytes."""

_one_large_footer = threading.Lock()


def opened(content: bytes, columns: list[str] | None = None) -> pq.ParquetFile:
    """Open a Parquet file.

    Parameters
    ----------
    content : bytes
        The whole file.
    columns : list of str, optional
        Text columns to read as dictionaries, so that repeated texts are held once.

    Raises
    ------
    ValueError
        If it is not a Parquet file, or if its footer is above the limits or declares extension types. Arrow's own
        errors are subclasses.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> pq.write_table(pa.table({"uri": ["a.flac"]}), file)
    >>> opened(file.getvalue()).metadata.num_rows
    1
    """
    return open_file(io.BytesIO(content), len(content), read_dictionary=columns)


def open_file(file: Any, size: int, **options: Any) -> pq.ParquetFile:
    """Open a Parquet file of ``size`` bytes as :func:`opened` does; options are passed to Arrow.

    Each page is looked at before Arrow reads it (:mod:`jobs.inputs.watched_pages`), so each column is read once.

    Raises
    ------
    ValueError
        For the same reasons as :func:`opened`.
    """
    return open_with_columns(file, size, **options)[0]


def open_with_columns(file: Any, size: int, **options: Any) -> tuple[pq.ParquetFile, list[Column]]:
    """Open a Parquet file as :func:`open_file` does, and return its columns, too, for :func:`open_again`."""
    first, last = _read_at(file, 0, 4), _read_at(file, max(0, size - 8), 8)
    if size < 12 or first != MAGIC or last[4:] != MAGIC:
        raise ValueError("not a Parquet file")
    n_bytes = int.from_bytes(last[:4], "little")
    if n_bytes > min(MAX_FOOTER_BYTES, size - 12):
        raise ValueError(f"a footer of {n_bytes:,} bytes; at most {min(MAX_FOOTER_BYTES, size - 12):,} are allowed")
    # a listing opens many files at the same time
    with _one_large_footer if n_bytes > LARGE_FOOTER_BYTES else contextlib.nullcontext():
        footer = _read_at(file, size - 8 - n_bytes, n_bytes)
        columns = columns_of(footer)
        _refuse_extensions(footer)
        limits = {"thrift_string_size_limit": MAX_FOOTER_BYTES, "thrift_container_size_limit": 100 * MAX_COLUMNS}
        pages = WatchedPages(file, size)
        opened = pq.ParquetFile(pages, arrow_extensions_enabled=False, **limits, **options)
    pages.watch(columns)
    return opened, columns


def open_again(
    file: Any, size: int, metadata: pq.FileMetaData, columns: list[Column], **options: Any
) -> pq.ParquetFile:
    """Open a Parquet file through another handle, by the footer that :func:`open_with_columns` found within limits."""
    pages = WatchedPages(file, size)
    pages.watch(columns)
    return pq.ParquetFile(pages, metadata=metadata, arrow_extensions_enabled=False, **options)


def _read_at(file: Any, offset: int, n_bytes: int) -> bytes:
    file.seek(offset)
    return bytes(file.read(n_bytes))


def tables(content: bytes) -> Iterator[pa.Table]:
    """Yield the columns of a Parquet file that are not nested, some rows at a time; the first table has no rows.

    Raises
    ------
    ValueError
        For the same reasons as :func:`opened`, and if the table is far larger than its file.
    """
    with opened(content) as file:
        schema = file.schema_arrow
        if len(schema) > MAX_COLUMNS:
            raise ValueError(f"{len(schema):,} columns; at most {MAX_COLUMNS:,} are allowed")
        fields = [field for field in schema if not pa.types.is_nested(field.type)]
    no_rows = pa.RecordBatch.from_pylist([], schema=pa.schema(fields))
    yield pa.Table.from_batches([_without_dictionaries(no_rows)])
    limit = FREE_BYTES + MAX_RATIO * len(content)
    n_bytes = 0
    names = [field.name for field in fields]
    with opened(content, names) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            n_bytes += sum(map(_decoded_bytes, batch.columns))
            if n_bytes > limit:
                raise ValueError(f"a table of more than {limit:,} bytes in a file of {len(content):,}")
            yield pa.Table.from_batches([_without_dictionaries(batch)])


def _decoded_bytes(column: pa.Array) -> int:
    """Return the bytes of a column once dictionary texts are repeated in every row."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return (pc.sum(lengths.take(column.indices)).as_py() or 0) + int(column.indices.nbytes)


def _without_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _refuse_extensions(footer: bytes) -> None:
    """Raise if the footer holds an Arrow schema with extension types; the schema is Base64 text somewhere in it."""
    if any(each in footer for each in EXTENSION_IN_BASE64):
        raise ValueError("columns of an Arrow extension type; write plain ones")
