"""heads: list the heads that have judged an output, or give one a name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from detector.errors import ConfigError
from jobs import storage
from jobs.reports.sql.config import FORMATS
from jobs.telemetry.names import say


@dataclass(frozen=True, kw_only=True)
class Settings:
    """List the heads of an output: name, id, since when, figures of their reports, and which one is active."""

    output: Annotated[str, "folder or prefix that holds the tables, or a compacted copy"] = field(
        metadata={"positional": True}
    )
    head: Annotated[str | None, "head to rename, by name or id", "the head"] = None
    name: Annotated[str | None, "its new name: letters, digits and any of ._+-", "the head"] = None
    format: Annotated[str, "table, csv, or json, an object a line"] = FORMATS[0]

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(f"format {self.format!r}; expected one of {', '.join(FORMATS)}.")
        if (self.head is None) != (self.name is None):
            raise ConfigError("give --head and --name together, to rename a head.")


def run(settings: Settings) -> int:
    """List, or rename; return the exit code.

    Raises
    ------
    ConfigError
        If no head has judged anything there, or the name is taken.
    """
    from jobs.reports.sql.answers import FORMS  # only now: --help needs none of it
    from jobs.reports.sql.session import head_row
    from jobs.reports.sql.views import HEADS
    from jobs.tables.heads import known_heads, rename

    output = storage.normal(settings.output).rstrip("/")
    if settings.head is not None and settings.name is not None:
        named = rename(output, settings.head, settings.name)
        say(f"head {named.head_id} is called {named.name} now")
        return 0
    heads = [head_row(each) for each in known_heads(output)]
    if not heads:
        raise ConfigError(
            f"{output}: no head has judged anything here. Give the --output of a `nightly` or `score` run."
        )
    rows = [[row.get(name) for name in HEADS.names] for row in heads]
    say(*FORMS[settings.format](HEADS.names, rows).split("\n"))
    return 0
