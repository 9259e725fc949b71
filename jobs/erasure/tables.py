"""Tables: the requested ids in the texts of a Parquet file or of batches, however nested, and in the schema."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.erasure.arrays import holds_text, is_string, leaves, remains, values
from jobs.erasure.request import ErasureRequest
from jobs.tables.parquet import DIGEST, ERASED, NOTE, SHARD, row_batches

TEXT_COLUMNS = {"message", "claim_generator"}
"""The columns of our own tables that may name a recording: the others hold fixed words, numbers and digests, and
`member` is only a part of an id."""

BytesReader = Callable[[bytes], Iterator[set[str]]]
"""Yields the requested ids in a value that is no text, but bytes."""

FIGURES = re.compile(rb"[0-9a-f]+(-\d{6,})?|yes")
COUNTS = re.compile(rb'\{("\w+": \d+(, )?)*\}')
OURS = b"bonafide."
"""Keys of the footers that bonafide writes begin with it."""


def own_parquet(content: bytes) -> pq.ParquetFile | None:
    """Return an object of a table as a file if bonafide wrote it; None if not, or if it cannot be read."""
    try:
        file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
    except (pa.ArrowException, OSError):
        return None
    return file if any(key.startswith(OURS) for key in file.metadata.metadata or {}) else None


def ids_in_own_parquet(file: pq.ParquetFile, request: ErasureRequest) -> Iterator[set[str]]:
    """Yield the requested ids in an object of a table, whose columns are those of the data contract."""
    about = file.metadata.metadata or {}
    foreign = (pair for pair in _notes(about) if not _is_own_note(*pair))
    yield set().union(*(request.ids_in_text(each.decode(errors="replace")) for pair in foreign for each in pair))
    ways = {"utterance_id": request.ids_of} | dict.fromkeys(TEXT_COLUMNS, request.ids_in_text)
    columns = [name for name in file.schema_arrow.names if name in ways or name == "uri"]
    for batch in row_batches(file, columns):
        for name in ways.keys() & columns:
            yield from map(ways[name], pc.unique(batch[name].drop_null()).to_pylist())
        if {"utterance_id", "uri"} <= {*columns}:
            yield {each for each, _ in files_named(batch, request)}
        elif "uri" in columns:
            yield from map(request.ids_in_label, pc.unique(batch["uri"].drop_null()).to_pylist())


def files_named(rows: pa.Table | pa.RecordBatch, request: ErasureRequest) -> Iterator[tuple[str, str]]:
    """Yield each requested id that a file itself has of which rows are, and the id of such a row."""
    for uri in pc.unique(rows["uri"]).to_pylist() if "uri" in rows.schema.names else ():  # segments name none
        if uri is not None and request.ids_in_label(uri):
            for user in pc.unique(rows["utterance_id"].filter(pc.equal(rows["uri"], uri))).to_pylist():
                yield from ((each, user) for each in request.ids_of_file(uri, user or ""))


def ids_in_parquet(content: bytes, request: ErasureRequest, ids_in_bytes: BytesReader) -> Iterator[set[str]]:
    """Yield the requested ids in the texts and bytes of a foreign file, in its dictionaries, and in its footer."""
    about = pq.read_metadata(io.BytesIO(content))
    texts = [column.path for column in map(about.schema.column, range(about.num_columns)) if _is_text_column(column)]
    # with their dictionaries, in which values may be that no row has
    file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True, read_dictionary=texts)
    yield ids_in_schema(file.schema_arrow, request)
    yield ids_in_about(dict(_notes(about.metadata or {})), request)
    chunks = list(_chunks(about))
    yield from map(request.ids_in_foreign_text, _texts_of_chunks(chunks))
    if chunks and all(chunk.file_path for chunk in chunks):  # its rows are in other files
        return
    columns = [field.name for field in file.schema_arrow if holds_text(field.type)]
    for batch in row_batches(file, columns):
        yield from ids_in_batch(batch, request, ids_in_bytes)


def _chunks(about: pq.FileMetaData) -> Iterator[pq.ColumnChunkMetaData]:
    groups = map(about.row_group, range(about.num_row_groups))
    return (group.column(number) for group in groups for number in range(group.num_columns))


def _texts_of_chunks(chunks: Iterable[pq.ColumnChunkMetaData]) -> set[str]:
    """Return what a footer says of chunks of columns: files that they are in, as in `_metadata`, and extreme values."""
    texts: set[str] = set()
    for chunk in chunks:
        said = chunk.statistics if chunk.is_stats_set else None
        extremes = (said.min, said.max) if said is not None and said.has_min_max else ()
        texts.update(_text_leaves([chunk.file_path or "", *extremes]))
    return texts


def _is_text_column(column: pq.ColumnSchema) -> bool:
    return bool(column.physical_type == "BYTE_ARRAY" and column.logical_type.type != "DECIMAL")


def _notes(about: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
    return (pair for pair in about.items() if pair[0] != b"ARROW:schema")  # the schema once more, in base64


def _is_own_note(key: bytes, value: bytes) -> bool:
    """Return True for what bonafide writes into footers: the name of a shard, digests, and counts."""
    if key in (SHARD, DIGEST, ERASED):
        return FIGURES.fullmatch(value) is not None
    return key == NOTE and COUNTS.fullmatch(value) is not None


def ids_in_schema(schema: pa.Schema, request: ErasureRequest) -> set[str]:
    """Return the requested ids in names and metadata of columns, and in the metadata of the schema."""
    description = schema.to_string(truncate_metadata=False, show_field_metadata=True, show_schema_metadata=False)
    return request.ids_in_foreign_text(description) | ids_in_about(schema.metadata, request)


def ids_in_about(metadata: Mapping[bytes, bytes] | None, request: ErasureRequest) -> set[str]:
    """Return the requested ids in keys and values of metadata."""
    about = (each.decode(errors="replace") for pair in (metadata or {}).items() for each in pair)
    return set().union(*map(request.ids_in_foreign_text, about))


def ids_in_batch(batch: pa.RecordBatch, request: ErasureRequest, ids_in_bytes: BytesReader) -> Iterator[set[str]]:
    """Yield the requested ids in the texts and bytes of a batch, each alone, and in the texts of a row together.

    Bytes that no row shows count, too.
    """
    batch.validate(full=True)
    for leaf in (leaf for column in batch.columns if holds_text(column.type) for leaf in leaves(column)):
        for value in values(leaf):
            if isinstance(value, str):
                yield request.ids_in_foreign_text(value)
            else:
                yield from ids_in_bytes(value)
        yield from map(request.ids_in_remains, remains(leaf))
    for separator in ("/", "\t"):
        yield request.ids_in_foreign_text("\n".join(_lines(batch, separator)))


def _lines(batch: pa.RecordBatch, separator: str) -> Iterator[str]:
    """Yield the texts of each row as a line, also those inside of lists and structs: an id may be in several."""
    held = [column for column in batch.columns if holds_text(column.type)]
    if all(is_string(column.type) for column in held):
        yield from _lines_of_strings(held, separator)
        return
    for row in zip(*(column.to_pylist() for column in held), strict=True):
        yield separator.join(_text_leaves(row)).replace("\n", " ")


def _lines_of_strings(columns: list[pa.Array], separator: str) -> Iterator[str]:
    texts = [column.cast("large_string") for column in columns]
    if len(texts) < 2:
        return
    lines = pc.binary_join_element_wise(
        *texts, pa.scalar(separator, pa.large_string()), null_handling="replace", null_replacement=""
    )
    yield from pc.unique(pc.replace_substring(lines, "\n", " ")).to_pylist()


def _text_leaves(value: Any) -> Iterator[str]:
    """Yield the texts in a value of a cell; bytes count as text."""
    if isinstance(value, str | bytes):
        yield value if isinstance(value, str) else value.decode(errors="replace")
    elif isinstance(value, Mapping | list | tuple):
        parts = value.values() if isinstance(value, Mapping) else value
        yield from (text for each in parts for text in _text_leaves(each))
