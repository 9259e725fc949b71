"""Foreign objects: what other programs put beside the tables. Their content says what they are, never their name.

Copies, backups, half-written files and exports may hold rows of a recording. What cannot be read as a table or as text
raises an error, as it may hold anything.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.orc
import pyarrow.parquet as pq

from detector.errors import SchemaError
from jobs.erasure.gaps import parquet_gaps, refuse_arrow_gap
from jobs.erasure.packed import ARROW_FILE, FEATHER, ORC, PARQUET, TABLES, UNPACK_ERRORS, Unpacker
from jobs.erasure.parts import Kind, Part
from jobs.erasure.request import ErasureRequest
from jobs.erasure.tables import BytesReader, ids_in_about, ids_in_batch, ids_in_parquet, ids_in_schema

ENCODINGS = {  # the longer mark first: that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
MAX_DIGEST = 64
"""Bytes of a cell that may be a digest or a number; longer ones must be known for what they are."""
NOT_TEXT = re.compile(r"[\0-\x06\x0e-\x1a\x1c\x1d\x1f]|\x1b(?!\[)|\A(?:%PDF|!<arch>)")
"""Control characters that no text has, though packed bytes may, and texts of more than one alphabet; colours of a
terminal are left. And formats that may be of letters alone."""


def ids_in_foreign(name: str, content: bytes, request: ErasureRequest) -> Iterator[set[str]]:
    """Yield the requested ids that an object's name or content mentions, also where it is packed.

    Raises
    ------
    Exception
        Any of :data:`jobs.erasure.mentions.UNREADABLE`, if some of it cannot be read.
    """
    yield request.ids_in_foreign_text(name)
    yield from _ids_in_content(name, content, request, Unpacker())


def _ids_in_content(name: str, content: bytes, request: ErasureRequest, unpacker: Unpacker) -> Iterator[set[str]]:
    for leaf in unpacker.leaves(name, content):
        yield request.ids_in_foreign_text(leaf.name)
        yield from _ids_in_leaf(leaf, request, unpacker)


def _ids_in_leaf(leaf: Part, request: ErasureRequest, unpacker: Unpacker) -> Iterator[set[str]]:
    content = leaf.content
    if leaf.kind is Kind.FIELDS:
        yield request.ids_in_fields(content) | request.ids_with_halves_in(content)
    elif leaf.kind is Kind.HEADER:
        yield request.ids_in_foreign_text(content.replace(b"\0", b"\n").decode(errors="replace"))
    elif content.startswith(TABLES) or content.endswith((PARQUET, ARROW_FILE, FEATHER)):
        yield from _ids_in_table(content, request, partial(_ids_in_cell, request=request, unpacker=unpacker))
    else:
        yield request.ids_in_foreign_text(text_of(content))


def _ids_in_cell(content: bytes, request: ErasureRequest, unpacker: Unpacker) -> Iterator[set[str]]:
    """Yield the requested ids in the bytes of a cell: as in an object, but digests and numbers are no riddles."""
    yield request.ids_in_fields(content)
    yield from (request.ids_in_foreign_text(content.decode(name, "ignore")) for name in ("utf-16-le", "utf-16-be"))
    try:
        yield from _ids_in_content("", content, request, unpacker)
    except (*UNPACK_ERRORS, SchemaError, pa.ArrowException):
        if len(content) > MAX_DIGEST:
            raise
        yield request.ids_in_remains(content)  # a few fields of another format, or a text that was padded


def _ids_in_table(content: bytes, request: ErasureRequest, ids_in_bytes: BytesReader) -> Iterator[set[str]]:
    """Yield the requested ids in a table that is the whole content: two, one behind the other, are refused."""
    if content.startswith(PARQUET):
        yield from map(request.ids_in_fields, parquet_gaps(content, pq.read_metadata(io.BytesIO(content))))
        yield from ids_in_parquet(content, request, ids_in_bytes)
    elif content.startswith(ORC):
        file = pa.orc.ORCFile(io.BytesIO(content))
        n_bytes = len(ORC) + file.content_length + file.stripe_statistics_length + file.file_footer_length
        n_bytes += file.file_postscript_length + 1
        if n_bytes != len(content):
            raise SchemaError(f"has {len(content):,} bytes, and its footer describes {n_bytes:,}")
        yield from _ids_in_rows(file.read(), request, ids_in_bytes)
    else:
        magic = next((each for each in (ARROW_FILE, FEATHER) if content.startswith(each)), b"")
        if not magic or not content.endswith(magic) or content.count(magic) > 2:
            raise SchemaError("is no table from its first byte to its last one")
        if magic == FEATHER:
            yield from _ids_in_rows(pa.feather.read_table(io.BytesIO(content)), request, ids_in_bytes)
            return
        refuse_arrow_gap(content)
        reader = pa.ipc.open_file(io.BytesIO(content))
        yield ids_in_schema(reader.schema, request)
        yield ids_in_about(reader.metadata, request)
        for number in range(reader.num_record_batches):
            batch, about = reader.get_batch_with_custom_metadata(number)
            yield ids_in_about(about, request)
            yield from ids_in_batch(batch, request, ids_in_bytes)


def _ids_in_rows(rows: pa.Table, request: ErasureRequest, ids_in_bytes: BytesReader) -> Iterator[set[str]]:
    yield ids_in_schema(rows.schema, request)
    for batch in rows.to_batches():
        yield from ids_in_batch(batch, request, ids_in_bytes)


def text_of(content: bytes) -> str:
    """Return content as text.

    Raises
    ------
    SchemaError
        If it is not text in UTF-8, nor in UTF-16 or UTF-32 with a byte order mark.
    """
    encoding = next((name for mark, name in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if NOT_TEXT.search(text):
        raise SchemaError(
            f"is no table, archive or text that is known here; it begins with the bytes {content[:8].hex(' ')}"
        )
    return text
