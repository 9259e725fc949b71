"""Answers: rows as people and programs read them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jobs.reports.review.csv_sheet import escape_formula
from jobs.reports.sql.config import FORMATS
from jobs.telemetry.names import MAX_WIDTH, cut, printable

Rows = Sequence[Sequence[Any]]


def as_table(names: Sequence[str], rows: Rows) -> str:
    """Return rows with aligned columns, numbers to the right.

    Examples
    --------
    >>> print(as_table(["name", "rows"], [["a.flac", 12], ["call.flac", 3]]))
    name       rows
    ---------  ----
    a.flac       12
    call.flac     3
    """
    names = [_shown(name) for name in names]
    cells = [[_shown(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(names, *cells, strict=True)]
    right = [all(_is_number(row[column]) for row in rows) and bool(rows) for column in range(len(names))]

    def line(texts: Iterable[str]) -> str:
        padded = zip(texts, widths, right, strict=True)
        return "  ".join(text.rjust(width) if to_right else text.ljust(width) for text, width, to_right in padded)

    return "\n".join(each.rstrip() for each in (line(names), line("-" * n for n in widths), *map(line, cells)))


def as_csv(names: Sequence[str], rows: Rows) -> str:
    """Return rows as CSV in which no text is a formula to a spreadsheet; null is an empty cell."""
    file = io.StringIO(newline="")
    sheet = csv.writer(file, lineterminator="\n")
    for row in (names, *rows):  # a name may be a value, as PIVOT makes it
        sheet.writerow([escape_formula(each) if isinstance(each, str) else each for each in row])
    return file.getvalue().removesuffix("\n")


def as_json(names: Sequence[str], rows: Rows) -> str:
    """Return rows as JSON, an object a line.

    Examples
    --------
    >>> as_json(["name", "score"], [["a.flac", None]])
    '{"name": "a.flac", "score": null}'
    """
    return "\n".join(json.dumps(dict(zip(names, row, strict=True)), default=str) for row in rows)


FORMS: dict[str, Callable[[Sequence[str], Rows], str]] = dict(zip(FORMATS, (as_table, as_csv, as_json), strict=True))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else printable(str(value))
    return cut(text, MAX_WIDTH)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
