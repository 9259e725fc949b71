"""Our Parquet objects: how they are written, and which shard their footer names.

The same rows give the same bytes, so a shard that is computed again writes the object that stands there already.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.tables.row_digest import rows_digest
from jobs.tables.table_part import TablePart

ROW_GROUP_ROWS = 4_096
SHARD, DIGEST = b"bonafide.of", b"bonafide.digest"
NOTE = b"bonafide.note"
ERASED = b"bonafide.erased"  # rows, or texts in them, were taken out after the commit: SHA-256 of the object before


def parquet_bytes(rows: pa.Table, about: dict[bytes, bytes] | None = None) -> bytes:
    """Return rows as a Parquet object that SQL engines read.

    Parameters
    ----------
    about : dict, optional
        Keys and values of the footer.
    """
    file = io.BytesIO()
    about_rows = rows.replace_schema_metadata(about)
    pq.write_table(about_rows, file, row_group_size=ROW_GROUP_ROWS, **parquet_options(rows.schema))
    return file.getvalue()


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Return the options of Arrow's Parquet writer for a schema."""
    return {
        "compression": "zstd",
        "use_dictionary": [field.name for field in schema if field.type == pa.string()],
        "write_statistics": [field.name for field in schema if not pa.types.is_nested(field.type)],
        "write_page_checksum": True,
    }


def shard_part(table: str, name: str, shard: str, rows: pa.Table) -> TablePart:
    """Return the object of a shard's rows of one table, whose footer names the shard and the digest of its rows.

    A note (:func:`with_note`) goes into the footer, too.
    """
    digest = rows_digest(table, rows)
    about = {SHARD: shard.encode(), DIGEST: digest.encode()}
    about |= {key: value for key, value in (rows.schema.metadata or {}).items() if key == NOTE}
    content = parquet_bytes(rows, about)
    return TablePart(name, content, len(rows), digest, shard)


def with_note(rows: pa.Table, note: dict[str, Any]) -> pa.Table:
    """Return rows with what the run that writes them, and it alone, can say of them.

    Whoever finds the object without a marker finishes the commit from it, and cannot see any more what stood before.
    """
    return rows.replace_schema_metadata({NOTE: json.dumps(note, sort_keys=True).encode()})


def note_of(rows: pa.Table) -> dict[str, Any] | None:
    """Return the note of an object's rows; None if it has none.

    Examples
    --------
    >>> note_of(read_rows(parquet_bytes(pa.table({"a": [1]}), {NOTE: b'{"new": 1}'})))
    {'new': 1}
    """
    note = (rows.schema.metadata or {}).get(NOTE)
    return None if note is None else json.loads(note)


def part_of(name: str, content: bytes) -> TablePart | None:
    """Return what an object says of itself in its footer; None if it is no intact Parquet object of ours."""
    try:
        footer = pq.read_metadata(io.BytesIO(content))
        about = footer.metadata or {}
        return TablePart(name, content, footer.num_rows, about[DIGEST].decode(), about[SHARD].decode())
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError):
        return None


def erased_bytes(table: str, shard: str, rows: pa.Table, before: str) -> bytes:
    """Return the object of a shard with only these of its rows; its footer says from which object others were erased.

    Parameters
    ----------
    before : str
        SHA-256 of that object.
    """
    about = {SHARD: shard.encode(), DIGEST: rows_digest(table, rows).encode(), ERASED: before.encode()}
    return parquet_bytes(rows, about)


def erased_from(table: str, part: TablePart) -> str | None:
    """Return the SHA-256 of the object from which rows were erased; None if it is not as it was left then.

    Objects of older releases say only that some were: `yes`.
    """
    rows = whole_rows(table, part)
    before = None if rows is None else (rows.schema.metadata or {}).get(ERASED)
    return None if before is None else before.decode(errors="replace")


def whole_rows(table: str, part: TablePart) -> pa.Table | None:
    """Return the rows of an object; None if they are not those that its footer claims."""
    try:
        rows = read_rows(part.content)
        return rows if rows_digest(table, rows) == part.digest else None
    except (pa.ArrowException, OSError, KeyError):
        return None


def read_rows(content: bytes) -> pa.Table:
    """Return all rows of an object; Arrow compares the checksums of its pages."""
    return pq.read_table(io.BytesIO(content), partitioning=None, page_checksum_verification=True)


def batches_of(content: bytes) -> Iterator[pa.RecordBatch]:
    """Yield all rows of an object, a row group at a time; Arrow compares the checksums of its pages."""
    return row_batches(pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True))


def row_batches(file: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file, at most a row group at a time."""
    return file.iter_batches(ROW_GROUP_ROWS, columns=columns)  # type: ignore[no-any-return]
