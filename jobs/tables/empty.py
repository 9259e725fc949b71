"""Empty tables: engines refuse to read a table that has no object, and most outputs have no failures at first."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from detector.schema import FAILURES
from jobs import storage
from jobs.tables.ledger import EMPTY
from jobs.tables.parquet import parquet_bytes, read_rows

KEYS = {b"ARROW:schema", b"PARQUET:field_id"}
"""Of metadata, which Arrow writes itself."""


def write_empty_failures(output: str, run_date: str) -> None:
    """Write a table of failures without rows.

    Parameters
    ----------
    output : str
    run_date : str
        Of the first plan: the partition that the object is put into.
    """
    uri = storage.join(output, "failures", f"run_date={run_date}", EMPTY)
    storage.put(uri, parquet_bytes(FAILURES.empty_table()), storage.ABSENT)


def is_empty_failures(content: bytes) -> bool:
    """Return True for that object, as this release or an earlier one writes it: no rows, and no column but its own."""
    try:
        file = pq.ParquetFile(io.BytesIO(content))
    except (pa.ArrowException, OSError):
        return False
    schema = file.schema_arrow
    about = {key for each in (file.metadata, schema, *schema) for key in each.metadata or {}}
    has_own_columns = all(field.remove_metadata() in map(pa.Field.remove_metadata, FAILURES) for field in schema)
    return not file.metadata.num_rows and has_own_columns and about <= KEYS


def copy_empty_failures(output: str, place: str) -> None:
    """Write it in a copy, too, if the output has it."""
    for stored in storage.listing(storage.join(output, "failures")) or []:
        if storage.name_of(stored.uri) == EMPTY:
            write_empty_failures(place, stored.uri.rsplit("/", 2)[1].removeprefix("run_date="))


def verify_empty_failures(output: str) -> Iterator[str]:
    """Yield a message for each such object that is no table, or has rows: no marker counts them."""
    for stored in storage.listing(storage.join(output, "failures")) or []:
        if storage.name_of(stored.uri) != EMPTY:
            continue
        try:
            n_rows = len(read_rows(storage.read_bytes(stored.uri)))
        except (pa.ArrowException, OSError, KeyError) as error:
            yield f"{stored.uri}: cannot be read as a table ({' '.join(str(error).split())}). Remove it."
            continue
        if n_rows:
            yield f"{stored.uri}: has {n_rows} rows, and should have none. Remove it."
