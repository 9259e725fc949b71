"""explain: show how a head comes to its verdict on one recording."""

from jobs.scoring.config import ExplainConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Explain the verdict, and return the exit code."""
    from jobs.scoring.explanation import explain  # only now: --help needs none of it

    return explain(settings)
