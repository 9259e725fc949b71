"""verify: recompute every digest from the Parquet objects themselves, and name the objects that differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from detector.errors import SchemaError
from jobs import storage
from jobs.telemetry.names import say


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Check the tables under an output against what was committed: objects, rows, digests, and records of runs."""

    output: Annotated[str, "folder or prefix that holds the tables, or a copy"] = field(metadata={"positional": True})


def run(settings: Settings) -> int:
    """Check, and print what differs; return the exit code.

    Raises
    ------
    SchemaError
        If an object differs from what was committed.
    ConfigError
        If there is nothing to check.
    """
    from jobs.tables.compaction.copy import is_copy  # only now: --help needs none of it
    from jobs.tables.verification import verify_compacted, verify_tables

    output = storage.normal(settings.output)
    copied = is_copy(output)
    wrong = verify_compacted(output) if copied else verify_tables(output)
    if wrong:
        say(*wrong)
    if wrong:
        what = "is in the copy" if copied else "was committed"
        raise SchemaError(f"{len(wrong)} of what {what} differs; first: {wrong[0]}")
    return 0
