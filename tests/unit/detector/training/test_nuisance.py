"""Nuisance directions: what tells bona fide sources apart is taken out, and the head stays linear."""

from __future__ import annotations

import numpy as np
import pytest

from detector import metrics
from detector.errors import ConfigError
from detector.groups import Names, groups_of
from detector.logistic import Matrix
from detector.training.config import TrainingConfig
from detector.training.fitting import fit_head
from detector.training.nuisance import clean

RECIPE = {"backbone": "melstats", "weights": ""}


def recordings(n_sources: int, seed: int, luck: float = 0.0) -> tuple[np.ndarray, np.ndarray, Names]:
    """Rows of sources: dimension 0 is the source's microphone, dimension 1 tells the classes apart.

    By `luck`, the microphones of human sources happen to lie above those of synthesisers, or below.
    """
    rng = np.random.default_rng(seed)
    source = np.repeat(np.arange(n_sources), 40)
    is_bonafide = source % 2 == 0
    rows = rng.normal(size=(len(source), 4))
    rows[:, 0] += rng.normal(scale=20.0, size=n_sources)[source] + np.where(is_bonafide, luck, -luck)
    rows[:, 1] += 1.5 * is_bonafide
    return rows, is_bonafide, Names.of([f"{'human' if number % 2 == 0 else 'tts'}-{number}" for number in source])


def test_rows_lose_the_direction_in_which_sources_differ_and_nothing_else() -> None:
    means = np.array([[-10.0, 0.0, 0.0], [0.0, 0.0, 0.0], [10.0, 0.0, 0.0]])
    rows = np.concatenate([means + offset for offset in ([0.0, 1.0, 0.0], [0.0, -1.0, 2.0], [0.0, 0.0, -2.0])])
    sources = Names.of(["a", "b", "c"] * 3)

    cleaned = clean(Matrix(rows), np.ones(9, dtype=bool), sources, 1)

    assert cleaned is not None
    np.testing.assert_allclose(np.abs(cleaned.directions), [[1.0, 0.0, 0.0]], atol=1e-12)
    ((_, found),) = cleaned.blocks()
    np.testing.assert_allclose(found, rows * [0.0, 1.0, 1.0], atol=1e-12)


def test_the_head_on_raw_rows_gives_the_logits_of_cleaned_ones() -> None:
    rows, is_bonafide, sources = recordings(12, seed=1)
    cleaned = clean(Matrix(rows), is_bonafide, sources, 2)
    assert cleaned is not None
    weights, scale = np.array([1.0, -2.0, 0.5, 3.0]), np.array([2.0, 1.0, 4.0, 0.5])

    found = (rows - cleaned.mean) / cleaned.scale @ cleaned.weights(weights, scale)

    expected = (np.concatenate([block for _, block in cleaned.blocks()]) - cleaned.mean) / scale @ weights
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("standardise", [True, False])
def test_a_microphone_that_told_the_classes_apart_by_chance_does_not_mislead_on_new_sources(standardise: bool) -> None:
    rows, is_bonafide, sources = recordings(24, seed=1, luck=15.0)
    new_rows, new_truth, _ = recordings(40, seed=2, luck=-15.0)
    groups = groups_of(is_bonafide, {"source": sources, "system": Names.of(["-"] * len(rows)), "speaker": sources})
    error = {}
    for n_directions in (0, 1):
        config = TrainingConfig(c=1e4, standardise=standardise, nuisance_directions=n_directions, folds=3)
        head, report, _ = fit_head(
            Matrix(rows), is_bonafide, groups, config, recipe=RECIPE, model="melstats", sources=sources
        )
        scores = head.scores(new_rows)
        error[n_directions] = metrics.equal_error_rate(scores[new_truth], scores[~new_truth])
        assert report["nuisance_directions"] == n_directions

    # Φ(-0.75) = 22.7 % is the least error of two unit normals that are 1.5 apart
    assert error[1] == pytest.approx(0.227, abs=0.03)
    assert error[0] > 0.4


def test_more_directions_than_sources_are_refused() -> None:
    rows, is_bonafide, sources = recordings(8, seed=5)

    with pytest.raises(ConfigError, match="of 4 sources; expected more sources than directions"):
        clean(Matrix(rows), is_bonafide, sources, 4)
    with pytest.raises(ConfigError, match="of 0 sources"):
        clean(Matrix(rows), is_bonafide, None, 1)


def test_a_negative_number_of_directions_is_refused() -> None:
    with pytest.raises(ConfigError, match="nuisance_directions -1; expected 0 or more"):
        TrainingConfig(nuisance_directions=-1)
