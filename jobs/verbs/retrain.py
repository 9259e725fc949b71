"""retrain: fit a head on labelled recordings, and publish it if it is shown to be no worse."""

from jobs.retraining.config import RetrainConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Fit, compare, publish or keep, and return the exit code."""
    from jobs.retraining.run import retrain  # only now: --help needs none of it

    return retrain(settings)
