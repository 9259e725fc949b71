"""Parts: a table of the bona fide and spoof parts of recordings, read, checked and written.

A row is one part of one recording. Time that no row covers is unlabelled, and a recording without rows has no labels of
parts. Parts of one label may touch or overlap; parts of different labels may not overlap.
"""

from __future__ import annotations

import io
import itertools
import math
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from detector.errors import SchemaError
from detector.schema import LABELS, PARTS
from jobs.inputs.results import write_result
from jobs.inputs.table_files import missing_column, read_table, text_column

LATEST_SECONDS = 1e7  # 115 days; an end beyond it is a typing error, and would cost memory wherever time is cut
OVERLAP_SECONDS = 1e-6  # less than a sample: rounding, not a contradiction


class Part(NamedTuple):
    """One labelled part of a recording, in seconds from its start."""

    start_seconds: float
    end_seconds: float
    label: str


def read_parts(uri: str) -> pa.Table:
    """Read a table of parts: CSV, JSONL or Parquet with the columns of :data:`detector.schema.PARTS`.

    Returns
    -------
    pyarrow.Table
        Sorted by `utterance_id` and `start_seconds`.

    Raises
    ------
    SchemaError
        If a column is missing, a row holds an impossible value, or parts of different labels overlap.
    """
    table = read_table(uri)
    for name in PARTS.names:
        if name not in table.column_names:
            raise missing_column(uri, name, table.column_names)
    return checked_parts(table, uri)


def write_parts(uri: str, parts: pa.Table) -> None:
    """Check parts, and write them as the suffix says: `.csv` or `.parquet`.

    Raises
    ------
    SchemaError
        If the suffix is another one, or as :func:`read_parts`.
    """
    parts, content = checked_parts(parts, uri), io.BytesIO()
    suffix = posixpath.splitext(uri)[1].lower()
    if suffix == ".parquet":
        pq.write_table(parts, content, compression="zstd")
    elif suffix == ".csv":
        pyarrow.csv.write_csv(parts, content)
    else:
        raise SchemaError(f"{uri}: parts are written as .csv or .parquet. Give the file such a name.")
    write_result(uri, content.getvalue())


def parts_table(parts: Iterable[tuple[str, Sequence[Part]]]) -> pa.Table:
    """Return the parts of recordings, each with its `utterance_id`, as a table, not yet checked.

    Examples
    --------
    >>> parts_table([("a.flac", [Part(0.0, 1.5, "bonafide"), Part(1.5, 2.0, "spoof")])])["end_seconds"].to_pylist()
    [1.5, 2.0]
    """
    rows = [(name, *part) for name, found in parts for part in found]
    columns = zip(*rows, strict=True) if rows else ((),) * len(PARTS)
    return pa.table([pa.array(values, type_) for values, type_ in zip(columns, PARTS.types, strict=True)], schema=PARTS)


def by_utterance(parts: pa.Table) -> Iterator[tuple[str, list[Part]]]:
    """Yield each recording of a checked table, with its parts in the order of time.

    Examples
    --------
    >>> list(by_utterance(parts_table([("a.flac", [Part(0.0, 1.5, "spoof")])])))
    [('a.flac', [Part(start_seconds=0.0, end_seconds=1.5, label='spoof')])]
    """
    rows = zip(*(parts[name].to_pylist() for name in PARTS.names), strict=True)
    for name, found in itertools.groupby(rows, key=lambda row: row[0]):
        yield name, [Part(*row[1:]) for row in found]


def joined(parts: list[Part]) -> list[Part]:
    """Return parts with neighbours of one label that touch or overlap made one.

    Examples
    --------
    >>> joined([Part(0.0, 1.0, "spoof"), Part(1.0, 2.0, "spoof"), Part(2.5, 3.0, "spoof")])[0]
    Part(start_seconds=0.0, end_seconds=2.0, label='spoof')
    """
    found: list[Part] = []
    for part in sorted(parts):
        last = found[-1] if found else None
        if last is None or last.label != part.label or part.start_seconds > last.end_seconds + OVERLAP_SECONDS:
            found.append(part)
        else:
            found[-1] = last._replace(end_seconds=max(last.end_seconds, part.end_seconds))
    return found


def checked_parts(table: pa.Table, where: str) -> pa.Table:
    """Return parts with the types of :data:`detector.schema.PARTS`, sorted.

    Raises
    ------
    SchemaError
        As :func:`read_parts`; the row is counted from 1, after the header.
    """
    names, labels = (text_column(table, name, where).to_pylist() for name in ("utterance_id", "label"))
    starts, ends = (_seconds(table, name, where) for name in ("start_seconds", "end_seconds"))
    for number, (name, start, end, label) in enumerate(zip(names, starts, ends, labels, strict=True), start=1):
        if not name:
            raise SchemaError(f"{where} row {number}: no utterance_id. Name the recording, or drop the row.")
        if label not in LABELS:
            raise SchemaError(
                f"{where} row {number}: label {label!r} of {name!r}; expected {' or '.join(LABELS)}. Drop a part that "
                "is neither: time that no row covers is unlabelled."
            )
        if not 0.0 <= start < end <= LATEST_SECONDS:
            raise SchemaError(
                f"{where} row {number}: from {start} to {end} s of {name!r}; expected 0 or more, and an end after the "
                f"start and not after {LATEST_SECONDS:,.0f} s."
            )
    numbered = pa.table(
        {**dict(zip(PARTS.names, (names, starts, ends, labels), strict=True)), "row": range(len(names))}
    )
    numbered = numbered.sort_by(
        [(name, "ascending") for name in ("utterance_id", "start_seconds", "end_seconds", "row")]
    )
    parts = numbered.select(PARTS.names).cast(PARTS)
    _refuse_contradictions(parts, numbered["row"].to_pylist(), where)
    return parts


def _seconds(table: pa.Table, name: str, where: str) -> list[float]:
    """Return a column of seconds; a value that is no number, or null, is refused with its row."""
    text = text_column(table, name, where)
    column = table[name] if pa.types.is_floating(table[name].type) else text
    try:
        return [math.nan if value is None else value for value in pc.cast(column, pa.float64()).to_pylist()]
    except pa.ArrowInvalid:
        for number, spelt in enumerate(text.to_pylist(), start=1):
            try:
                float(spelt)
            except (TypeError, ValueError):
                raise SchemaError(f"{where} row {number}: {name} {spelt!r}; expected a number of seconds.") from None
        raise


def _refuse_contradictions(parts: pa.Table, rows: list[int], where: str) -> None:
    """Raise :class:`SchemaError` where two parts of one recording overlap, and have different labels."""
    latest: dict[str, tuple[float, int]] = {}  # by label: the latest end so far in this recording, and its row
    last = None
    for (name, start, end, label), row in zip(
        zip(*(parts[column].to_pylist() for column in PARTS.names), strict=True), rows, strict=True
    ):
        if name != last:
            latest, last = {}, name
        for other, (until, owner) in latest.items():
            if other != label and start < until - OVERLAP_SECONDS:
                first, second = sorted((owner + 1, row + 1))
                raise SchemaError(
                    f"{where} rows {first} and {second}: {name!r} is both bonafide and spoof from {start} s to "
                    f"{min(until, end)} s. Cut the parts where the label changes."
                )
        if end > latest.get(label, (0.0, 0))[0]:
            latest[label] = (end, row)
