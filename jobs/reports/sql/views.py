"""Views: the SQL that makes the tables of an output ready for questions, in the words of each engine.

A recording stands once in `recordings`: with its scores by the active head. `current` leaves out recordings that are
gone from the archive. `scores`, `embeddings`, `all_failures` and `all_segments` are the tables as they are stored.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from detector.errors import SchemaError
from detector.schema import FAILURES, LABEL_COLUMNS, SCORES, SEGMENTS, embeddings_schema
from detector.sql_types import sql_type
from jobs import storage

NIGHTS = pa.schema(
    {
        "run_id": pa.string(),
        "night": pa.string(),
        "verb": pa.string(),
        "head_id": pa.string(),
        "head": pa.string(),
        "new": pa.int64(),
        "replaced": pa.int64(),
        "rescored": pa.int64(),
        "removed": pa.int64(),
        "recordings": pa.int64(),
        "bonafide": pa.int64(),
        "spoof": pa.int64(),
        "rejected": pa.int64(),
        "failed": pa.int64(),
        "wall_seconds": pa.float64(),
    }
)
"""Columns of `nights`: the runs that scored something, one row each."""

HEADS = pa.schema(
    {"head_id": pa.string(), "head": pa.string(), "since": pa.string(), "state": pa.string(), "file": pa.string()}
    | {name: pa.float64() for name in ("eer", "cllr", "ece", "risk", "coverage", "trained_bonafide", "trained_spoof")}
)
"""Columns of `heads`; figures are those of a head's own report."""

LABELS = pa.schema({name: pa.string() for name in ("utterance_id", *LABEL_COLUMNS)})

STORED = {
    "scores": ("scores", SCORES, "run_date"),
    "embeddings": ("embeddings", embeddings_schema(1), "backbone"),
    "all_failures": ("failures", FAILURES, "run_date"),
    "all_segments": ("segments", SEGMENTS, "run_date"),
}
"""By view: the folder of the stored table, its columns, and what its partitions are named by."""


@dataclass(frozen=True)
class Content:
    """What the views of an output follow from, beside its tables.

    Parameters
    ----------
    place : str
        Normal URI of the output, or of its compacted copy.
    present : frozenset of str
        Folders of tables that hold an object.
    active : str or None
        Id of the active head; if it is not known, the one that scored last counts.
    heads, nights : sequence of dict
        Rows of the views of these names.
    labels : str or None
        URI of a list of labels in Parquet; the view is empty without one.
    """

    place: str
    present: frozenset[str]
    active: str | None
    heads: Sequence[dict[str, Any]]
    nights: Sequence[dict[str, Any]]
    labels: str | None = None


def view_statements(content: Content, engine: str) -> list[str]:
    """Return the statements that make the views in one of :data:`~jobs.reports.sql.config.ENGINES`, in their order.

    Examples
    --------
    >>> statements = view_statements(Content("/tables", frozenset(), None, [], []), "spark")
    >>> print(statements[-1])
    CREATE OR REPLACE TEMPORARY VIEW labels AS
    SELECT CAST(NULL AS string) AS utterance_id, CAST(NULL AS string) AS label, CAST(NULL AS string) AS split,
      CAST(NULL AS string) AS `system`, CAST(NULL AS string) AS speaker, CAST(NULL AS string) AS source,
      CAST(NULL AS string) AS `language`, CAST(NULL AS string) AS codec WHERE FALSE
    """
    stored = _Stored(content, engine)
    derived = [_view(engine, *each) for each in _derived(content, engine)]
    return [*map(stored.statement, STORED), *derived, *_labels(content.labels, engine)]


@dataclass(frozen=True)
class _Stored:
    """The tables of an output in the words of an engine."""

    content: Content
    engine: str

    def statement(self, view: str) -> str:
        """Return the statement that makes a stored table known by the name of its view."""
        folder, schema, partition = STORED[view]
        place = storage.join(self.content.place, folder)
        if folder not in self.content.present:
            return _view(self.engine, view, _nothing(schema, self.engine, partition))
        if self.engine == "duckdb":
            return _view(self.engine, view, _duckdb_select(place, schema))
        columns = [*schema, pa.field(partition, pa.string())]
        if self.engine == "spark":
            return _spark_view(view, columns, place)
        return (
            f"CREATE TABLE IF NOT EXISTS {view} ({_declared(columns, self.engine)}) WITH (format = 'PARQUET', "
            f"external_location = {_literal(f'{place}/', self.engine)}, partitioned_by = ARRAY['{partition}'])"
        )


def _spark_view(view: str, columns: Iterable[pa.Field], place: str) -> str:
    """Return the statement of a view with every column of this version, also where no object has it."""
    options = f"USING parquet OPTIONS (path {_literal(place, 'spark')})"
    return f"CREATE OR REPLACE TEMPORARY VIEW {view} ({_declared(columns, 'spark')}) {options}"


def _declared(columns: Iterable[pa.Field], engine: str) -> str:
    return ", ".join(f"{_name(each.name, engine)} {sql_type(each.type, engine)}" for each in columns)


