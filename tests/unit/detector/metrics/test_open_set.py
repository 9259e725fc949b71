"""Names of systems, measured: means over systems against hand counts, the AUROC against a closed form."""

import numpy as np
import pytest
from scipy.stats import norm

from detector.metrics import balanced_share, open_set_auroc, threshold_of_rate


def test_each_system_weighs_the_same_however_many_rows_it_has() -> None:
    chosen = np.array([True] * 90 + [False] * 10 + [True] * 1 + [False] * 3)
    system = np.array([0] * 100 + [1] * 4)

    assert balanced_share(chosen, system, np.arange(104)).value == pytest.approx((0.9 + 0.25) / 2)


def test_the_interval_is_of_clusters_and_wide_if_there_are_few() -> None:
    rng = np.random.default_rng(0)
    chosen = np.repeat(rng.random(12) < 0.5, 50)  # all rows of a source are right, or none
    system, source = np.zeros(600, dtype=int), np.repeat(np.arange(12), 50)

    by_source, by_row = balanced_share(chosen, system, source), balanced_share(chosen, system, np.arange(600))

    # binomial of 12 sources: two standard errors are 0.29 to either side
    assert by_source.high - by_source.low == pytest.approx(4 * np.sqrt(0.25 / 12), abs=0.15)
    assert by_row.high - by_row.low < 0.1
    assert (by_one := balanced_share(chosen, system, system)).low == 0.0
    assert by_one.high == 1.0


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    # 150 corpora of 8 systems: each source of a system has a rate of its own around that of the system
    rng = np.random.default_rng(3)
    rates, held = np.linspace(0.2, 0.9, 8), []
    system, source = np.repeat(np.arange(8), 120), np.repeat(np.arange(96), 10)
    for _ in range(150):
        of_source = np.clip(np.repeat(rates, 12) + rng.uniform(-0.1, 0.1, size=96), 0.0, 1.0)
        found = balanced_share(rng.random(960) < of_source[source], system, source, n_draws=200)
        held.append(found.low <= rates.mean() <= found.high)

    assert 0.88 <= np.mean(held) <= 0.99


def test_systems_are_drawn_if_no_clusters_are_named() -> None:
    # 20 systems, half of which are always chosen: two standard errors are 0.22 to either side
    system = np.repeat(np.arange(20), 30)

    found = balanced_share(system % 2 == 0, system)

    assert found.value == 0.5
    assert found.high - found.low == pytest.approx(4 * np.sqrt(0.25 / 20), abs=0.1)


def test_nothing_measured_is_no_number() -> None:
    empty = np.empty(0, dtype=int)

    assert np.isnan(balanced_share(empty.astype(bool), empty, empty).value)
    assert np.isnan(open_set_auroc(empty.astype(float), empty, np.ones(2), np.zeros(2, dtype=int)).value)


def test_the_area_of_two_normals_is_the_closed_form() -> None:
    # unit normals a distance d apart: Phi(d / sqrt(2)); systems of unequal size change nothing, as all are alike
    quantiles, distance = norm.ppf((np.arange(2_000) + 0.5) / 2_000), 1.5
    system = np.where(np.arange(2_000) % 10 == 0, 0, 1)

    found = open_set_auroc(quantiles + distance, system, quantiles, system, n_draws=50)

    assert found.value == pytest.approx(norm.cdf(distance / np.sqrt(2.0)), abs=2e-3)
    assert found.low <= found.value <= found.high


def test_at_most_the_stated_share_of_a_mean_system_is_above_the_threshold() -> None:
    rng = np.random.default_rng(1)
    system = rng.integers(7, size=500)
    similarity = rng.normal(size=500).round(2) + system  # with ties

    for rate in (0.01, 0.05, 0.5):
        threshold = threshold_of_rate(similarity, system, rate)
        share = np.mean([(similarity[system == each] > threshold).mean() for each in range(7)])
        below = np.max(similarity[similarity < threshold])
        assert share <= rate + 1e-12
        assert np.mean([(similarity[system == each] > below).mean() for each in range(7)]) > rate
