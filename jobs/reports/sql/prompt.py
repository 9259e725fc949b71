"""Prompt: questions to the views of an output, one after the other, from a terminal or from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from detector.errors import ConfigError
from jobs.reports.sql.answers import FORMS
from jobs.telemetry.names import printable

if TYPE_CHECKING:
    import duckdb

VIEWS = (
    "current recordings failures segments calls nights heads labels, "
    "and scores embeddings all_failures all_segments as stored"
)


def answer(connection: duckdb.DuckDBPyConnection, query: str, form: str) -> Iterator[str]:
    """Yield the answer of each statement of a query in one of :data:`~jobs.reports.sql.answers.FORMS`.

    Raises
    ------
    ConfigError
        If DuckDB refuses a statement.
    """
    import duckdb

    try:
        for statement in connection.extract_statements(query):
            connection.execute(statement)
            if connection.description:
                yield FORMS[form]([name for name, *_ in connection.description], connection.fetchall())
    except duckdb.Error as error:
        cause = str(error).partition("\n\nLINE ")[0].strip()  # the statement with a mark below, for two lines
        raise ConfigError(f"{cause} The views: {VIEWS}.") from error


def converse(connection: duckdb.DuckDBPyConnection, form: str, write: object) -> None:
    """Answer what comes from standard input, a statement up to its semicolon at a time; a mistake ends nothing."""
    import readline  # noqa: F401 - gives `input` a history and its keys

    sys.stderr.write(f"Views: {VIEWS}.\nEnd a statement with a semicolon; leave with Ctrl-D.\n")
    for statement in _statements():
        try:
            for text in answer(connection, statement, form):
                write(text)  # type: ignore[operator]
        except ConfigError as error:
            sys.stderr.write(f"{printable(str(error))}\n")


def _statements() -> Iterator[str]:
    lines: list[str] = []
    while True:
        try:
            lines.append(input("...> " if lines else "sql> "))
        except EOFError:
            return
        if lines[-1].rstrip().endswith(";"):
            yield "\n".join(lines)
            lines = []
