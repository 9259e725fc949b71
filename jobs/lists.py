"""Lists of recordings and of labels: CSV, JSONL or Parquet, read to the same rows."""

from __future__ import annotations

import io
import json
import posixpath
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from detector.errors import SchemaError
from detector.schema import LABEL_COLUMNS, LABELS
from jobs import storage

LISTS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Entry:
    """One row of a list: an object, a member of it where it is a tar, and an id where the list gives one."""

    uri: str
    member: str | None
    utterance_id: str | None
    where: str


def read_table(uri: str) -> pa.Table:
    """Read a list as it is; every CSV column as text.

    Raises
    ------
    SchemaError
        Where it cannot be parsed.
    """
    content = io.BytesIO(storage.read_bytes(uri))
    try:
        if uri.lower().endswith(".csv"):
            names = pyarrow.csv.open_csv(io.BytesIO(content.getvalue())).schema.names
            all_text = pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            )
            return pyarrow.csv.read_csv(content, convert_options=all_text)
        if uri.lower().endswith(".jsonl"):
            return _json_lines(content.getvalue())
        return pq.read_table(content)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError, OSError) as error:
        raise SchemaError(f"{uri}: cannot be read as {posixpath.splitext(uri)[1]}: {error}") from error


def _json_lines(content: bytes) -> pa.Table:
    """Rows of a JSONL file; numbers as the text that stands there, because ids may look like numbers or dates."""
    rows = [json.loads(line, parse_int=str, parse_float=str) for line in content.splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line that is no object")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def read_entries(uri: str) -> list[Entry]:
    """Read a list of recordings: a column `uri`, and where it likes `member` and `utterance_id`.

    A URI without scheme is a path, relative to the list's own folder.
    """
    table = read_table(uri)
    if "uri" not in table.column_names:
        raise SchemaError(f"{uri}: no column `uri`; found {', '.join(table.column_names)}.")
    columns = {name: _text(table, name, uri).to_pylist() for name in ("uri", "member", "utterance_id")}
    entries = []
    for number, (where, member, name) in enumerate(zip(*columns.values(), strict=True), start=1):
        if not where:
            raise SchemaError(f"{uri}: row {number} has no uri.")
        if "://" not in where and not posixpath.isabs(where):
            where = storage.join(posixpath.dirname(uri), where)
        entries.append(Entry(storage.normal(where), member, name, f"{uri} row {number}"))
    return entries


def read_labels(uri: str, split: str | None = None) -> pa.Table:
    """Read what is known of utterances: `utterance_id`, `label`, and any of split, system, speaker, source,
    language, codec.

    Parameters
    ----------
    uri : str
    split : str, optional
        Only rows of this split, where the table knows splits at all.

    Returns
    -------
    pyarrow.Table
        Text columns `utterance_id` and all of :data:`detector.schema.LABEL_COLUMNS`, null where not given;
        rows without a label are left out.

    Raises
    ------
    SchemaError
        Where a column is missing, an id stands twice, or a label is neither `bonafide` nor `spoof`.
    """
    table = read_table(uri)
    for name in ("utterance_id", "label"):
        if name not in table.column_names:
            raise SchemaError(f"{uri}: no column `{name}`; found {', '.join(table.column_names)}.")
    labels = pa.table({name: _text(table, name, uri) for name in ("utterance_id", *LABEL_COLUMNS)})
    labels = labels.filter(pc.is_valid(labels["label"]))
    odd = labels.filter(pc.invert(pc.is_in(labels["label"], pa.array(LABELS))))
    if len(odd):
        first = odd.slice(0, 1).to_pylist()[0]
        raise SchemaError(
            f"{uri}: {len(odd)} label(s) are neither {' nor '.join(LABELS)}, first {first['label']!r} of "
            f"{first['utterance_id']!r}. Write the words; 0 and 1 mean different things in different corpora."
        )
    refuse_repeated(labels["utterance_id"], uri)
    if split is not None and labels["split"].null_count < len(labels):
        return labels.filter(pc.equal(labels["split"], split))
    return labels


def _text(table: pa.Table, name: str, uri: str) -> pa.ChunkedArray:
    """A column as text; nulls where the table has none of that name."""
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    if table.column_names.count(name) > 1:
        raise SchemaError(f"{uri}: column `{name}` stands twice; keep one.")
    try:
        return table[name].cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(f"{uri}: column `{name}` is {table[name].type}; expected text.") from error


def refuse_repeated(ids: pa.ChunkedArray, where: str) -> None:
    """Raise :class:`SchemaError` naming the ids that stand more than once."""
    values, counts = pc.value_counts(ids).flatten()
    repeated = values.filter(pc.greater(counts, 1)).to_pylist()
    if repeated:
        raise SchemaError(
            f"{where}: {len(repeated)} utterance id(s) stand more than once, first {repeated[0]!r}. "
            f"Ids are unique: drop or rename the repeats."
        )
