"""Lines of the tables that corpora provide: each line is well-formed, or is refused with its number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from detector.errors import SchemaError
from detector.schema import UNKNOWN
from jobs import storage
from jobs.storage import Stored

REMEDY = "Extract the file from the corpus's own archive again."
SHOWN = 120  # characters of a broken line


def lines(table: Stored) -> Iterator[tuple[str, str]]:
    """Yield the lines of a text that are not empty, each with its place, without white space around it."""
    for number, line in enumerate(_text(table).split("\n"), start=1):
        if line.strip():
            yield f"{table.uri} line {number}", line.strip()


def fields(table: Stored, columns: Sequence[str], separator: str | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each line of a table without a header, split at white space or a separator, with its place.

    Empty lines are skipped.

    Raises
    ------
    SchemaError
        If a line does not have one field for each of ``columns``.
    """
    for where, line in lines(table):
        found = line.split(separator)
        if len(found) != len(columns):
            raise SchemaError(
                f"{where}: {len(found)} field(s), {line[:SHOWN]!r}; expected {len(columns)}: "
                f"{', '.join(columns)}. {REMEDY}"
            )
        yield where, dict(zip(columns, found, strict=True))


def records(table: Stored, columns: Sequence[str], delimiter: str = ",") -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a CSV table with a header, by column, each with the line where it ends.

    The table must have at least ``columns``.

    Raises
    ------
    SchemaError
        If a column is missing, a row has more or fewer values than the header, or a quote is never closed.
    """
    reader = csv.reader(io.StringIO(_text(table), newline=""), delimiter=delimiter)
    try:
        header = next(reader, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise SchemaError(
                f"{table.uri} line 1: no column {', '.join(missing)}; found {delimiter.join(header)[:SHOWN]!r}. "
                f"{REMEDY}"
            )
        for row in reader:
            where = f"{table.uri} line {reader.line_num}"
            if not row:
                continue
            if len(row) != len(header):
                raise SchemaError(
                    f"{where}: {len(row)} value(s), {delimiter.join(row)[:SHOWN]!r}; expected {len(header)}: "
                    f"{delimiter.join(header)}. {REMEDY}"
                )
            yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise SchemaError(f"{table.uri} line {reader.line_num}: {error}; is a quote never closed? {REMEDY}") from error


def meaning(word: str, words: Mapping[str, str], where: str, what: str = "label") -> str:
    """Translate one of a corpus's words.

    Raises
    ------
    SchemaError
        If it is none of ``words``.
    """
    if word not in words:
        raise SchemaError(f"{where}: {what} {word!r}; expected {' or '.join(words)}. {REMEDY}")
    return words[word]


def known(word: str | None) -> str | None:
    """Return a word, or None if it is one of the placeholders that corpora write for an unknown value.

    Examples
    --------
    >>> known("A07"), known("-")
    ('A07', None)
    """
    return None if word in UNKNOWN else word


def _text(table: Stored) -> str:
    try:
        return storage.read_bytes(table.uri).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SchemaError(f"{table.uri}: not UTF-8 at byte {error.start:,}. {REMEDY}") from error
