"""fit: fit a calibrated head on labelled embeddings."""

from jobs.fitting.config import FitConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Fit the head, and return the exit code."""
    from jobs.fitting.run import fit  # only now: --help needs none of it

    return fit(settings)
