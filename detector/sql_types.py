"""Types of columns as engines of SQL call them."""

from __future__ import annotations

import pyarrow as pa

SAME_EVERYWHERE = {
    pa.float64(): "double",
    pa.int16(): "smallint",
    pa.int64(): "bigint",
    pa.bool_(): "boolean",
    pa.date32(): "date",
}

_HIVE = {pa.string(): "string", pa.int32(): "int", pa.float32(): "float"}

ENGINES: dict[str, dict[pa.DataType, str]] = {
    "duckdb": {pa.string(): "varchar", pa.int32(): "integer", pa.float32(): "float"},
    "spark": _HIVE,
    "trino": {pa.string(): "varchar", pa.int32(): "integer", pa.float32(): "real"},
    "athena": _HIVE,
}
"""By engine: names of types that differ from engine to engine."""

LISTS = {"duckdb": "{}[]", "spark": "array<{}>", "trino": "array({})", "athena": "array<{}>"}


def sql_type(kind: pa.DataType, engine: str) -> str:
    """Return the name of a type in the SQL of an engine.

    Parameters
    ----------
    kind : pyarrow.DataType
        Of a column of :data:`detector.schema.TABLES`.
    engine : str
        One of :data:`ENGINES`.

    Examples
    --------
    >>> sql_type(pa.float64(), "trino"), sql_type(pa.list_(pa.float32(), 2), "spark")
    ('double', 'array<float>')
    """
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        return LISTS[engine].format(sql_type(kind.value_type, engine))
    return (ENGINES[engine] | SAME_EVERYWHERE)[kind]
