"""Parquet with recordings in it, as Hugging Face's `datasets` writes it: a column of `bytes` and `path`.

```
audio: struct<bytes: binary, path: string>      or      audio: binary
```

The recordings of a row group are read page by page. Their paths, which stand behind them, come through a second
opening of the same object, so that the first is read from front to back and every byte held against its digest.
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
from jobs.inputs.containers.member import MAX_MEMBERS, MAX_RATIO, Member, exceeds_ratio, name_fault
from jobs.storage import Stored, StoredFile

OPTIONS = {"buffer_size": 1 << 20, "pre_buffer": False, "page_checksum_verification": True}  # page by page
ROW_DIGITS = 8  # of a row's number, where it has no path
NAME = "audio"
PATHLESS = "the row holds no bytes, only a path; write the bytes into the table"


class Column(NamedTuple):
    """Where the recordings stand: the leaf of their bytes, and that of their paths where there is one."""

    content: str
    path: str | None


def audio_column(schema: pa.Schema) -> Column | None:
    """The column that holds recordings: the one called `audio`, or the only one that could.

    Raises
    ------
    SchemaError
        Where several could.

    Examples
    --------
    >>> audio_column(pa.schema({"audio": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "text": pa.string()}))
    Column(content='audio.bytes', path='audio.path')
    >>> audio_column(pa.schema({"uri": pa.string()})) is None
    True
    """
    found = {field.name: column for field in schema if (column := _column(field)) is not None}
    if len(found) > 1 and NAME not in found:
        raise SchemaError(f"columns {', '.join(sorted(found))} hold bytes; call the one of recordings `{NAME}`.")
    return found.get(NAME) or next(iter(found.values()), None)


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


def holds(stored: Stored) -> str | None:
    """What a Parquet file is, by its footer: `audio`, or `list` where it has a column `uri`; None: neither.

    Raises
    ------
    SchemaError
        Where it is no Parquet file, or several of its columns could hold the recordings.
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


def walk(file: StoredFile, stored: Stored) -> Iterator[Member]:
    """Walk a Parquet file: a member a row, called by its path, or by its number where it has none.

    Raises
    ------
    ShardError
        Where the bytes are no Parquet file, stop being one, hold no recordings, or swell to what no recordings are.
    """
    with storage.opened(stored) as beside:
        try:
            yield from _rows(file, beside, stored.size)
        except StorageError:
            raise
        except (pa.ArrowException, SchemaError, ValueError, OSError) as error:
            raise ShardError(f"no Parquet file, or not to its end: {error}") from error


def _rows(file: StoredFile, beside: StoredFile, size: int) -> Iterator[Member]:
    names = _opened(beside, size)
    column = audio_column(names.schema_arrow)
    if column is None:
        raise ShardError(f"no column of recordings; found {', '.join(names.schema_arrow.names)}")
    if names.metadata.num_rows > MAX_MEMBERS:
        raise ShardError(f"{names.metadata.num_rows:,} rows; {MAX_MEMBERS:,} are the most")
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
                raise ShardError(f"{n_bytes:,} bytes from {size:,}: more than {MAX_RATIO} from one is a bomb")
            name = f"{number:0{ROW_DIGITS}d}" if path is None or path.as_py() is None else path.as_py()
            yield Member(name, _content(name, buffer), 0 if buffer is None else len(buffer))


def _values(table: pq.ParquetFile, group: int, leaf: str | None) -> Iterator[Any]:
    """One value after another, so that a page is the most that is held; None for each where there is no such leaf."""
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
        if exceeds_ratio(column.total_uncompressed_size, column.total_compressed_size):
            raise ShardError(
                f"{column.path_in_schema}: {column.total_uncompressed_size:,} bytes from "
                f"{column.total_compressed_size:,}: more than {MAX_RATIO} from one is a bomb"
            )


def _opened(file: StoredFile, size: int) -> pq.ParquetFile:
    return untrusted_parquet.open_file(file, size, **OPTIONS)
