"""Questions to an output: answered by DuckDB, or its views written for an engine elsewhere."""

from __future__ import annotations

import sys

from jobs import storage
from jobs.inputs.results import write_result
from jobs.reports.sql.config import SqlConfig
from jobs.reports.sql.prompt import answer, converse
from jobs.reports.sql.session import connect, read_content
from jobs.reports.sql.views import Content, view_statements
from jobs.telemetry.names import printable, say


def ask(settings: SqlConfig) -> None:
    """Print the answers to a query, or to what comes from standard input; or write the views.

    Raises
    ------
    ConfigError
        If there are no tables, or DuckDB refuses a statement.
    """
    place = storage.normal(settings.output).rstrip("/")
    if settings.views is not None:
        labels = None if settings.labels is None else storage.normal(settings.labels)
        _write_views(read_content(place, labels), settings.views, settings.engine)
        return
    content = read_content(place)
    connection = connect(content, settings.labels)
    if settings.query is None and sys.stdin.isatty():
        converse(connection, settings.format, _print)
        return
    for text in answer(connection, sys.stdin.read() if settings.query is None else settings.query, settings.format):
        _print(text)


def _write_views(content: Content, file: str, engine: str) -> None:
    uri = storage.normal(file)
    last = content.nights[-1]["run_id"] if content.nights else "none yet"
    notes = [
        f"-- Views of {printable(content.place)} for {engine}: write them again after a night, as they name the active",
        f"-- head and hold the nights, of which the last is {printable(last)}.",
    ]
    statements = [f"{statement};" for statement in view_statements(content, engine)]
    write_result(uri, "\n\n".join(["\n".join(notes), *statements, ""]).encode())
    say(f"{len(statements)} views: {uri}")


def _print(text: str) -> None:
    if text:  # no rows as JSON are no line, which a program would not take for an object
        say(*text.split("\n"))
