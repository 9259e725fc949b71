"""check: print a verdict on a few recordings, one line each."""

from jobs.scoring.config import CheckConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Print the verdicts, and return the exit code."""
    from jobs.scoring.checking import check  # only now: --help needs none of it

    return check(settings)
