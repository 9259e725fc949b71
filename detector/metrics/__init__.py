"""Metrics of scores: arrays in, floats out. Scores are in nats, higher for bona fide, everywhere.

- :mod:`detection`: how well scores separate the classes, and the cost of a threshold
- :mod:`likelihood`: the quality of scores as log-likelihood ratios
- :mod:`calibration`: the agreement of probabilities with observed frequencies
- :mod:`selective`: the risk that remains when the most uncertain trials are rejected
- :mod:`localisation`: when a recording is spoofed, by cells of time and by ranges
- :mod:`trials`: the judged trials of one head, which all of these measure
- :mod:`resampling`: the metrics over draws of speakers and systems
- :mod:`intervals`: how far a metric would move with other speakers and systems
- :mod:`comparison`: the difference of two heads on the same trials
- :mod:`open_set`: how well systems are named when some recordings are of none of them
- :mod:`checks`: the arrays that a metric accepts

`docs/metrics.md` explains every metric and its pitfalls.
"""

from detector.metrics.calibration import (
    brier_score,
    debiased_calibration_error,
    equal_mass_calibration_error,
    expected_calibration_error,
    reliability_diagram,
)
from detector.metrics.comparison import Comparison, compare
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
from detector.metrics.intervals import Interval, intervals, share_interval
from detector.metrics.likelihood import cllr, min_cllr
from detector.metrics.localisation import (
    RangeScore,
    cell_labels,
    cell_scores,
    range_score,
    ranges_of,
    segment_equal_error_rate,
)
from detector.metrics.open_set import balanced_share, open_set_auroc, threshold_of_rate
from detector.metrics.selective import (
    accuracy_over_kept,
    area_under_risk_coverage,
    coverage_at_risk,
    excess_area_under_risk_coverage,
    risk_at_coverage,
    risk_coverage,
)
from detector.metrics.trials import Trials

__all__ = [
    "ASVSPOOF5",
    "Comparison",
    "Floats",
    "Interval",
    "OperatingPoint",
    "RangeScore",
    "Trials",
    "accuracy_over_kept",
    "act_dcf",
    "area_under_risk_coverage",
    "area_under_roc",
    "balanced_share",
    "brier_score",
    "cell_labels",
    "cell_scores",
    "chance_interval",
    "cllr",
    "compare",
    "coverage_at_risk",
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
    "open_set_auroc",
    "probit",
    "range_score",
    "ranges_of",
    "reliability_diagram",
    "risk_at_coverage",
    "risk_coverage",
    "segment_equal_error_rate",
    "share_interval",
    "threshold_of_rate",
]
