"""nightly: embed and score what is new in an archive since the last run."""

from jobs.reports.nightly.run import NightlyConfig as Settings
from jobs.reports.nightly.run import nightly as run

__all__ = ["Settings", "run"]
