"""doctor: check this machine, its packages, the cluster and the store before a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from jobs.config import ConfinementConfig

__all__ = ["CHECKS_PACKAGES", "Settings", "run"]

CHECKS_PACKAGES = True
"""It says itself which packages are missing or too old, beside all else."""


@dataclass(frozen=True, kw_only=True)
class Settings(ConfinementConfig):
    """Check this machine, its packages, the cluster of RAY_ADDRESS and the store: a line for each, with the remedy.

    Nothing is left behind. It ends with the code of the first check that failed: 65 this machine, a package or a
    setting, 69 the store, 75 the cluster. A warning fails nothing.
    """

    output: Annotated[str | None, "folder or prefix that a run would write to [default: no store is asked]"] = None


def run(settings: Settings) -> int:
    """Print a line for each check, and return the exit code."""
    from jobs.reports.doctor import examine  # only now: --help needs none of it

    return examine(settings.output, settings.confinement)
