"""Metrics refuse arrays that would give a wrong number: labels of 0 and 1, NaN, other lengths and shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector import metrics
from detector.calibration import calibrate, score_bounds
from detector.guarantee import Promise, certify
from detector.metrics import OperatingPoint
from detector.rejection import threshold_for_coverage, threshold_for_risk
from tests.unit.detector.metrics.drawn import drawn

LABELLED: dict[str, Callable[[Any, Any], Any]] = {
    "expected_calibration_error": metrics.expected_calibration_error,
    "equal_mass_calibration_error": metrics.equal_mass_calibration_error,
    "debiased_calibration_error": metrics.debiased_calibration_error,
    "reliability_diagram": metrics.reliability_diagram,
    "brier_score": metrics.brier_score,
    "risk_coverage": metrics.risk_coverage,
    "risk_at_coverage": lambda numbers, labels: metrics.risk_at_coverage(numbers, labels, 0.5),
    "coverage_at_risk": lambda numbers, labels: metrics.coverage_at_risk(numbers, labels, 0.5),
    "area_under_risk_coverage": metrics.area_under_risk_coverage,
    "excess_area_under_risk_coverage": metrics.excess_area_under_risk_coverage,
    "accuracy_over_kept": metrics.accuracy_over_kept,
    "threshold_for_risk": lambda numbers, labels: threshold_for_risk(numbers, labels, 0.5),
    "certify": lambda numbers, labels: certify(numbers, labels, 0.5, Promise(0.1, 0.1, 0.9)),
    "calibrate": lambda numbers, labels: calibrate("affine", numbers, labels),
}
OF_CLASSES: dict[str, Callable[[Any, Any], Any]] = {
    "error_rates": metrics.error_rates,
    "equal_error_rate": metrics.equal_error_rate,
    "eer_of_sorted": metrics.eer_of_sorted,
    "area_under_roc": metrics.area_under_roc,
    "min_dcf": metrics.min_dcf,
    "act_dcf": metrics.act_dcf,
    "cllr": metrics.cllr,
    "min_cllr": metrics.min_cllr,
}


@pytest.mark.parametrize("name", LABELLED)
def test_labels_are_one_boolean_a_row(name: str) -> None:
    metric, numbers = LABELLED[name], np.linspace(0.1, 0.9, 6)
    labels = np.arange(6) % 2 == 0

    for other in (labels.astype(int), labels.astype(int) * 2, np.where(labels, 1, -1), labels.astype(float)):
        with pytest.raises(ValueError, match="expected booleans"):
            metric(numbers, other)
    for other in (labels[:5], labels[:1], np.append(labels, True)):
        with pytest.raises(ValueError, match="labels for 6 numbers"):
            metric(numbers, other)
    with pytest.raises(ValueError, match="one dimension"):
        metric(numbers[:, None], labels)
    with pytest.raises(ValueError, match="NaN"):
        metric(np.where(labels, numbers, np.nan), labels)
    if name not in ("certify", "threshold_for_risk"):  # without rows, these find nothing
        with pytest.raises(ValueError, match="no rows"):
            metric(numbers[:0], labels[:0])


@pytest.mark.parametrize("name", OF_CLASSES)
def test_scores_are_floats_of_both_classes(name: str) -> None:
    metric, scores = OF_CLASSES[name], np.linspace(-1.0, 1.0, 6)

    for bonafide, spoof in ((scores, scores[:0]), (scores[:0], scores)):
        with pytest.raises(ValueError, match="at least one of each"):
            metric(bonafide, spoof)
    # NaN sorts to the end: it counted as the highest score, or as none that is wrong
    for bonafide, spoof in ((np.append(scores, np.nan), scores), (scores, np.append(scores, np.nan))):
        with pytest.raises(ValueError, match="NaN"):
            metric(bonafide, spoof)
    with pytest.raises(ValueError, match="expected floats"):
        metric(scores, np.array([0, 1]))
    with pytest.raises(ValueError, match="one dimension"):
        metric(scores[None], scores)


@pytest.mark.parametrize("name", ["is_spoof", "wrong", "kept"])
def test_trials_have_boolean_labels(name: str) -> None:
    trials = drawn(np.random.default_rng(0), 4, 3, 1.0, 1.0)

    with pytest.raises(ValueError, match=f"{name} of type int64; expected booleans"):
        replace(trials, **{name: getattr(trials, name).astype(int)})


@pytest.mark.parametrize("coverage", [95, 1.5, 0.0, -0.1, float("nan")])
def test_a_coverage_is_a_share(coverage: float) -> None:
    numbers = np.array([0.1, 0.2])

    with pytest.raises(ValueError, match="expected a share"):
        metrics.risk_at_coverage(numbers, numbers > 0.1, coverage)
    with pytest.raises(ValueError, match="expected a share"):
        threshold_for_coverage(numbers, coverage)


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_cost_is_a_finite_number_above_zero(cost: float) -> None:
    for costs in ({"miss_cost": cost}, {"false_alarm_cost": cost}, {"p_spoof": cost}):
        with pytest.raises(ValueError, match="must be inside"):
            OperatingPoint(**costs)


def test_the_bounds_of_a_score_count_booleans() -> None:
    with pytest.raises(ValueError, match="expected booleans"):
        score_bounds(np.array([0, 1, 1]))
