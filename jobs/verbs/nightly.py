"""nightly: embed and score what is new in an archive since the last run."""

from jobs.reports.nightly.config import NightlyConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Embed and score what is new, and return the exit code."""
    from jobs.reports.nightly.run import nightly  # only now: --help needs none of it

    return nightly(settings)
