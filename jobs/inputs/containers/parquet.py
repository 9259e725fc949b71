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
from jobs.inputs import untrusted_parquet
from jobs.inputs.containers.audio_columns import Place, audio_column, columns_of, unread
from jobs.inputs.containers.cells import file_of, wav_of
from jobs.inputs.containers.member import MAX_MEMBERS, Member, refuse_many
from jobs.inputs.containers.names import MAX_NAME_BYTES, name_fault
from jobs.inputs.content_errors import content_errors
from jobs.inputs.expansion import FREE_BYTES, bomb, exceeds_ratio
from jobs.storage import Stored, StoredFile

OPTIONS = {"buffer_size": 1 << 20, "pre_buffer": False, "page_checksum_verification": True}  # page by page
ROW_DIGITS = 8  # of the row number that names a row without a path
FREE_COPIED_BYTES, COPIED_RATIO = 1 << 30, 500
"""Bytes of dictionaries, which Arrow copies for every row: of a file of any size, and for each stored byte."""
MAX_PATH_BYTES = 64 << 10  # of a name that becomes text, only to be refused: shorter ones are shown shortened
NO_COLUMN = "no column with recordings"
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
    with content_errors(SchemaError, f"{stored.uri}: cannot be read as .parquet"):
        with storage.opened(stored) as file:
            schema = _opened(file, stored.size).schema_arrow
        if audio_column(schema) is not None:
            return Content("audio", "")
        return Content("list" if "uri" in schema.names else None, unread(schema))


def members(file: StoredFile, stored: Stored) -> Iterator[Member]:
    """Yield one member for each row, named by its path, or by its row number if it has none.

    Raises
    ------
    ShardError
        If the bytes are not a Parquet file, are damaged, hold no recordings, or are a decompression bomb.
    """
    with storage.opened(stored) as second, content_errors(ShardError, "not a Parquet file, or a damaged one"):
        yield from _rows(file, second, stored.size)


def _rows(file: StoredFile, second: StoredFile, size: int) -> Iterator[Member]:
    names, columns = untrusted_parquet.open_with_columns(second, size, **OPTIONS)
    column = audio_column(names.schema_arrow)
    if column is None:
        raise ShardError(f"{NO_COLUMN}; found {columns_of(names.schema_arrow)}")
    if names.metadata.num_rows > MAX_MEMBERS:
        raise ShardError(f"{names.metadata.num_rows:,} rows; at most {MAX_MEMBERS:,} are allowed")
    refuse_many(names.metadata.num_rows, size)
    contents = untrusted_parquet.open_again(file, size, names.metadata, columns, **OPTIONS)
    values = _Values(size)
    n_rows = n_expected = 0
    for group in range(names.metadata.num_row_groups):
        for cell, path, rate in zip(
            values.of(contents, group, column.content),
            values.of(names, group, column.path),
            values.of(names, group, column.rate),
            strict=False,
        ):
            name, n_path_bytes = _name(path, n_rows)
            n_rows += 1
            if n_path_bytes > MAX_PATH_BYTES:
                fault = f"its path has {n_path_bytes:,} bytes; at most {MAX_NAME_BYTES:,} are read"
                yield Member(name, UtteranceError("bad_name", fault), 0)
            else:
                yield Member(name, *_content(name, cell, rate))
        n_expected += names.metadata.row_group(group).num_rows
        if n_rows != n_expected:
            raise ShardError(f"row group {group} ends after row {n_rows:,} of {n_expected:,}")


class _Values:
    """Values of columns, one by one, so that at most one page is in memory; what Arrow makes of a file is counted.

    A page may hold a text once, and repeat it for each of its values.

    Parameters
    ----------
    size : int
        Of the file.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._n_bytes = self._n_copied = 0

    def of(self, table: pq.ParquetFile, group: int, leaf: Place | None) -> Iterator[Any]:
        """Yield the values of a column in a row group; without a column, yield None forever."""
        if leaf is None:
            yield from itertools.repeat(None)
            return
        for batch in table.iter_batches(1, row_groups=[group], columns=[".".join(leaf)], use_threads=False):
            if batch.num_columns != 1:
                raise ShardError(f"two columns are called {'.'.join(leaf)}")
            array = batch.column(0)
            array = pc.struct_field(array, list(leaf[1:])) if leaf[1:] else array
            if pa.types.is_dictionary(array.type):
                self._count_copy(array.dictionary.nbytes)
                array = array.dictionary.take(array.indices)
            self._n_bytes += array.nbytes
            if exceeds_ratio(self._n_bytes, self._size):
                raise ShardError(bomb(self._n_bytes, self._size))
            yield array[0]

    def _count_copy(self, n_bytes: int) -> None:
        self._n_copied += n_bytes
        if n_bytes > FREE_BYTES or self._n_copied > FREE_COPIED_BYTES + COPIED_RATIO * self._size:
            raise ShardError(f"a dictionary of {n_bytes:,} bytes for too many rows; write the column plain")


def _name(path: Any, row: int) -> tuple[str, int]:
    """Return the name of a row, and the bytes of its path; the row's number if it has none, or one that is too long."""
    n_bytes = len(path.as_buffer()) if path is not None and path.is_valid else None
    if n_bytes is None or n_bytes > MAX_PATH_BYTES:
        return f"{row:0{ROW_DIGITS}d}", n_bytes or 0
    return path.as_py(), n_bytes


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
