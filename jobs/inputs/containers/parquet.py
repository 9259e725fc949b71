"""Parquet files of recordings, as Hugging Face's `datasets` writes them: a column of `bytes` and `path`.

```
audio: struct<bytes: binary, path: string>      or      audio: binary
```

The recordings of a row group are read page by page. Their paths are stored after them, and are read through a second
handle on the same object. The first handle then reads from front to back, and can check every byte against the digest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.errors import SchemaError, ShardError, UtteranceError
from jobs import storage
from jobs.errors import StorageError
from jobs.inputs import untrusted_parquet
from jobs.inputs.containers.member import MAX_MEMBERS, Member, bomb, exceeds_ratio
from jobs.inputs.containers.names import name_fault
from jobs.storage import Stored, StoredFile

OPTIONS = {"buffer_size": 1 << 20, "pre_buffer": False, "page_checksum_verification": True}  # page by page
ROW_DIGITS = 8  # of the row number that names a row without a path
NAME = "audio"
PATHLESS = "the row holds no bytes, only a path; write the bytes into the table"


class Column(NamedTuple):
    """The leaf columns of the recordings' bytes, and of their paths if there are any."""

    content: str
    path: str | None


def audio_column(schema: pa.Schema) -> Column | None:
    """Return the column that holds recordings: the one called `audio`, or the only column of bytes.

    Raises
    ------
    SchemaError
        If there are several columns of bytes, and none is called `audio`.

    Examples
    --------
    >>> audio_column(pa.schema({"audio": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "text": pa.string()}))
    Column(content='audio.bytes', path='audio.path')
    >>> audio_column(pa.schema({"uri": pa.string()})) is None
    True
    """
    columns = {field.name: column for field in schema if (column := _column(field)) is not None}
    if len(columns) > 1 and NAME not in columns:
        raise SchemaError(f"columns {', '.join(sorted(columns))} hold bytes; call the one with recordings `{NAME}`.")
    return columns.get(NAME) or next(iter(columns.values()), None)


def _column(field: pa.Field) -> Column | None:
    if _is_bytes(field.type):
        return Column(field.name, None)
    if not pa.types.is_struct(field.type):
        return None
    inner = {each.name: each.type for each in field.type}
    if not _is_bytes(inner.get("bytes", pa.null())):
        return None
    path = inner.get("path", pa.null())
    is_text = pa.types.is_string(path) or pa.types.is_large_string(path)
    return Column(f"{field.name}.bytes", f"{field.name}.path" if is_text else None)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def content_kind(stored: Stored) -> str | None:
    """Return `audio` if a Parquet file holds recordings, `list` if it has a column `uri`, or None.

    Only the footer is read.

    Raises
    ------
    SchemaError
        If it is not a Parquet file, or if several of its columns could hold the recordings.
    StorageError
    """
    try:
        with storage.opened(stored) as file:
            schema = _opened(file, stored.size).schema_arrow
        is_audio = audio_column(schema) is not None
    except StorageError:
        raise
    except SchemaError as error:
        raise SchemaError(f"{stored.uri}: {error}") from error
    except (pa.ArrowException, ValueError, OSError) as error:
        raise SchemaError(f"{stored.uri}: cannot be read as .parquet: {error}") from error
    return "audio" if is_audio else "list" if "uri" in schema.names else None


def members(file: StoredFile, stored: Stored) -> Iterator[Member]:
    """Yield one member for each row, named by its path, or by its row number if it has none.

    Raises
    ------
    ShardError
        If the bytes are not a Parquet file, are damaged, hold no recordings, or are a decompression bomb.
    """
    with storage.opened(stored) as second:
        try:
            yield from _rows(file, second, stored.size)
        except StorageError:
            raise
        except (pa.ArrowException, SchemaError, ValueError, OSError) as error:
            raise ShardError(f"not a Parquet file, or a damaged one: {error}") from error


def _rows(file: StoredFile, second: StoredFile, size: int) -> Iterator[Member]:
    names = _opened(second, size)
    column = audio_column(names.schema_arrow)
    if column is None:
        raise ShardError(f"no column with recordings; found {', '.join(names.schema_arrow.names)}")
    if names.metadata.num_rows > MAX_MEMBERS:
        raise ShardError(f"{names.metadata.num_rows:,} rows; at most {MAX_MEMBERS:,} are allowed")
    contents = pq.ParquetFile(file, metadata=names.metadata, arrow_extensions_enabled=False, **OPTIONS)
    numbers = itertools.count()
    n_bytes = 0
    for group in range(names.metadata.num_row_groups):
        _refuse_bomb(names.metadata.row_group(group))
        for content, path in zip(
            _values(contents, group, column.content), _values(names, group, column.path), strict=False
        ):
            number = next(numbers)
            buffer = content.as_buffer() if content.is_valid else None
            n_bytes += 0 if buffer is None else len(buffer)
            if exceeds_ratio(n_bytes, size):
                raise ShardError(bomb(n_bytes, size))
            name = f"{number:0{ROW_DIGITS}d}" if path is None or path.as_py() is None else path.as_py()
            yield Member(name, _content(name, buffer), 0 if buffer is None else len(buffer))


def _values(table: pq.ParquetFile, group: int, leaf: str | None) -> Iterator[Any]:
    """Yield values one by one, so that at most one page is in memory; without a leaf, yield None forever."""
    if leaf is None:
        yield from itertools.repeat(None)
        return
    for batch in table.iter_batches(1, row_groups=[group], columns=[leaf], use_threads=False):
        array = batch.column(0)
        yield (pc.struct_field(array, leaf.rpartition(".")[2]) if pa.types.is_struct(array.type) else array)[0]


def _content(name: str, buffer: pa.Buffer | None) -> BinaryIO | UtteranceError:
    fault = name_fault(name)
    if fault is not None:
        return UtteranceError("bad_name", fault)
    return UtteranceError("empty", PATHLESS) if buffer is None else cast(BinaryIO, pa.BufferReader(buffer))


def _refuse_bomb(group: pq.RowGroupMetaData) -> None:
    for index in range(group.num_columns):
        column = group.column(index)
        n_bytes, n_stored = column.total_uncompressed_size, column.total_compressed_size
        if exceeds_ratio(n_bytes, n_stored):
            raise ShardError(f"{column.path_in_schema}: {bomb(n_bytes, n_stored)}")


def _opened(file: StoredFile, size: int) -> pq.ParquetFile:
    return untrusted_parquet.open_file(file, size, **OPTIONS)
