"""Parquet files of recordings, as Hugging Face's `datasets` writes them, and in the other forms of `audio_columns`.

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
from jobs.inputs.containers.audio_columns import Place, audio_column, columns_of, unread
from jobs.inputs.containers.cells import file_of, wav_of
from jobs.inputs.containers.member import MAX_MEMBERS, Member, refuse_many
from jobs.inputs.containers.names import name_fault
from jobs.inputs.expansion import FREE_BYTES, bomb, exceeds_ratio
from jobs.storage import Stored, StoredFile

OPTIONS = {"buffer_size": 1 << 20, "pre_buffer": False, "page_checksum_verification": True}  # page by page
ROW_DIGITS = 8  # of the row number that names a row without a path
MAX_COPIED_BYTES = 32 << 30  # of dictionaries, which Arrow copies for every row; some seconds
PATHLESS = "the row holds no bytes, only a path; write the bytes into the table"


class Content(NamedTuple):
    """What a Parquet file holds: `audio` if recordings, `list` if it has a column `uri`, or None.

    `unread` has the columns of a table that looks as if it held recordings in a form that is not read.
    """

    kind: str | None
    unread: str


def content_of(stored: Stored) -> Content:
    """Return what a Parquet file holds. Only the footer is read.

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
    if is_audio:
        return Content("audio", "")
    return Content("list" if "uri" in schema.names else None, unread(schema))


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
    names, columns = untrusted_parquet.open_with_columns(second, size, **OPTIONS)
    column = audio_column(names.schema_arrow)
    if column is None:
        raise ShardError(f"no column with recordings; found {columns_of(names.schema_arrow)}")
    if names.metadata.num_rows > MAX_MEMBERS:
        raise ShardError(f"{names.metadata.num_rows:,} rows; at most {MAX_MEMBERS:,} are allowed")
    refuse_many(names.metadata.num_rows, size)
    contents = untrusted_parquet.open_again(file, size, names.metadata, columns, **OPTIONS)
    n_bytes = n_rows = n_expected = 0
    for group in range(names.metadata.num_row_groups):
        for cell, path, rate in zip(
            _values(contents, group, column.content),
            _values(names, group, column.path),
            _values(names, group, column.rate),
            strict=False,
        ):
            name = f"{n_rows:0{ROW_DIGITS}d}" if path is None or path.as_py() is None else path.as_py()
            n_rows += 1
            content, n_content = _content(name, cell, rate)
            n_bytes += n_content
            if exceeds_ratio(n_bytes, size):
                raise ShardError(bomb(n_bytes, size))
            yield Member(name, content, n_content)
        n_expected += names.metadata.row_group(group).num_rows
        if n_rows != n_expected:
            raise ShardError(f"row group {group} ends after row {n_rows:,} of {n_expected:,}")


def _values(table: pq.ParquetFile, group: int, leaf: Place | None) -> Iterator[Any]:
    """Yield values one by one, so that at most one page is in memory; without a leaf, yield None forever."""
    if leaf is None:
        yield from itertools.repeat(None)
        return
    n_copied = 0
    for batch in table.iter_batches(1, row_groups=[group], columns=[".".join(leaf)], use_threads=False):
        if batch.num_columns != 1:
            raise ShardError(f"two columns are called {'.'.join(leaf)}")
        array = batch.column(0)
        array = pc.struct_field(array, list(leaf[1:])) if leaf[1:] else array
        if pa.types.is_dictionary(array.type):
            n_copied += array.dictionary.nbytes
            if array.dictionary.nbytes > FREE_BYTES or n_copied > MAX_COPIED_BYTES:
                raise ShardError(
                    f"a dictionary of {array.dictionary.nbytes:,} bytes for too many rows; write the column plain"
                )
        yield array[0]


def _content(name: str, cell: Any, rate: Any) -> tuple[BinaryIO | UtteranceError, int]:
    """Return the content of a row, or why it cannot be read, and its size."""
    fault = name_fault(name)
    if fault is not None:
        return UtteranceError("bad_name", fault), 0
    try:
        buffer = file_of(cell) if rate is None else wav_of(cell, rate)
    except UtteranceError as error:
        return error, 0
    if buffer is None:
        return UtteranceError("empty", PATHLESS), 0
    return cast(BinaryIO, pa.BufferReader(buffer)), len(buffer)


def _opened(file: StoredFile, size: int) -> pq.ParquetFile:
    return untrusted_parquet.open_file(file, size, **OPTIONS)
