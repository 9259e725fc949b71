"""Tables: the requested ids in the texts of a Parquet file or of batches, however nested, and in the schema."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.errors import SchemaError
from detector.schema import FAILURES, SCORES, embeddings_schema
from jobs.erasure.request import ErasureRequest
from jobs.tables.parquet import row_batches

ID_COLUMNS = {"utterance_id", "uri"}
SAFE_COLUMNS = {field.name for schema in (embeddings_schema(1), SCORES, FAILURES) for field in schema}
SAFE_COLUMNS -= ID_COLUMNS | {"message", "claim_generator"}
"""Columns that name no recording: they hold fixed words, numbers and digests. `member` is only a part of an id."""

MAGIC = b"PAR1"

OURS = b"bonafide."
"""Keys of the footers that bonafide writes begin with it; only there the columns are those of the data contract."""


def ids_in_parquet(file: pq.ParquetFile, request: ErasureRequest) -> Iterator[set[str]]:
    """Yield the requested ids in a file's texts and bytes, and in its footer."""
    about = file.metadata.metadata or {}
    is_ours = any(key.startswith(OURS) for key in about)
    yield ids_in_schema(file.schema_arrow, request)
    for pair in about.items():
        if pair[0] != b"ARROW:schema":  # the schema once more, in base64
            yield from (request.ids_in_text(each.decode(errors="replace")) for each in pair)
    safe = SAFE_COLUMNS if is_ours else frozenset()
    columns = [field.name for field in file.schema_arrow if field.name not in safe and _holds_text(field.type)]
    for batch in row_batches(file, columns):
        yield from ids_in_batch(batch, request, ID_COLUMNS if is_ours else frozenset())


def ids_in_schema(schema: pa.Schema, request: ErasureRequest) -> set[str]:
    """Return the requested ids in names and metadata of columns, and in the metadata of the schema."""
    description = schema.to_string(truncate_metadata=False, show_field_metadata=True, show_schema_metadata=False)
    return request.ids_in_text(description) | ids_in_about(schema.metadata, request)


def ids_in_about(metadata: Mapping[bytes, bytes] | None, request: ErasureRequest) -> set[str]:
    """Return the requested ids in keys and values of metadata."""
    about = (each.decode(errors="replace") for pair in (metadata or {}).items() for each in pair)
    return set().union(*map(request.ids_in_text, about))


def refuse_second_table(content: bytes, metadata: pq.FileMetaData) -> None:
    """Refuse a Parquet file that another one was appended to: its footer would be read with the other one's rows.

    Raises
    ------
    SchemaError
        If the end of a file stands in the bytes that are no column's.
    """
    place = len(MAGIC)
    for start, end in [*sorted(_columns(metadata)), (len(content) - len(MAGIC), len(content))]:
        if MAGIC in content[place:start]:
            raise SchemaError("is more than one Parquet file")
        place = max(place, end)


def _columns(metadata: pq.FileMetaData) -> Iterator[tuple[int, int]]:
    """Yield where the bytes of each column of each row group begin and end."""
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            offsets = (column.dictionary_page_offset, column.data_page_offset)
            start = min(each for each in offsets if each is not None)
            yield start, start + column.total_compressed_size


def ids_in_batch(
    batch: pa.RecordBatch, request: ErasureRequest, id_columns: Collection[str] = ()
) -> Iterator[set[str]]:
    """Yield the requested ids in a batch; a whole value is compared in columns that hold ids, all others are text."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        ids_in = request.ids_in_label if name in id_columns else request.ids_in_text
        if _holds_text(column.type):
            yield from (ids_in(value) for array in _text_arrays(column) for value in _distinct_texts(array))


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _holds_text(kind.storage_type)
    if kind.num_fields:
        return any(_holds_text(kind.field(number).type) for number in range(kind.num_fields))
    return _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    tests = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)


def _text_arrays(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of text or bytes that are nested in an array."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from _text_arrays(column.dictionary)
    elif isinstance(kind, pa.BaseExtensionType):
        yield from _text_arrays(column.storage)
    elif pa.types.is_map(kind):
        yield from (*_text_arrays(column.keys), *_text_arrays(column.items))
    elif pa.types.is_struct(kind):
        yield from (array for each in column.flatten() for array in _text_arrays(each))
    elif kind.num_fields:
        yield from _text_arrays(column.flatten())
    elif _is_text(kind):
        yield column


def _distinct_texts(array: pa.Array) -> Iterator[str]:
    for value in pc.unique(array.drop_null()).to_pylist():
        yield value if isinstance(value, str) else value.decode(errors="replace")
