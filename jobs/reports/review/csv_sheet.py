"""The CSV sheet: the review queue as a table for a spreadsheet program, and the table that it saves."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from detector.errors import SchemaError
from jobs.inputs.table_files import missing_column
from jobs.reports.review.annotations import QUEUE_FIELDS, REVIEWER_FIELDS, Annotation, Row, parse_label
from jobs.telemetry.names import original, reversibly

REQUIRED_COLUMNS = ("utterance_id", "label")
SPELT_COLUMNS = ("utterance_id", "source")  # written from an archive's names, and read back
COLUMNS = (*REQUIRED_COLUMNS, "reviewer", *REVIEWER_FIELDS, *QUEUE_FIELDS)

FORMULA_STARTS = tuple("=+-@＝＋－＠")


def escape_formula(text: str) -> str:
    r"""Spell a text out, and put an apostrophe before one that a spreadsheet would run as a formula, or trim to one.

    Line ends, tabs, byte order marks and all spaces but the plain one are spelt out, so none of them can stand before
    the sign that begins a formula. A text that begins with an apostrophe gets another.

    Examples
    --------
    >>> [escape_formula(text) for text in ("calls/a.flac", "=1+1", " =1+1", "'quoted", "\ufeff=1+1")]
    ['calls/a.flac', "'=1+1", "' =1+1", "''quoted", '\\ufeff=1+1']

    References
    ----------
    OWASP, CSV Injection.
    """
    inert = reversibly(text)
    return f"'{inert}" if inert.lstrip(" ").startswith((*FORMULA_STARTS, "'")) else inert


def unescape_formula(text: str) -> str:
    r"""Undo :func:`escape_formula`.

    Examples
    --------
    >>> [unescape_formula(escape_formula(text)) for text in ("=1+1", "two\nlines", "plain")]
    ['=1+1', 'two\nlines', 'plain']
    """
    return original(text.removeprefix("'"))


def write_csv(rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> bytes:
    """Write rows in UTF-8 with a byte order mark, which spreadsheets look for; without columns, those of the queue."""
    file = io.StringIO(newline="")
    table = csv.writer(file)
    table.writerow(columns)
    for row in rows:
        table.writerow([_cell(row.get(name)) for name in columns])
    return file.getvalue().encode("utf-8-sig")


def _cell(value: object) -> object:
    if value is None:
        return ""
    return escape_formula(value) if isinstance(value, str) else value


def read_csv(content: bytes, where: str) -> list[Annotation]:
    """Read a sheet that was filled in; commas, semicolons or tabs separate its columns.

    Raises
    ------
    SchemaError
        If it is no CSV in UTF-8, lacks a required column, or has an unknown label.
    """
    try:
        text = content.decode("utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SchemaError(f"{where}: not a CSV table in UTF-8: {error}. Save it as CSV, UTF-8.") from error
    for name in REQUIRED_COLUMNS:
        if name not in (table.fieldnames or ()):
            raise missing_column(where, name, table.fieldnames or ())
    annotations = []
    for number, row in enumerate(rows, start=2):
        # a short or long row has None among its values or keys
        cells = {
            # what a reviewer types is taken as it is, also C:\new
            name: unescape_formula(cell) if name in SPELT_COLUMNS else cell.removeprefix("'")
            for name, cell in row.items()
            if isinstance(name, str) and isinstance(cell, str)
        }
        if not any(cells.values()):
            continue  # spreadsheets save empty lines
        place = f"{where} row {number}"
        label = parse_label(cells.get("label", ""), place)
        facts = {name: cells[name] for name in REVIEWER_FIELDS if cells.get(name)}
        reviewer = cells.get("reviewer", "").strip()
        annotations.append(Annotation(cells.get("utterance_id", ""), label, reviewer, place, facts))
    return annotations
