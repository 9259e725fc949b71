"""evaluate: compare scores with labels, and write the evaluation report."""

from jobs.reports.evaluation.config import EvaluationConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Write the report, print its headline figures, and return the exit code."""
    from jobs.reports.evaluation.evaluation import write_report  # only now: --help needs none of it

    write_report(settings)
    return 0
