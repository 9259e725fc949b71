"""Metrics of scores: arrays in, floats out. Scores are in nats, higher for bona fide, everywhere.

- :mod:`detection`: how well scores tell the classes apart, and what a threshold costs
- :mod:`likelihood`: what scores are worth as log-likelihood ratios
- :mod:`calibration`: whether probabilities are honest
- :mod:`selective`: what is left when the uncertain ones are rejected
- :mod:`intervals`: how far any of these would move with other speakers and systems

What each means, and its traps: `docs/metrics.md`.
"""

from detector.metrics.calibration import (
    brier_score,
    debiased_calibration_error,
    equal_mass_calibration_error,
    expected_calibration_error,
    reliability_diagram,
)
from detector.metrics.detection import (
    ASVSPOOF5,
    Floats,
    OperatingPoint,
    act_dcf,
    area_under_roc,
    chance_interval,
    eer_of_sorted,
    equal_error_rate,
    error_rates,
    min_dcf,
    probit,
)
from detector.metrics.intervals import Comparison, Interval, Trials, compare, intervals, share_interval
from detector.metrics.likelihood import cllr, min_cllr
from detector.metrics.selective import (
    accuracy_over_kept,
    area_under_risk_coverage,
    excess_area_under_risk_coverage,
    risk_at_coverage,
    risk_coverage,
)

__all__ = [
    "ASVSPOOF5",
    "Comparison",
    "Floats",
    "Interval",
    "OperatingPoint",
    "Trials",
    "accuracy_over_kept",
    "act_dcf",
    "area_under_risk_coverage",
    "area_under_roc",
    "brier_score",
    "chance_interval",
    "cllr",
    "compare",
    "debiased_calibration_error",
    "eer_of_sorted",
    "equal_error_rate",
    "equal_mass_calibration_error",
    "error_rates",
    "excess_area_under_risk_coverage",
    "expected_calibration_error",
    "intervals",
    "min_cllr",
    "min_dcf",
    "probit",
    "reliability_diagram",
    "risk_at_coverage",
    "risk_coverage",
    "share_interval",
]
