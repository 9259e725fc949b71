"""Table files: CSV, JSONL and Parquet, read to the same Arrow tables."""

from __future__ import annotations

import contextlib
import difflib
import io
import itertools
import json
import posixpath
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.csv

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.errors import StorageError
from jobs.inputs import untrusted_parquet

MAX_TABLE_BYTES = 2 << 30
MAX_LINE_BYTES = 1 << 20  # of JSONL; the same as Arrow's limit for CSV
BATCH_ROWS = 1 << 14
SHOWN_COLUMNS, SHOWN_CHARACTERS = 20, 60  # of a table that lacks one, in its error


def read_table(uri: str) -> pa.Table:
    """Read a table with the columns that it has; every column of a CSV file is text.

    Raises
    ------
    SchemaError
        If it cannot be parsed.
    """
    try:
        return pa.concat_tables([pa.table({}), *iter_tables(uri)], promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SchemaError(f"{uri}: a column has two types: {error}") from error


def iter_tables(uri: str) -> Iterator[pa.Table]:
    """Yield the rows of :func:`read_table` some at a time; the first table may have no rows."""
    suffix = posixpath.splitext(uri)[1].lower()
    if suffix not in FORMATS:
        raise SchemaError(f"{uri}: not the name of a table. Expected a file that ends in {', '.join(FORMATS)}.")
    try:
        yield from FORMATS[suffix](uri)
    except (StorageError, ConfigError):
        raise
    except (pa.ArrowException, ValueError, KeyError, IndexError, OSError, RecursionError) as error:
        raise SchemaError(f"{uri}: cannot be read as {suffix}: {error}") from error


def missing_column(where: str, name: str, columns: Iterable[str]) -> SchemaError:
    """Return the error of a table without a column: the columns that it has, and which of them may be meant.

    Examples
    --------
    >>> print(missing_column("labels.csv", "utterance_id", ["utterance", "label"]))
    labels.csv: no column `utterance_id`; found utterance, label. If `utterance` is meant, rename it.
    """
    found = list(columns)
    shown = ", ".join(each[:SHOWN_CHARACTERS] for each in found[:SHOWN_COLUMNS]) or "none"
    more = f" and {len(found) - SHOWN_COLUMNS:,} more" if len(found) > SHOWN_COLUMNS else ""
    if len(found) == 1 and any(separator in found[0] for separator in ";\t|"):
        return SchemaError(f"{where}: no column `{name}`; found {shown}. Separate columns by commas.")
    spelt = {each.strip().lower().replace(" ", "_").replace("-", "_"): each for each in found}
    nearest = difflib.get_close_matches(name, spelt, n=1)
    hint = f" If `{spelt[nearest[0]][:SHOWN_CHARACTERS]}` is meant, rename it." if nearest else ""
    return SchemaError(f"{where}: no column `{name}`; found {shown}{more}.{hint}")


def text_column(table: pa.Table, name: str, uri: str) -> pa.ChunkedArray:
    """Return a column as text, or nulls if the table has no column of that name.

    Raises
    ------
    SchemaError
        If the name occurs twice, if the column's type has no text form, or if a text is not UTF-8.
    """
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    if table.column_names.count(name) > 1:
        raise SchemaError(f"{uri}: column `{name}` occurs twice; keep one.")
    try:
        texts = table[name].cast(pa.string())
        texts.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(f"{uri}: column `{name}` is {table[name].type}; expected text, in UTF-8.") from error
    return texts


def _csv(uri: str) -> Iterator[pa.Table]:
    with _opened(uri) as file:
        names = pyarrow.csv.open_csv(file).schema.names
    all_text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    with _opened(uri) as file, pyarrow.csv.open_csv(file, convert_options=all_text) as reader:
        yield reader.schema.empty_table()
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _json_lines(uri: str) -> Iterator[pa.Table]:
    """Yield rows of a JSONL file, with numbers as they are spelt, because an id may look like a number."""
    with _opened(uri) as file:
        lines = _lines(io.BufferedReader(file))
        while batch := list(itertools.islice(lines, BATCH_ROWS)):
            rows = [json.loads(line, parse_int=str, parse_float=str) for line in batch]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("a line that is not a JSON object")
            names = dict.fromkeys(name for row in rows for name in row)
            yield pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def _lines(file: io.BufferedReader) -> Iterator[bytes]:
    """Yield the lines that are not blank."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a line of more than {MAX_LINE_BYTES:,} bytes")
        if line.strip():
            yield line


def _parquet(uri: str) -> Iterator[pa.Table]:
    with _opened(uri) as file:  # held whole: compressed columns make small files
        content = io.BufferedReader(file).read()
    yield from untrusted_parquet.tables(content)


FORMATS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[io.RawIOBase]:
    """Open a table to be read front to back; check its content against the ETag at the end."""
    stored = storage.stat(uri)
    if stored is None:
        raise storage.NotFoundError(f"{uri}: not found. Check the spelling.")
    if stored.size > MAX_TABLE_BYTES:
        raise ValueError(f"{stored.size:,} bytes; at most {MAX_TABLE_BYTES:,} are allowed. Split it.")
    with storage.opened(stored, whole=True) as file:
        yield file
        file.verify()
