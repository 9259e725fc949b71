"""Distances agree with a known covariance, and quantiles with those of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from detector.logistic import Matrix
from detector.novelty import Novelty, learn


def draw(n_rows: int, seed: int = 0) -> np.ndarray:
    """Forty dimensions, of which three are ten times as wide as the others."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, 40)) * np.array([10.0] * 3 + [1.0] * 37)


def learned(rows: np.ndarray, block_rows: int = 4_096) -> Novelty:
    n_rows, dim = rows.shape
    return learn(Matrix(rows, block_rows), np.arange(n_rows) % 3, np.zeros(dim), np.ones(dim))[0]


def test_distance_is_mahalanobis_s() -> None:
    # variances 4 and 1 along the axes, 0.25 elsewhere
    novelty = Novelty(np.eye(4)[:2], np.array([4.0, 1.0]), 0.25, np.array([0.0, 1.0]))

    squared = novelty.distance(np.array([[2.0, 3.0, 0.5, -1.0]])) ** 2 * 4

    assert squared == pytest.approx(4 / 4 + 9 / 1 + (0.25 + 1.0) / 0.25)


def test_learnt_distances_are_those_of_the_true_covariance() -> None:
    rows = draw(20_000)
    found = learned(rows)

    squared = found.distance(draw(5_000, seed=1)) ** 2 * 40

    # of 40 normals of variance 1, squared: chi-squared with 40 degrees
    assert np.quantile(squared, [0.1, 0.5, 0.9]) == pytest.approx(chi2.ppf([0.1, 0.5, 0.9], 40), rel=0.03)


def test_familiar_rows_have_uniform_ranks_and_rows_of_another_shape_are_out() -> None:
    rows = draw(2_000)
    found = learned(rows)
    inside, outside = np.zeros((1, 40)), np.zeros((1, 40))
    inside[0, 0], outside[0, 39] = 20.0, 20.0  # as long, along a wide axis and along a narrow one

    np.testing.assert_allclose(np.sort(found.ood(draw(5_000, seed=1))), np.linspace(0, 1, 5_000), atol=0.05)
    assert found.ood(inside)[0] < 0.5
    assert found.ood(outside)[0] == 1.0


@pytest.mark.parametrize(("n_rows", "dim"), [(3, 1), (10, 50), (100, 2)])
def test_few_rows_or_dimensions_still_give_finite_distances(n_rows: int, dim: int) -> None:
    rows = np.random.default_rng(0).normal(size=(n_rows, dim))

    found = learned(rows)

    assert np.isfinite(found.distance(rows * 100)).all()
    assert found.rest > 0


def test_rows_that_are_all_the_same_do_not_divide_by_zero() -> None:
    found = learned(np.zeros((50, 4)))

    assert np.isfinite(found.ood(np.ones((1, 4)))).all()


def test_blocks_do_not_matter() -> None:
    rows = draw(1_000)

    whole, parts = (learned(rows, block) for block in (1_000, 64))

    np.testing.assert_allclose(parts.quantiles, whole.quantiles, rtol=1e-9)


def test_an_unseen_row_is_as_near_as_a_training_row_even_if_rows_are_few() -> None:
    # by the covariance that they made themselves, 120 rows of 40 dimensions look nearer than any new one
    far = [np.mean(learned(draw(120, seed)).ood(draw(500, seed + 100)) > 0.95) for seed in range(20)]

    assert np.mean(far) == pytest.approx(0.05, abs=0.02)
