"""The optimum agrees with scikit-learn, for blocks of any size and for many models at once."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from detector import logistic
from detector.errors import ConfigError
from detector.logistic import Matrix, Subset, fit, gather, moments

EACH = np.arange(10_000)  # every row a kind of its own
SAME = np.zeros(10_000, dtype=np.int8)  # all rows of one kind


def draw(n_rows: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows with scales and offsets as different as an encoder's, and labels that depend on them at random."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(n_rows, dim)) * rng.lognormal(size=dim) + 5 * rng.normal(size=dim)
    direction = rng.normal(size=dim) / embeddings.std(axis=0) / np.sqrt(dim)
    logits = 2 * (embeddings - embeddings.mean(axis=0)) @ direction
    return embeddings, logits + rng.logistic(size=n_rows) > 0


def optimum(embeddings: np.ndarray, is_bonafide: np.ndarray, c: float, weights: np.ndarray) -> np.ndarray:
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-13, max_iter=1_000)
    return model.fit(embeddings, is_bonafide, sample_weight=weights).coef_[0]


@pytest.mark.parametrize("block_rows", [77, 4_096])
@pytest.mark.parametrize(("c", "standardised"), [(1.0, True), (1e-3, True), (1e6, False), (1.0, False)])
def test_the_optimum_agrees_with_scikit_learn_to_a_millionth(c: float, standardised: bool, block_rows: int) -> None:
    embeddings, is_bonafide = draw(2_000, 30)
    weights = np.random.default_rng(1).uniform(0.1, 3.0, size=2_000)
    rows = Matrix(embeddings, block_rows)
    facts = moments(rows, EACH[:2_000], np.ones((2_000, 1), dtype=bool))
    mean, scale = facts.mean[0], facts.scale[0]
    penalty = (np.ones(30) if standardised else scale**-2) / c

    found = fit(rows, is_bonafide, EACH[:2_000], weights[:, None], mean, scale, penalty[None])

    unit = scale if standardised else np.ones(30)
    expected = optimum((embeddings - mean) / unit, is_bonafide, c, weights)
    np.testing.assert_allclose(found.weights[0] / scale * unit, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


def test_curvature_from_a_share_of_the_rows_leads_to_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    # as it is for a million rows: here one row in five says how the loss is curved
    monkeypatch.setattr(logistic, "BLOCK_ROWS", 1)
    embeddings, is_bonafide = draw(7_000, 20)
    mean, scale = embeddings.mean(axis=0), embeddings.std(axis=0)

    found = fit(Matrix(embeddings), is_bonafide, SAME[:7_000], np.ones((1, 1)), mean, scale, np.ones((1, 20)))

    expected = optimum((embeddings - mean) / scale, is_bonafide, 1.0, np.ones(7_000))
    np.testing.assert_allclose(found.weights[0], expected, rtol=0, atol=1e-7 * np.abs(expected).max())


def test_many_models_at_once_are_the_models_one_by_one() -> None:
    embeddings, is_bonafide = draw(1_000, 8)
    weights = (np.random.default_rng(2).random((1_000, 5)) < 0.7).astype(float)
    penalty = np.random.default_rng(3).lognormal(size=(5, 8))
    zero, one = np.zeros(8), np.ones(8)

    together = fit(Matrix(embeddings), is_bonafide, EACH[:1_000], weights, zero, one, penalty)

    for model in range(5):
        chosen = weights[:, model] > 0
        alone = fit(
            Matrix(embeddings[chosen]),
            is_bonafide[chosen],
            SAME[: chosen.sum()],
            np.ones((1, 1)),
            zero,
            one,
            penalty[[model]],
        )
        np.testing.assert_allclose(together.weights[model], alone.weights[0], rtol=1e-6)
        np.testing.assert_allclose(together.bias[model], alone.bias[0], rtol=1e-6)


def test_separable_classes_in_more_dimensions_than_rows_have_an_optimum() -> None:
    embeddings, is_bonafide = draw(60, 100)

    found = fit(
        Matrix(embeddings), is_bonafide, SAME[:60], np.ones((1, 1)), np.zeros(100), np.ones(100), np.ones((1, 100))
    )

    # the gradient is zero there: the penalty's pull equals the rows' push
    logits = embeddings @ found.weights[0] + found.bias[0]
    push = (1 / (1 + np.exp(-logits)) - is_bonafide) @ embeddings
    np.testing.assert_allclose(found.weights[0], -push, atol=1e-6 * np.abs(push).max())
    assert found.last_step <= logistic.TOLERANCE


def test_a_fit_that_does_not_converge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "MAX_PASSES", 3)
    embeddings, is_bonafide = draw(500, 5)

    with pytest.raises(ConfigError, match="not converged in 3 passes"):
        fit(
            Matrix(embeddings), is_bonafide, SAME[:500], np.ones((1, 1)), np.zeros(5), np.ones(5), np.full((1, 5), 1e-9)
        )


def test_moments_are_numpy_s_over_every_selection_and_a_constant_has_scale_one() -> None:
    embeddings, _ = draw(500, 6)
    embeddings[:, 2] = 0.1
    selected = np.random.default_rng(0).random((500, 3)) < 0.5

    found = moments(Matrix(embeddings, block_rows=64), EACH[:500], selected)

    for number, rows in enumerate(selected.T):
        expected = embeddings[rows].std(axis=0)
        expected[2] = 1.0
        np.testing.assert_allclose(found.mean[number], embeddings[rows].mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.scale[number], expected, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1.0])
def test_rows_that_are_in_both_classes_have_the_optimum_zero(scale: float) -> None:
    # each row with weight 1 in both classes: by symmetry neither weights nor bias differ from zero
    once = scale * np.random.default_rng(2).normal(5.0, 1.0, size=(500, 8))
    rows, is_bonafide = Matrix(np.concatenate([once, once])), np.arange(1_000) < 500

    found = fit(rows, is_bonafide, SAME[:1_000], np.ones((1, 1)), np.zeros(8), np.ones(8), np.full((1, 8), 1e-6))

    assert np.abs(found.logits(rows, SAME[:1_000])).max() < 1e-10
    assert found.passes < 20


@pytest.mark.parametrize("outlier", [0.0, 1e6, 1e8])
def test_a_first_row_far_out_does_not_cost_the_digits_of_the_variance(outlier: float) -> None:
    values = np.random.default_rng(4).normal(size=(1_000, 1))
    values[0] = outlier
    selected = np.array([[True], [False]])  # the first row is of a kind that is not selected
    kind = (np.arange(1_000) == 0).astype(np.int8)

    found = moments(Matrix(values), kind, selected)

    assert found.mean[0, 0] == pytest.approx(values[1:].mean(), abs=1e-9)
    assert found.scale[0, 0] == pytest.approx(values[1:].std(), rel=1e-9)


def test_a_subset_has_the_chosen_rows_in_their_order() -> None:
    embeddings, _ = draw(100, 3)
    chosen = np.random.default_rng(0).random(100) < 0.3

    some = Subset(Matrix(embeddings, block_rows=7), chosen)

    read = np.concatenate([block for _, block in some.blocks()])
    assert some.n_rows == len(read) == chosen.sum()
    np.testing.assert_array_equal(read, embeddings[chosen])
    np.testing.assert_array_equal(
        gather(some, np.isin(EACH[: some.n_rows], [0, 2])).embeddings, embeddings[chosen][[0, 2]].astype("f4")
    )
