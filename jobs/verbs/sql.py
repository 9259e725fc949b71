"""sql: ask an output in SQL, by DuckDB with ready views."""

from jobs.reports.sql.config import SqlConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Answer, or write the views; return the exit code."""
    from jobs.reports.sql.run import ask  # only now: --help needs none of it

    ask(settings)
    return 0
