"""Lists of recordings and of labels: CSV, JSONL or Parquet, read to the same rows."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from detector.audio import MAX_CHANNELS, WHOLE, Excerpt
from detector.errors import ConfigError, SchemaError
from detector.schema import LABEL_COLUMNS, LABELS
from jobs import storage
from jobs.errors import StorageError
from jobs.inputs import untrusted_parquet

MAX_LIST_BYTES = 2 << 30
MAX_LINE_BYTES = 1 << 20  # as Arrow's for CSV
BATCH_ROWS = 1 << 14


@dataclass(frozen=True)
class Entry:
    """One row of a list: an object, a member where it is a container, what of it, and an id where one is given."""

    uri: str
    member: str | None
    utterance_id: str | None
    where: str
    excerpt: Excerpt = WHOLE


def read_table(uri: str) -> pa.Table:
    """Read a list as it is; every CSV column as text.

    Raises
    ------
    SchemaError
        Where it cannot be parsed.
    """
    try:
        return pa.concat_tables([pa.table({}), *_tables(uri)], promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SchemaError(f"{uri}: a column is of two types: {error}") from error


def _tables(uri: str) -> Iterator[pa.Table]:
    """A list as it is, some rows at a time, so that a long one is never held whole; the first may have none."""
    suffix = posixpath.splitext(uri)[1].lower()
    try:
        yield from FORMATS[suffix](uri)
    except (StorageError, ConfigError):
        raise
    except (pa.ArrowException, ValueError, KeyError, IndexError, OSError, RecursionError) as error:
        raise SchemaError(f"{uri}: cannot be read as {suffix}: {error}") from error


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
    """Rows of a JSONL file; numbers as the text that stands there, because ids may look like numbers or dates."""
    with _opened(uri) as file:
        lines = _lines(io.BufferedReader(file))
        while some := list(itertools.islice(lines, BATCH_ROWS)):
            rows = [json.loads(line, parse_int=str, parse_float=str) for line in some]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("a line that is no object")
            names = dict.fromkeys(name for row in rows for name in row)
            yield pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def _lines(file: io.BufferedReader) -> Iterator[bytes]:
    """Lines that are not blank."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a line of more than {MAX_LINE_BYTES:,} bytes")
        if line.strip():
            yield line


def _parquet(uri: str) -> Iterator[pa.Table]:
    with _opened(uri) as file:  # a small file: its columns are compressed
        content = io.BufferedReader(file).read()
    yield from untrusted_parquet.tables(content)


FORMATS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
LISTS = tuple(FORMATS)


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[io.RawIOBase]:
    """A list as a file that is read front to back, held against its tag at the end."""
    stored = storage.stat(uri)
    if stored is None:
        raise storage.NotFoundError(f"{uri}: not found. Check the spelling.")
    if stored.size > MAX_LIST_BYTES:
        raise ValueError(f"{stored.size:,} bytes; a list has {MAX_LIST_BYTES:,} at most. Split it.")
    with storage.opened(stored, whole=True) as file:
        yield file
        file.verify()


def read_entries(uri: str) -> list[Entry]:
    """Read a list of recordings: a column `uri`, and any of `member`, `utterance_id`, `start`, `end` and `channel`.

    A URI without scheme is a path, relative to the list's own folder. Start and end are seconds; a channel counts
    from 0.

    Raises
    ------
    SchemaError
        Where there is no such column, or a row says what cannot be.
    """
    table = read_table(uri)
    if "uri" not in table.column_names:
        raise SchemaError(f"{uri}: no column `uri`; found {', '.join(table.column_names)}.")
    names = ("uri", "member", "utterance_id", "start", "end", "channel")
    columns = [_text(table, name, uri).to_pylist() for name in names]
    entries = []
    for number, (where, member, name, start, end, channel) in enumerate(zip(*columns, strict=True), start=1):
        if not where:
            raise SchemaError(f"{uri}: row {number} has no uri.")
        excerpt = _excerpt(start, end, channel, place=f"{uri} row {number}")
        if "://" not in where and not posixpath.isabs(where):
            where = storage.join(posixpath.dirname(uri), where)
        entries.append(Entry(storage.normal(where), member, name, f"{uri} row {number}", excerpt))
    return entries


def _excerpt(start: str | None, end: str | None, channel: str | None, place: str) -> Excerpt:
    try:
        found = Excerpt(
            float(start or 0.0),
            float(end) if end else None,
            int(channel.removesuffix(".0")) if channel else None,  # a column with gaps is one of floats to many
        )
    except ValueError as error:
        raise SchemaError(f"{place}: start {start!r}, end {end!r}, channel {channel!r}; expected numbers.") from error
    longest = math.inf if found.end is None else found.end
    if not (0.0 <= found.start < longest and found.start < math.inf) or found.end == math.inf:
        raise SchemaError(f"{place}: from {start!r} to {end!r} s; expected 0 or more, and an end behind the start.")
    if not 0 <= (found.channel or 0) < MAX_CHANNELS:
        raise SchemaError(f"{place}: channel {channel!r}; expected 0 to {MAX_CHANNELS - 1}.")
    return found


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
    labels = pa.concat_tables(label_tables(uri))
    refuse_repeated(labels["utterance_id"], uri)
    if split is not None and labels["split"].null_count < len(labels):
        return labels.filter(pc.equal(labels["split"], split))
    return labels


def label_tables(uri: str) -> Iterator[pa.Table]:
    """What :func:`read_labels` reads, of all splits and some rows at a time; that an id stands twice is not seen.

    At the end, what is missing or odd is raised as there.
    """
    found: dict[str, None] = {}
    n_odd = 0
    first: dict[str, str] = {}
    yield pa.schema([(name, pa.string()) for name in ("utterance_id", *LABEL_COLUMNS)]).empty_table()
    for table in _tables(uri):
        found |= dict.fromkeys(table.column_names)
        labels = pa.table({name: _text(table, name, uri) for name in ("utterance_id", *LABEL_COLUMNS)})
        labels = labels.filter(pc.is_valid(labels["label"]))
        odd = labels.filter(pc.invert(pc.is_in(labels["label"], pa.array(LABELS))))
        n_odd, first = n_odd + len(odd), first or next(iter(odd.slice(0, 1).to_pylist()), {})
        yield labels
    for name in ("utterance_id", "label"):
        if name not in found:
            raise SchemaError(f"{uri}: no column `{name}`; found {', '.join(found)}.")
    if n_odd:
        raise SchemaError(
            f"{uri}: {n_odd} label(s) are neither {' nor '.join(LABELS)}, first {first['label']!r} of "
            f"{first['utterance_id']!r}. Write the words; 0 and 1 mean different things in different corpora."
        )


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
