"""The ways to take out nuisance that bench/nuisance.py compares do what their formulas say."""

from __future__ import annotations

import numpy as np

from bench.nuisance import Corpus, Way, by_groups, covariance, transform, trials_of


def corpus() -> Corpus:
    """Two human sources and two systems, each of two rows: sources differ along axis 0, systems along axis 1."""
    centres = np.array([[2.0, 0, 0], [-2.0, 0, 0], [0, 4.0, 0], [0, -4.0, 0]])
    features = np.repeat(centres, 2, axis=0) + np.tile([[0, 0, 1.0], [0, 0, -1.0]], (4, 1))
    groups = np.repeat(["a", "b", "x", "y"], 2)
    is_bonafide = np.arange(8) < 4
    of = {"group": groups, "source": np.where(is_bonafide, groups, "")}
    return Corpus(features, is_bonafide, of, np.array([-1, -1, -1, -1, 0, 1, -1, -1]))


def test_the_covariance_of_group_means_is_that_of_each_class_by_hand() -> None:
    some = corpus()

    # ((2² + 2²) / (2 - 1)) = 8 along axis 0 for humans, 32 along axis 1 for systems, and the mean of both classes
    np.testing.assert_allclose(covariance("group", some, some.features, np.arange(8)), np.diag([4.0, 16.0, 0.0]))
    np.testing.assert_allclose(covariance("source", some, some.features, np.arange(8)), np.diag([8.0, 0.0, 0.0]))
    # pairs (4, 0) and (5, 1) have the means (1, 2, 1) and (1, 2, -1)
    np.testing.assert_allclose(covariance("pair", some, some.features, np.arange(8)), np.diag([0.0, 0.0, 2.0]))


def test_directions_are_taken_out_or_shrunk_by_their_variance() -> None:
    some = corpus()

    out = transform(Way("", "group", out=1), some, some.features, np.arange(8))
    shrunk = transform(Way("", "group", shrink=5.0), some, some.features, np.arange(8))

    np.testing.assert_allclose(out, np.diag([1.0, 0.0, 1.0]), atol=1e-12)
    # variances 4, 16 and 0 are 0.6, 2.4 and 0 of their average 20 / 3
    np.testing.assert_allclose(shrunk, np.diag([1 / np.sqrt(4.0), 1 / np.sqrt(13.0), 1.0]), atol=1e-12)


def test_every_group_counts_once_in_the_cost_by_group() -> None:
    uneven = np.array([0, 2, 3, 4, 6, 7])  # one row of a, two of b
    whole = corpus()
    names = {name: column[uneven] for name, column in whole.of.items()}
    some = Corpus(whole.features[uneven], whole.is_bonafide[uneven], names, whole.original[uneven])
    perfect, ignorant = np.where(some.is_bonafide, 50.0, -50.0), np.zeros(6)
    score = np.where(some.of["group"] == "a", ignorant, perfect)

    value, change = by_groups(trials_of(score, some), trials_of(ignorant, some))

    # a loses a bit, b none: half a bit for humans, none for systems
    assert np.isclose(value, 0.25)
    assert np.isclose(change[0], 0.25 - 1.0)