def _duckdb_select(place: str, schema: pa.Schema) -> str:
    """Select what is stored, with every column of this version: objects of earlier ones have fewer."""
    known = [each for each in schema if not pa.types.is_fixed_size_list(each.type)]  # of the dimension that is stored
    pattern = _literal(f"{glob.escape(place)}/**/*.parquet", "duckdb")
    return f"{_nothing(known, 'duckdb')}\nUNION ALL BY NAME SELECT * FROM read_parquet({pattern}, union_by_name = true)"


def _derived(content: Content, engine: str) -> Iterator[tuple[str, str]]:
    """Yield the names of the other views, and what they select."""
    newest_head = "(SELECT max_by(head_id, run_id) FROM scores)"
    is_active = f"head_id = {newest_head if content.active is None else _literal(content.active, engine)}"
    failures = ", ".join(_name(name, engine) for name in FAILURES.names)
    newest = "row_number() OVER (PARTITION BY utterance_id ORDER BY run_id DESC) AS newest"
    yield "recordings", f"SELECT * FROM scores WHERE {is_active}"
    yield "current", "SELECT * FROM recordings WHERE removed_at IS NULL"
    yield (
        "failures",
        f"SELECT {failures} FROM (SELECT {failures}, {newest} FROM all_failures) AS numbered WHERE newest = 1",
    )
    yield "segments", f"SELECT * FROM all_segments WHERE {is_active}"
    yield "calls", _calls()
    yield "nights", _rows(content.nights, NIGHTS, engine)
    yield "heads", _rows(content.heads, HEADS, engine)


def _calls() -> str:
    """Select one row for each call of two sides or more: what became of its first two channels, side by side."""
    call = "regexp_replace(utterance_id, '/ch[0-9]+$', '')"
    columns = [f"{call} AS call", "count(*) AS sides"]
    for channel in (0, 1):
        facts = {"outcome": "coalesce(reject_reason, label)", "score": "score", "p_spoof": "p_spoof"}
        columns += [
            f"max(CASE WHEN channel = {channel} THEN {value} END) AS ch{channel}_{name}"
            for name, value in facts.items()
        ]
    return f"SELECT {_wrapped(columns)} FROM current\nWHERE channel IS NOT NULL GROUP BY {call} HAVING count(*) >= 2"


def _labels(uri: str | None, engine: str) -> Iterator[str]:
    """Yield the statement of the view of labels; Trino reads no single file."""
    if uri is None or engine == "trino":
        yield _view(engine, "labels", _nothing(LABELS, engine))
    elif engine == "spark":
        yield _spark_view("labels", LABELS, uri)
    else:
        select = f"SELECT * FROM read_parquet({_literal(uri, engine)})"
        yield _view(engine, "labels", f"{_nothing(LABELS, engine)}\nUNION ALL BY NAME {select}")


def _view(engine: str, name: str, select: str) -> str:
    kind = "TEMPORARY VIEW" if engine == "spark" else "VIEW"
    return f"CREATE OR REPLACE {kind} {name} AS\n{select}"


def _nothing(schema: Iterable[pa.Field], engine: str, *texts: str) -> str:
    """Select no rows of these columns."""
    fields = [*schema, *(pa.field(name, pa.string()) for name in texts)]
    columns = [f"CAST(NULL AS {sql_type(each.type, engine)}) AS {_name(each.name, engine)}" for each in fields]
    return f"SELECT {_wrapped(columns)} WHERE FALSE"


def _rows(rows: Sequence[dict[str, Any]], schema: pa.Schema, engine: str) -> str:
    """Select rows that the statement itself holds."""
    if not rows:
        return _nothing(schema, engine)
    try:
        rows = pa.Table.from_pylist(list(rows), schema).to_pylist()
    except (pa.ArrowException, OverflowError) as error:
        raise SchemaError(f"a record or a head holds values of another type than views have: {error}.") from error
    names = [_name(name, engine) for name in schema.names]
    columns = [
        f"CAST({name} AS {sql_type(each.type, engine)}) AS {name}" for name, each in zip(names, schema, strict=True)
    ]
    values = ",\n  ".join(f"({', '.join(_literal(row.get(name), engine) for name in schema.names)})" for row in rows)
    return f"SELECT {_wrapped(columns)} FROM (VALUES\n  {values}) AS given ({', '.join(names)})"


def _wrapped(columns: list[str]) -> str:
    """Return a list of columns in lines of three."""
    return ",\n  ".join(", ".join(columns[first : first + 3]) for first in range(0, len(columns), 3))


def _name(name: str, engine: str) -> str:
    """Return a column's name, quoted where engines may take it for a word of their own."""
    quote = "`" if engine == "spark" else '"'
    return f"{quote}{name}{quote}" if name in ("start", "end", "language", "system") else name


def _literal(value: Any, engine: str) -> str:
    """Return a value as SQL spells it; nothing but numbers and texts ever becomes a part of a statement."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "NULL"
    if isinstance(value, bool | int | float):
        return repr(value)
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in a view; expected a text or a number")
    if engine == "spark":  # its texts have escapes, and '' ends one and begins another
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + value.replace("'", "''") + "'"
