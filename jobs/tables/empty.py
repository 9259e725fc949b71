"""Empty tables: engines refuse to read a table that has no object, and most outputs have no failures at first."""

from __future__ import annotations

from detector.schema import FAILURES
from jobs import storage
from jobs.tables.ledger import EMPTY
from jobs.tables.parquet import parquet_bytes


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


def copy_empty_failures(output: str, place: str) -> None:
    """Write it in a copy, too, if the output has it."""
    for stored in storage.listing(storage.join(output, "failures")) or []:
        if storage.name_of(stored.uri) == EMPTY:
            write_empty_failures(place, stored.uri.rsplit("/", 2)[1].removeprefix("run_date="))
