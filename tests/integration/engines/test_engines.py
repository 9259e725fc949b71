"""docs/sql.md on other engines: they read the tables as they are, and run the page's queries as they stand."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from detector.schema import FAILURES, SCORES, SEGMENTS, embeddings_schema
from jobs.reports.sql.config import SqlConfig
from jobs.reports.sql.run import ask as ask_views
from tests.integration.engines.test_sql import (
    ANSWERS,
    EMBEDDED,
    FAILED,
    PAGE,
    QUERIES,
    SCORED,
    SEGMENTED,
    put_all,
    put_copy,
    query,
)

ROWS = {
    "scores": (SCORED, SCORES),
    "segments": (SEGMENTED, SEGMENTS),
    "failures": (FAILED, FAILURES),
    "embeddings": (EMBEDDED, embeddings_schema(2)),
}
PORTABLE = [mark for mark in ANSWERS if mark != "AS cosine"]
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

Rows = list[dict[str, Any]]


class Engine:
    """An engine, set up by the page's own Python for it, that answers queries."""

    def __init__(self, said: dict[str, Any], ask: Callable[[Any], Rows]) -> None:
        self._said, self._ask = said, ask

    def ask(self, text: str) -> Rows:
        return self._ask(self._said["tables"], text)

    @property
    def near(self) -> Rows:
        return self._ask(None, self._said["near"])


def told(word: str, **known: Any) -> dict[str, Any]:
    """Names that the page's Python about an engine defines."""
    for block in [each for each in PYTHON if word in each]:
        exec(block, known)
    return known


def polars() -> Engine:
    return Engine(told("polars"), lambda tables, what: (tables.execute(what) if tables else what.collect()).to_dicts())


def datafusion() -> Engine:
    return Engine(told("datafusion"), lambda tables, what: (tables.sql(what) if tables else what).to_pylist())


def spark() -> Engine:
    assert shutil.which("java"), "no Java here; Spark 4 needs 17 or 21"
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    for name in ("spark.driver.host", "spark.driver.bindAddress"):
        builder = builder.config(name, "127.0.0.1")
    session = builder.config("spark.sql.shuffle.partitions", "1").getOrCreate()
    ask_views(SqlConfig(output="tables", views="views.sql", engine="spark"))
    found = told("spark.", spark=session) | {"tables": session}

    def ask(tables: Any, what: Any) -> Rows:
        return [row.asDict() for row in (tables.sql(what) if tables else what).collect()]

    return Engine(found, ask)


@pytest.fixture(scope="module", params=[put_all, put_copy], ids=["written", "compacted"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tables of the tests of DuckDB, as our writer writes them, and in a compacted copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("engine"))
        request.param()
        yield


@pytest.fixture(scope="module", params=[polars, datafusion, pytest.param(spark, marks=pytest.mark.spark)])
def engine(request: pytest.FixtureRequest, folder: None) -> Engine:
    """An engine over these tables."""
    return request.param()


def plain(value: Any) -> Any:
    """A value without what engines add to it: their dates, and lists that are arrays."""
    return list(value) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("table", ROWS)
def test_an_engine_reads_every_value_of_a_table(engine: Engine, table: str) -> None:
    rows, schema = ROWS[table]
    key = ["utterance_id", *(["segment"] if "segment" in schema.names else [])]
    expected = pa.Table.from_pylist(rows, schema).sort_by([(name, "ascending") for name in key]).to_pylist()

    found = engine.ask(f"SELECT * FROM {table} ORDER BY {', '.join(key)}")

    assert [{name: plain(row[name]) for name in schema.names} for row in found] == expected


@pytest.mark.parametrize("mark", PORTABLE)
def test_a_query_gives_the_same_as_on_duckdb(engine: Engine, mark: str) -> None:
    found = engine.ask(query(mark).rstrip().rstrip(";"))

    assert [tuple(row.values()) for row in found] == ANSWERS[mark]


def test_the_nearest_to_a_judged_recording_are_found(engine: Engine) -> None:
    assert [(row["utterance_id"], round(row["cosine"], 3)) for row in engine.near] == [
        (name, pytest.approx(cosine, abs=1e-6)) for name, cosine in ANSWERS["AS cosine"]
    ]


TYPES = {  # as Trino and Athena name them
    pa.string(): ("VARCHAR", "TEXT"),
    pa.float32(): ("FLOAT",),
    pa.float64(): ("DOUBLE",),
    pa.int16(): ("SMALLINT",),
    pa.int32(): ("INT",),
    pa.int64(): ("BIGINT",),
    pa.bool_(): ("BOOLEAN",),
    pa.date32(): ("DATE",),
}


@pytest.mark.parametrize("dialect", ["trino", "athena"])
def test_the_tables_of_trino_and_athena_have_our_columns(dialect: str) -> None:
    (block,) = re.findall(rf"```{dialect}\n(.*?)```", PAGE, re.DOTALL)
    tables = sqlglot.parse(block, dialect="hive" if dialect == "athena" else dialect)

    found = {statement.find(exp.Table).name: list(statement.this.expressions) for statement in tables if statement}
    assert found.keys() == ROWS.keys()
    for name, (_, schema) in ROWS.items():
        columns = [column for column in found[name] if column.name in schema.names]
        assert [column.name for column in columns] == schema.names
        for column, field in zip(columns, schema, strict=True):
            kind = column.args["kind"]
            if pa.types.is_nested(field.type):
                assert kind.this.name == "ARRAY"
                assert kind.expressions[0].this.name in TYPES[field.type.value_type], field.name
            else:
                assert kind.this.name in TYPES[field.type], field.name
        others = {column.name for column in found[name]} - set(schema.names)
        assert others <= {"run_date", "backbone"}
        assert ("run_date" if name != "embeddings" else "backbone") in block


def test_all_but_one_of_the_queries_are_run_on_every_engine() -> None:
    assert len(PORTABLE) == len(QUERIES) - 1 == 19
    assert len(PYTHON) == 4
