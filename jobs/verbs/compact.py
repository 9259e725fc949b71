"""compact: keep a copy of the tables in few large objects, in a place of its own, and prove that the rows are equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from detector.errors import ConfigError
from jobs import storage
from jobs.config import SHARED_HELP, check_place_of_copy

MOST_MIB = 4_096  # S3 takes 5 GiB in one PUT


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Keep a copy of the tables in few large objects, in a place of its own; rerun to add what is new."""

    output: Annotated[str, "folder or prefix that holds the tables"] = field(metadata={"positional": True})
    to: Annotated[str, "folder or prefix that holds, or gets, the copy; apart from the output"]
    object_mib: Annotated[float, "largest size of an object of the copy, unless one shard alone has more; MiB"] = 256.0
    shared: Annotated[bool, SHARED_HELP] = False
    dry_run: Annotated[bool, "only print what would be written"] = False

    def __post_init__(self) -> None:
        if not 0 < self.object_mib <= MOST_MIB:
            raise ConfigError(f"object_mib {self.object_mib}; expected more than 0, at most {MOST_MIB}.")
        check_place_of_copy(self.output, self.to)


def run(settings: Settings) -> int:
    """Bring the copy up to date, read back what was written, and print how it went; return the exit code."""
    from jobs.tables.compaction.compact import compact  # only now: --help needs none of it
    from jobs.tables.compaction.writer import MIB
    from jobs.tables.empty import copy_empty_failures
    from jobs.tables.heads import copy_heads

    output, place = (storage.normal(each).rstrip("/") for each in (settings.output, settings.to))
    storage.check_folder(place)
    compact(output, place, round(settings.object_mib * MIB), dry_run=settings.dry_run)
    if not settings.dry_run:
        copy_heads(output, place)
        copy_empty_failures(output, place)
    return 0
