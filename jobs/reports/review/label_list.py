"""The label list: labelled recordings in a file that `fit --labels` reads."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa

from detector.errors import ConfigError
from detector.schema import LABEL_COLUMNS, UNKNOWN
from jobs.reports.review.csv_sheet import escape_formula
from jobs.tables.parquet import parquet_bytes

COLUMNS = ("utterance_id", *LABEL_COLUMNS)


def write_labels(rows: list[dict[str, Any]], uri: str) -> bytes:
    """Return the content of a list, in the format that the URI's suffix names."""
    suffix = next(each for each in WRITERS if uri.lower().endswith(each))
    return WRITERS[suffix](rows, uri)


def _parquet(rows: list[dict[str, Any]], _uri: str) -> bytes:
    return parquet_bytes(pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in COLUMNS])))


def _json_lines(rows: list[dict[str, Any]], _uri: str) -> bytes:
    return "".join(json.dumps({name: row[name] for name in COLUMNS}) + "\n" for row in rows).encode()


def _csv(rows: list[dict[str, Any]], uri: str) -> bytes:
    """Write a CSV; refuse texts that a spreadsheet would run, because `fit` reads texts as they are, not escaped."""
    texts = [row[name] for row in rows for name in COLUMNS if row[name] not in UNKNOWN]
    unsafe = next((text for text in texts if escape_formula(text) != text), None)
    if unsafe is not None:
        raise ConfigError(
            f"{uri}: {unsafe!r} would be a formula, or not what it looks like, in a spreadsheet, and `fit` reads a CSV "
            f"as it is. "
            f"Write .parquet."
        )
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return file.getvalue().encode()


WRITERS = {".parquet": _parquet, ".jsonl": _json_lines, ".csv": _csv}
