"""score: score embeddings or recordings with a head."""

from jobs.scoring.config import ScoreConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Score, and return the exit code."""
    from jobs.scoring.run import score  # only now: --help needs none of it

    return score(settings)
