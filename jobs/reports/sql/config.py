"""Settings of questions to an output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from detector.errors import ConfigError

FORMATS = ("table", "csv", "json")
ENGINES = ("duckdb", "spark", "trino")


@dataclass(frozen=True, kw_only=True)
class SqlConfig:
    """Ask an output in SQL, by DuckDB with ready views; without a query, it reads statements from standard input."""

    output: Annotated[str, "folder or prefix that holds the tables, or a compacted copy"] = field(
        metadata={"positional": True}
    )
    query: Annotated[str | None, "one or more statements"] = field(default=None, metadata={"positional": True})
    format: Annotated[str, "table, csv, or json, an object a line"] = FORMATS[0]
    labels: Annotated[str | None, "list of labels, as `fit` reads it: the view `labels`"] = None
    views: Annotated[str | None, "file to write the views to, in place of an answer", "what to write"] = None
    engine: Annotated[str, "whose SQL --views is written in: duckdb, spark or trino", "what to write"] = ENGINES[0]

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(f"format {self.format!r}; expected one of {', '.join(FORMATS)}.")
        if self.engine not in ENGINES:
            raise ConfigError(f"engine {self.engine!r}; expected one of {', '.join(ENGINES)}.")
        if self.views is not None and self.query is not None:
            raise ConfigError("give either a query, or --views to write them to a file.")
        is_read = self.engine != "trino" and (self.labels or "").lower().endswith(".parquet")
        if self.views is not None and self.labels is not None and not is_read:
            raise ConfigError(f"labels {self.labels!r}; duckdb and spark read a list as .parquet, trino none.")
