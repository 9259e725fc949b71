"""Bounds agree with the published rule, and the promise holds in repeated draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from detector.guarantee import Promise, certify, rows_needed, upper_bound
from detector.rejection import entropy_bits


@pytest.mark.parametrize(
    ("n_wrong", "n_rows", "confidence", "bound"),
    [
        (0, 10, 0.95, 1 - 0.05 ** (1 / 10)),  # (1 - p)^n = 1 - confidence
        (0, 299, 0.95, 1 - 0.05 ** (1 / 299)),
        (5, 5, 0.9, 1.0),
        (0, 0, 0.9, 1.0),
    ],
)
def test_the_exact_bound_has_its_closed_form(n_wrong: int, n_rows: int, confidence: float, bound: float) -> None:
    assert upper_bound(n_wrong, n_rows, confidence) == pytest.approx(bound)


def test_at_the_bound_so_few_errors_are_as_rare_as_the_confidence_states() -> None:
    assert binom.cdf(7, 200, upper_bound(7, 200, 0.9)) == pytest.approx(0.1)


@pytest.mark.parametrize(("risk", "confidence"), [(0.01, 0.95), (0.001, 0.95), (0.1, 0.9)])
def test_rows_needed_are_the_fewest_that_can_certify(risk: float, confidence: float) -> None:
    n_rows = rows_needed(risk, confidence)

    assert upper_bound(0, n_rows, confidence) <= risk < upper_bound(0, n_rows - 1, confidence)


def draw(rng: np.random.Generator, n_rows: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratios of unit normals a distance apart: N(±d²/2, d²)."""
    is_bonafide = rng.random(n_rows) < 0.7
    mean = np.where(is_bonafide, 0.5, -0.5) * distance**2
    return rng.normal(mean, distance), is_bonafide


def true_rates(max_entropy: float, distance: float) -> float:
    """Share of kept rows of a class that are wrong: by symmetry the same for both at a prior of one half."""
    half = np.linspace(0, 20, 20_001)
    width = half[np.argmax(entropy_bits(half, 0.5) <= max_entropy + 1e-15)]
    wrong = norm.cdf((-width - distance**2 / 2) / distance)
    right = norm.sf((width - distance**2 / 2) / distance)
    return float(wrong / (wrong + right))


def test_the_risk_of_kept_rows_obeys_the_promise_in_most_of_200_repetitions() -> None:
    # distance 2: one in six is wrong without rejecting, so the promise of 5 % needs a band
    rng, promise, broken, coverage = np.random.default_rng(0), Promise(0.05, 0.05, 0.95), 0, []
    for _ in range(200):
        score, is_bonafide = draw(rng, 20_000, 2.0)
        found = certify(score, is_bonafide, 0.5, promise)
        assert found.max_entropy_bits is not None
        broken += true_rates(found.max_entropy_bits, 2.0) > 0.05
        coverage.append(np.mean(entropy_bits(score, 0.5) <= found.max_entropy_bits))

    assert broken <= 10
    assert np.mean(coverage) > 0.35  # a promise that keeps no rows would be worthless


def test_the_naive_rule_breaks_the_same_promise() -> None:
    # the naive rule: the loosest threshold whose error rate on these rows keeps the promise
    rng, broken = np.random.default_rng(0), 0
    for _ in range(100):
        score, is_bonafide = draw(rng, 2_000, 2.0)
        entropy, wrong = entropy_bits(score, 0.5), (score < 0) == is_bonafide
        order = np.argsort(entropy)
        risks = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
        broken += true_rates(entropy[order][np.flatnonzero(risks <= 0.05)[-1]], 2.0) > 0.05

    assert broken > 20


def test_a_bound_that_few_rows_cannot_show_is_not_certified() -> None:
    score, is_bonafide = draw(np.random.default_rng(0), 50, 8.0)

    found = certify(score, is_bonafide, 0.5, Promise(0.01, None, 0.95)).describe()

    assert found["certified"] is False
    assert (found["bonafide"]["rows"], found["bonafide"]["rows_needed"]) == (is_bonafide.sum(), 408)


def test_classes_are_bounded_separately() -> None:
    # bona fide rows are always right; one spoof row in ten is as certain and wrong
    score = np.concatenate([np.full(1_000, 9.0), np.full(900, -9.0), np.full(100, 9.0)])
    is_bonafide = np.arange(2_000) < 1_000

    assert certify(score, is_bonafide, 0.5, Promise(0.05, None, 0.95)).max_entropy_bits == 1.0
    assert certify(score, is_bonafide, 0.5, Promise(0.05, 0.05, 0.95)).max_entropy_bits is None
    assert certify(score, is_bonafide, 0.5, Promise(None, 0.2, 0.95)).classes["spoof"]["wrong"] == 100


def test_the_assumptions_are_stated_with_the_bound() -> None:
    score, is_bonafide = draw(np.random.default_rng(0), 1_000, 3.0)

    found = certify(score, is_bonafide, 0.2, Promise(0.1, 0.1, 0.9)).describe()

    assert (found["certified"], found["prior"], found["confidence"]) == (True, 0.2, 0.9)
    assert len(found["assumptions"]) == 4
    assert found["spoof"]["bound"] <= 0.1
