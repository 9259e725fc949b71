"""evaluate: compare scores with labels, and write the evaluation report."""

from jobs.reports.evaluation.evaluation import EvaluationConfig as Settings
from jobs.reports.evaluation.evaluation import write_report


def run(settings: Settings) -> int:
    """Write the report, print its headline figures, and return the exit code."""
    write_report(settings)
    return 0
