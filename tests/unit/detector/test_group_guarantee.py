"""Bounds over groups agree with closed forms, and the promise holds where a bound on rows breaks it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, norm

from detector.group_guarantee import (
    BETS,
    DOUBT,
    WEIGHTS,
    Kept,
    broken_share,
    certify_over,
    groups_needed,
    mean_bound,
    mean_evidence,
    shown_by_all,
)
from detector.groups import Names
from detector.guarantee import Promise, certify, rows_needed
from detector.rejection import entropy_bits
from tests.support.hierarchical import Population

MEAN = Promise(0.1, 0.1, 0.9, "both")
MOST = Promise(0.05, 0.05, 0.9, "both", 0.8)


def test_evidence_is_the_capital_of_gamblers_who_bet_group_by_group() -> None:
    rates, limit = np.array([0.0, 0.3, np.nan, 0.05, 1.0, 0.0]), 0.2
    capital = [1.0] * len(BETS)
    for rate in rates[~np.isnan(rates)]:
        capital = [each * (1.0 + bet / 0.8 * (limit - rate)) for each, bet in zip(capital, BETS, strict=True)]

    assert mean_evidence(rates, limit) == pytest.approx(np.dot(WEIGHTS, capital))
    assert capital[0] == pytest.approx(0.0)  # the boldest lost everything on the group that is all wrong


@pytest.mark.parametrize("high", [0.25, 0.6, 1.0])
def test_evidence_is_fair_where_the_mean_is_the_limit(high: float) -> None:
    # rates are 0 or `high`, and their mean is 0.2: summed over all outcomes of five groups, the capital stays 1
    share, expected = 0.2 / high, 0.0
    for outcome in itertools.product([0.0, high], repeat=5):
        n_high = sum(rate > 0.0 for rate in outcome)
        expected += share**n_high * (1.0 - share) ** (5 - n_high) * float(mean_evidence(np.array(outcome), 0.2))

    assert expected == pytest.approx(1.0)


def test_the_bound_of_the_mean_falls_to_the_mean_with_the_number_of_groups() -> None:
    rates = np.tile([0.0, 0.02, 0.04, 0.06], 2_500)

    bounds = [mean_bound(rates[:n], 0.95) for n in (8, 100, 10_000)]

    assert bounds[0] > bounds[1] > bounds[2] > 0.03
    assert bounds[2] == pytest.approx(0.03, abs=0.002)


@pytest.mark.parametrize("promise", [MEAN, MOST])
def test_as_many_groups_as_are_needed_certify_and_one_fewer_does_not(promise: Promise) -> None:
    limit = promise.limits["spoof"]
    needed = groups_needed(promise, limit, 0.95)

    def shown(n_groups: int) -> bool:
        if promise.quantile is None:
            return bool(mean_evidence(np.zeros(n_groups), limit) >= 20.0)
        kept = Kept(np.full((n_groups, 1), 100), np.zeros((n_groups, 1), dtype=int))
        return bool(broken_share(kept, limit, 0.95)[2][0] <= 1.0 - promise.quantile)

    assert shown(needed)
    assert not shown(needed - 1)


def test_so_few_failed_groups_are_as_rare_as_stated_where_the_share_is_the_bound() -> None:
    # 50 groups of 100 kept rows, three of them with too many errors, and one that is too small to count
    wrong = np.array([[0]] * 47 + [[20]] * 3 + [[0]])
    kept = np.array([[100]] * 50 + [[5]])

    n_failed, n_groups, bound = broken_share(Kept(kept, wrong), 0.05, 0.9)

    assert (n_failed[0], n_groups[0]) == (3, 50)
    assert binom.cdf(3, 50, bound[0] * (1.0 - DOUBT)) == pytest.approx(0.1)


def test_a_group_that_breaks_the_limit_seldom_passes() -> None:
    # at a rate just above the limit, rows show by chance that it is kept in at most one of four groups
    for n_rows in (rows_needed(0.05, 1.0 - DOUBT), 60, 200):
        n_wrong = np.arange(n_rows + 1)
        as_groups = [Kept(np.array([[n_rows]]), np.array([[each]])) for each in n_wrong]
        passed = [broken_share(each, 0.05, 0.9)[0][0] == 0 for each in as_groups]
        assert binom.pmf(n_wrong, n_rows, 0.0501)[passed].sum() <= DOUBT


def test_all_groups_show_a_quantile_and_never_the_worst() -> None:
    # were a share of 0.9 of all groups good, 29 good ones would be drawn with a probability of 0.9 ** 29
    assert shown_by_all(29, 1.0 - 0.9**29) == pytest.approx(0.9)
    assert shown_by_all(0, 0.95) == 0.0


def test_the_population_has_the_rates_of_normal_distributions() -> None:
    population = Population(spread=0.75, rows=1)

    # a single row of an unknown group is normal, with both variances; nothing is rejected
    assert population.mean_rate(1.0) == pytest.approx(norm.cdf(-1.0 / np.hypot(1.0, 0.75)), abs=1e-4)
    assert population.pooled_rate(1.0) == pytest.approx(population.mean_rate(1.0))
    # the error rate of a source at level 1 + x is Phi(-1 - x): above 0.3 below the quantile of 0.7
    assert population.share_above(0.3, 1.0, 1) == pytest.approx(norm.cdf((norm.ppf(0.7) - 1.0) / 0.75), abs=1e-3)


def overruns(population: Population, n_groups: int, promise: Promise, n_draws: int) -> tuple[int, int, list[float]]:
    """Draws in which the certificate over groups breaks its promise, and that over rows; and the share it keeps."""
    rng, broken, broken_by_rows, coverage = np.random.default_rng(0), 0, 0, []
    for _ in range(n_draws):
        score, is_bonafide, groups = population.draw(rng, n_groups)
        found = certify_over(score, is_bonafide, groups, 0.5, promise).max_entropy_bits
        broken += population.breaks(promise, found)
        broken_by_rows += population.breaks(promise, certify(score, is_bonafide, 0.5, promise).max_entropy_bits)
        coverage.append(0.0 if found is None else float(np.mean(entropy_bits(score, 0.5) <= found)))
    return broken, broken_by_rows, coverage


@pytest.mark.parametrize(
    ("population", "n_groups", "promise", "kept"),
    [(Population(1.0, 20, 5.0), 100, Promise(0.05, 0.05, 0.9, "both"), 0.2), (Population(0.7, 60, 4.0), 60, MOST, 0.3)],
)
def test_a_promise_over_groups_holds_and_keeps_rows(
    population: Population, n_groups: int, promise: Promise, kept: float
) -> None:
    broken, _, coverage = overruns(population, n_groups, promise, 5)

    assert broken <= 1  # at 10 % each, two of five are rarer than one in ten
    assert np.mean(coverage) > kept


@pytest.mark.long
@pytest.mark.parametrize(
    ("population", "n_groups", "promise"),
    [
        (Population(0.5, 20, 2.0), 100, MEAN),
        (Population(0.7, 60, 4.0), 60, MOST),
    ],
)
def test_a_promise_over_groups_holds_in_200_resamplings_and_one_over_rows_does_not(
    population: Population, n_groups: int, promise: Promise
) -> None:
    broken, broken_by_rows, _ = overruns(population, n_groups, promise, 200)

    assert broken <= 20
    assert broken_by_rows > 20


def test_groups_count_once_whatever_their_size_and_name() -> None:
    rng = np.random.default_rng(0)
    score, is_bonafide, groups = Population(0.5, 20, 6.0).draw(rng, 80)
    names = groups["spoof"]
    renamed = Names(names.code.max() - names.code, names.words[::-1])
    twice = np.concatenate([np.arange(len(score)), np.repeat(np.flatnonzero(names.code == 100), 50)])

    found = [
        certify_over(score[rows], is_bonafide[rows], {"spoof": each[rows]}, 0.5, Promise(None, 0.1, 0.9, "systems"))
        for each, rows in ((names, np.arange(len(score))), (renamed, np.arange(len(score))), (names, twice))
    ]

    assert found[0].max_entropy_bits is not None
    assert len({each.max_entropy_bits for each in found}) == 1
    assert {each.classes["spoof"]["groups"] for each in found} == {80}


def test_rows_without_a_name_are_not_counted_and_the_other_class_is_bounded_by_rows() -> None:
    score = np.concatenate([np.full(2_000, 9.0), np.full(2_000, -9.0), np.full(500, 9.0)])
    is_bonafide = np.arange(4_500) < 2_000
    systems = Names.of([None] * 2_000 + [f"s{number // 20}" for number in range(2_000)] + ["-"] * 500)

    found = certify_over(score, is_bonafide, {"spoof": systems}, 0.5, Promise(0.01, 0.1, 0.95, "systems")).describe()

    assert found["certified"] is True
    assert (found["spoof"]["rows"], found["spoof"]["groups"], found["spoof"]["wrong"]) == (2_000, 100, 0)
    assert (found["bonafide"]["rows"], found["bonafide"]["rows_needed"]) == (2_000, 408)
    assert "independent" in found["assumptions"][-1]


def test_too_few_groups_are_named_with_the_number_that_is_needed() -> None:
    score, is_bonafide, groups = Population(0.5, 20, 6.0).draw(np.random.default_rng(0), 16)

    found = certify_over(score, is_bonafide, {"spoof": groups["spoof"]}, 0.5, Promise(None, 0.05, 0.95, "systems"))

    assert found.max_entropy_bits is None
    level = 1.0 - 0.05 / 3
    assert (found.classes["spoof"]["groups"], found.classes["spoof"]["groups_needed"]) == (
        16,
        groups_needed(Promise(None, 0.05, 0.95), 0.05, level),
    )
    assert found.classes["spoof"]["bound"] is None
