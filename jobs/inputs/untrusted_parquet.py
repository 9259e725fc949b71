"""Foreign tables: Parquet that others wrote, read within limits, and without building types that its bytes describe.

A Parquet file may carry an Arrow schema whose extension types are made by Python code that some library registered:
Ray's came from a pickle once. The schema stands in the file's end, and is looked at before Arrow opens it.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MAX_FOOTER_BYTES = 64 << 20
MAX_COLUMNS = 1_000
MAX_RATIO = 200  # bytes of a table for one of its file
FREE_BYTES = 64 << 20  # of a table, whatever its file's size
BATCH_ROWS = 65_536
MAGIC = b"PAR1"
BASE64 = re.compile(rb"[A-Za-z0-9+/]{32,}")


def opened(content: bytes, columns: list[str] | None = None) -> pq.ParquetFile:
    """Open a Parquet file.

    Parameters
    ----------
    content : bytes
        The whole file.
    columns : list of str, optional
        Whose texts are kept as numbers in a dictionary.

    Raises
    ------
    ValueError
        Where it is none, or its end is beyond the limits, or describes extension types. Arrow's are among them.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> pq.write_table(pa.table({"uri": ["a.flac"]}), file)
    >>> opened(file.getvalue()).metadata.num_rows
    1
    """
    return open_file(io.BytesIO(content), len(content), read_dictionary=columns)


def open_file(file: Any, size: int, **options: Any) -> pq.ParquetFile:
    """Open a Parquet file of ``size`` bytes, as :func:`opened`; options are Arrow's.

    Raises
    ------
    ValueError
        As :func:`opened`.
    """
    ends = _at(file, 0, 4), _at(file, max(0, size - 8), 8)
    if size < 12 or ends[0] != MAGIC or ends[1][4:] != MAGIC:
        raise ValueError("no Parquet file")
    n_bytes = int.from_bytes(ends[1][:4], "little")
    if n_bytes > min(MAX_FOOTER_BYTES, size - 12):
        raise ValueError(f"a footer of {n_bytes:,} bytes; {min(MAX_FOOTER_BYTES, size - 12):,} are the most")
    _refuse_extensions(_at(file, size - 8 - n_bytes, n_bytes))
    limits = {"thrift_string_size_limit": MAX_FOOTER_BYTES, "thrift_container_size_limit": 100 * MAX_COLUMNS}
    return pq.ParquetFile(file, arrow_extensions_enabled=False, **limits, **options)


def _at(file: Any, offset: int, n_bytes: int) -> bytes:
    file.seek(offset)
    return bytes(file.read(n_bytes))


def tables(content: bytes) -> Iterator[pa.Table]:
    """All plain columns of a Parquet file, some rows at a time; nested ones are left out. The first has no rows.

    Raises
    ------
    ValueError
        As :func:`opened`; and where the table is far larger than its file.
    """
    with opened(content) as file:
        schema = file.schema_arrow
        if len(schema) > MAX_COLUMNS:
            raise ValueError(f"{len(schema):,} columns; {MAX_COLUMNS:,} are the most")
        fields = [field for field in schema if not pa.types.is_nested(field.type)]
    yield pa.schema(fields).empty_table()
    limit = FREE_BYTES + MAX_RATIO * len(content)
    n_bytes = 0
    names = [field.name for field in fields]
    with opened(content, names) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            n_bytes += sum(map(_full_bytes, batch.columns))
            if n_bytes > limit:
                raise ValueError(f"a table of more than {limit:,} bytes in a file of {len(content):,}")
            yield pa.Table.from_batches([_spelt_out(batch)])


def _full_bytes(column: pa.Array) -> int:
    """Bytes of a column once its texts stand in every row."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return (pc.sum(lengths.take(column.indices)).as_py() or 0) + int(column.indices.nbytes)


def _spelt_out(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _refuse_extensions(footer: bytes) -> None:
    """The Arrow schema is Base64 somewhere in the footer; a length that reads like a digit of it may stand before."""
    for text in BASE64.findall(footer):
        for start in range(4):
            digits = text[start:]
            try:
                described = base64.b64decode(digits[: len(digits) // 4 * 4])
            except binascii.Error:
                continue
            if b"ARROW:extension:name" in described:
                raise ValueError("columns of an Arrow extension type; write plain ones")
