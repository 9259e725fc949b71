"""Entropies agree with Shannon's formula, and thresholds keep the target share."""

from __future__ import annotations

import numpy as np
import pytest

from detector.rejection import (
    band,
    entropy_bits,
    log_odds,
    p_spoof,
    threshold_for_coverage,
    threshold_for_risk,
)

PRIORS = [0.001, 0.2, 0.5, 0.97]


def score_of(probability: float) -> np.ndarray:
    """The score that gives this probability of spoof at even odds."""
    return np.array([np.log((1 - probability) / probability)])


@pytest.mark.parametrize(
    ("prior", "score", "probability"),
    [
        (0.5, 0.0, 0.5),
        (0.01, 0.0, 0.01),  # a score of zero carries no information: the prior stays
        (0.5, np.log(9), 0.1),
        (0.2, np.log(4), 1 / 17),  # odds of spoof 1:4, divided by 4
        (0.8, -np.log(4), 16 / 17),
        (0.5, 1e4, 0.0),
        (0.5, -1e4, 1.0),
    ],
)
def test_probability_of_spoof_is_bayes_rule(prior: float, score: float, probability: float) -> None:
    assert p_spoof(np.array([score]), prior)[0] == pytest.approx(probability, abs=1e-15)


@pytest.mark.parametrize(
    ("probability", "bits"),
    # -p log2 p - (1 - p) log2 (1 - p)
    [(0.5, 1.0), (0.25, 0.811278), (0.11, 0.49992), (0.1, 0.468996), (0.01, 0.080793), (0.001, 0.011408)],
)
def test_entropy_is_shannon_s(probability: float, bits: float) -> None:
    assert entropy_bits(score_of(probability), 0.5)[0] == pytest.approx(bits, abs=1e-5)
    assert entropy_bits(score_of(1 - probability), 0.5)[0] == pytest.approx(bits, abs=1e-5)


def test_entropy_stays_exact_where_the_probability_rounds_to_one() -> None:
    # e^-x (1 + x) / ln 2 for small e^-x; 1 - e^-50 is 1 in doubles, and its entropy by Shannon's formula 0
    expected = np.exp(-50.0) * 51 / np.log(2)

    assert p_spoof(np.array([-50.0]), 0.5)[0] == 1.0
    assert entropy_bits(np.array([-50.0, 50.0]), 0.5) == pytest.approx([expected, expected], rel=1e-12, abs=0.0)


def test_the_entropy_of_an_infinite_score_is_zero_and_no_score_has_none() -> None:
    entropy = entropy_bits(np.array([np.inf, -np.inf, np.nan]), 0.5)

    assert entropy[:2].tolist() == [0.0, 0.0]
    assert np.isnan(entropy[2])


def test_entropy_of_absurd_scores_is_zero() -> None:
    assert entropy_bits(np.array([-1e300, -1e4, 1e4, 1e300]), 0.3).tolist() == [0.0] * 4


@pytest.mark.parametrize("prior", PRIORS)
def test_entropy_is_highest_where_score_and_prior_balance(prior: float) -> None:
    scores = np.linspace(-10, 10, 201)

    np.testing.assert_allclose(entropy_bits(scores + log_odds(prior), prior), entropy_bits(scores, 0.5), atol=1e-12)
    assert entropy_bits(np.array([log_odds(prior)]), prior)[0] == 1.0


def test_band_is_where_the_probability_is_less_certain_than_eleven_percent() -> None:
    # H(0.11) = H(0.89) = 0.499916 bits, and ln(0.89 / 0.11) = 2.09074
    assert band(0.499916, 0.5) == pytest.approx((-2.09074, 2.09074), abs=1e-4)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("bits", [1e-6, 0.1, 0.5, 0.999])
def test_band_is_the_inverse_of_entropy_and_moves_with_the_prior(bits: float, prior: float) -> None:
    low, high = band(bits, prior)

    assert entropy_bits(np.array([low, high]), prior) == pytest.approx(bits, rel=1e-9)
    assert (entropy_bits(np.linspace(low, high, 9)[1:-1], prior) > bits).all()
    assert (entropy_bits(np.array([low - 0.01, high + 0.01]), prior) < bits).all()
    assert (low + high) / 2 == pytest.approx(log_odds(prior))


def test_no_entropy_is_above_one_bit_however_even_the_odds_are() -> None:
    assert entropy_bits(np.logspace(-300, 0, 100_000), 0.5).max() <= 1.0


@pytest.mark.parametrize("prior", PRIORS)
def test_one_bit_rejects_nothing_and_none_rejects_all_that_is_finite(prior: float) -> None:
    # e^-745 is the last double above zero
    assert band(1.0, prior) == pytest.approx((log_odds(prior), log_odds(prior)))
    assert band(0.0, prior) == pytest.approx((log_odds(prior) - 745, log_odds(prior) + 745), abs=1.0)


@pytest.mark.parametrize(
    ("coverage", "threshold"),
    [(0.2, 0.1), (0.21, 0.2), (0.6, 0.3), (0.8, 0.3), (0.99, 0.9)],  # the first of five, the second, the third ...
)
def test_coverage_is_kept_by_counting(coverage: float, threshold: float) -> None:
    assert threshold_for_coverage(np.array([0.9, 0.3, 0.1, 0.3, 0.2]), coverage) == threshold


@pytest.mark.parametrize("seed", range(10))
def test_coverage_is_the_smallest_that_meets_the_target(seed: int) -> None:
    rng = np.random.default_rng(seed)
    entropy, coverage = rng.uniform(size=rng.integers(1, 200)).round(2), rng.uniform(0.01, 0.99)

    threshold = threshold_for_coverage(entropy, coverage)

    assert np.mean(entropy <= threshold) >= coverage
    assert np.mean(entropy < threshold) < coverage


@pytest.mark.parametrize(
    ("risk", "threshold"),
    # risks as more is kept: 0/1, 1/2, then both rows of 0.3 at once: 2/4, and 2/5
    [(0.0, 0.1), (0.39, 0.1), (0.4, 0.9), (0.5, 0.9)],
)
def test_risk_is_kept_by_counting(risk: float, threshold: float) -> None:
    entropy, wrong = np.array([0.9, 0.3, 0.1, 0.3, 0.2]), np.array([False, True, False, False, True])

    assert threshold_for_risk(entropy, wrong, risk) == threshold


@pytest.mark.parametrize("seed", range(10))
def test_no_higher_threshold_meets_the_risk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    entropy = rng.uniform(size=100).round(2)
    wrong = rng.uniform(size=100) < entropy / 2

    threshold = threshold_for_risk(entropy, wrong, 0.1)

    risks = {each: wrong[entropy <= each].mean() for each in np.unique(entropy)}
    assert threshold == max((each for each, risk in risks.items() if risk <= 0.1), default=None)


def test_no_threshold_meets_a_risk_that_the_most_certain_rows_exceed() -> None:
    assert threshold_for_risk(np.array([0.1, 0.1, 0.5]), np.array([True, False, False]), 0.3) is None
