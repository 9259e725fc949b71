"""evaluate: compare scores with labels, and write the evaluation report."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.reports.evaluation.evaluation import EvaluationConfig, write_report


@dataclass(frozen=True, kw_only=True)
class Settings(EvaluationConfig):
    """Compare scores with labels: error rates, calibration, errors left after rejecting, and head against head."""


def run(settings: Settings) -> int:
    """Write the report, print its headline figures, and return the exit code."""
    write_report(settings)
    return 0
