"""Attribution: normal systems are told apart as well as theory says, and unknown ones get few names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.covariance import ledoit_wolf

from detector.attribution import COSINE, MAHALANOBIS
from detector.errors import ConfigError
from detector.groups import Names
from detector.training.attribution import fit_attribution, n_spaces
from detector.training.systems import Learner, Spoken

DIM = 6


def spoken(
    means: np.ndarray, n_rows: int, *, seed: int = 0, n_sources: int = 8, spread: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, dict[str, Names]]:
    """Rows of normal systems around ``means``, of all sources in turn, and as many bona fide rows around zero.

    ``spread`` moves every row of a source along its first direction by another amount.
    """
    rng = np.random.default_rng(seed)
    n_systems, dim = means.shape
    system = np.concatenate([np.full(n_rows, -1), np.repeat(np.arange(n_systems), n_rows)])
    source = np.arange(len(system)) % n_sources
    rows = rng.normal(size=(len(system), dim)) + np.vstack([means, np.zeros(dim)])[system]
    if spread is not None:
        rows += np.outer(np.linspace(-1.0, 1.0, n_sources)[source], spread)
    names = {
        "system": Names.of([None if each < 0 else f"s{each:02d}" for each in system]),
        "source": Names.of([f"source {each}" for each in source]),
        "speaker": Names.of([None] * len(system)),
    }
    return rows, system < 0, names


def triangle(side: float) -> np.ndarray:
    """Three means at equal distances."""
    means = np.zeros((3, DIM))
    means[:, :3] = np.eye(3) * side / np.sqrt(2.0)
    return means


def test_systems_are_told_apart_as_often_as_normal_distributions_allow() -> None:
    side = 2.0
    # Three unit normals at the corners of a triangle: a row is right if it is on the right side of both bisectors,
    # which are at 60 degrees. Monte Carlo of two dimensions; the pairwise rate Phi(side / 2) is an upper bound.
    plane = np.random.default_rng(1).normal(size=(100_000, 3)) + np.eye(3)[0] * side / np.sqrt(2.0)
    expected = float((plane.argmax(axis=1) == 0).mean())

    found, report = fit_attribution(*spoken(triangle(side), 400), 0.05)

    assert expected < norm.cdf(side / 2.0)
    assert report["nearest"]["value"] == pytest.approx(expected, abs=0.03)
    assert report["nearest"]["low"] < expected < report["nearest"]["high"]
    assert report["nearest_row"]["value"] < report["nearest"]["value"]
    assert report["chance"] == pytest.approx(1 / 3)
    assert found.systems == ("s00", "s01", "s02")


def test_the_space_is_the_discriminant_of_a_shrunk_covariance() -> None:
    rng = np.random.default_rng(2)
    mixing, means = rng.normal(size=(DIM, DIM)), rng.normal(size=(4, DIM))
    rows, is_bonafide, names = spoken(means @ mixing, 60)
    known = Spoken.of(rows, is_bonafide, names)
    space = Learner(known, 0).without_systems(np.empty(0, dtype=np.int64)).attribution(MAHALANOBIS)

    own = rows[known.named]
    centres = np.stack([own[known.system[known.named] == number].mean(axis=0) for number in range(4)])
    covariance, _ = ledoit_wolf(own - centres[known.system[known.named]], assume_centered=True)
    inverse = np.linalg.inv(covariance)
    # Axes that span the means keep all differences of distances: Fisher's discriminant in full.
    far = np.array([[(row - centre) @ inverse @ (row - centre) for centre in centres] for row in own[:50]])
    squared = -2.0 * space.similarities(space.coordinates(own[:50]))
    np.testing.assert_allclose(squared - squared[:, :1], far - far[:, :1], rtol=1e-3, atol=1e-3)


def test_directions_in_which_sources_of_bona_fide_rows_differ_are_not_used() -> None:
    along = np.zeros(DIM)
    along[-1] = 30.0
    rows, is_bonafide, names = spoken(triangle(3.0), 300, spread=along)
    known = Spoken.of(rows, is_bonafide, names)

    space = Learner(known, 1).without_systems(np.empty(0, dtype=np.int64))

    moved = space.attribution(COSINE).coordinates(rows[:5] + along) - space.attribution(COSINE).coordinates(rows[:5])
    kept = space.attribution(COSINE).coordinates(rows[:5] + np.eye(DIM)[0])
    assert np.abs(moved).max() < 0.1 < np.abs(kept - space.attribution(COSINE).coordinates(rows[:5])).max()


@pytest.mark.parametrize("rate", [0.05, pytest.param(0.2, marks=pytest.mark.long)])
def test_a_system_that_was_not_heard_gets_a_name_as_often_as_was_asked(rate: float) -> None:
    # Means of all systems, heard and not heard, are draws from one distribution, as the threshold assumes.
    means = np.random.default_rng(3).normal(scale=3.0, size=(60, 8))

    found, report = fit_attribution(*spoken(means[:30], 20, seed=4), rate)

    unheard, is_bonafide, _ = spoken(means[30:], 100, seed=5)
    place, _ = found.nearest(found.coordinates(unheard[~is_bonafide]))
    named = (place >= 0).reshape(30, 100).mean(axis=1)
    assert abs(named.mean() - rate) < 3.0 * named.std() / np.sqrt(len(named)) + 0.03
    assert report["false_attribution"]["value"] == pytest.approx(rate, abs=0.05)
    assert report["auroc"]["value"] > 0.8
    assert report["rightly_named"]["value"] > report["wrongly_named"]["value"]


def test_rows_of_one_unknown_system_are_alike_and_those_of_two_are_not() -> None:
    means = np.random.default_rng(6).normal(scale=4.0, size=(20, 8))

    found, report = fit_attribution(*spoken(means, 20), 0.05)

    assert found.alike is not None
    assert report["pairs"]["pairs_of_two_systems"] <= 0.01 + 1e-9
    assert report["pairs"]["pairs_of_one_system"] > 0.5


@pytest.mark.parametrize(("n_systems", "n_expected"), [(3, 2 * (8 + 3)), (4, 2 * (8 + 4) + 2)])
def test_each_space_that_takes_time_is_called_back_for(n_systems: int, n_expected: int) -> None:
    # with and without nuisance directions: 8 sources and each system are left out; then parts of two systems or more
    rows, learnt = spoken(np.eye(n_systems, DIM) * 4.0, 8), []

    fit_attribution(*rows, 0.05, lambda: learnt.append(None))

    assert len(learnt) == n_spaces(Spoken.of(*rows)) == n_expected


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows, is_bonafide, names = spoken(triangle(2.0), 100)
    order = np.random.default_rng(7).permutation(len(rows))

    first, one = fit_attribution(rows, is_bonafide, names, 0.05)
    second, other = fit_attribution(rows[order], is_bonafide[order], {n: c[order] for n, c in names.items()}, 0.05)

    assert first.threshold == pytest.approx(second.threshold, rel=1e-9)
    np.testing.assert_allclose(first.references @ first.references.T, second.references @ second.references.T)
    assert one["nearest"] == other["nearest"]


def test_a_system_of_one_source_is_measured_by_its_speakers_or_not_at_all() -> None:
    rows, is_bonafide, names = spoken(triangle(4.0), 40)
    system = names["system"].code
    source = np.where(system == 2, 0, names["source"].code)  # the third has one source
    names |= {"source": Names(source, names["source"].words)}

    speaker = Names(np.arange(len(rows)) % 4, tuple("abcd"))

    _, without = fit_attribution(rows, is_bonafide, names, 0.05)
    _, report = fit_attribution(rows, is_bonafide, names | {"speaker": speaker}, 0.05)

    assert without["systems_measured"] == 2
    assert report["systems_measured"] == 3
    assert set(report["confusion"]) == {"s00", "s01", "s02"}


def test_labels_without_sources_or_speakers_measure_no_accuracy() -> None:
    rows, is_bonafide, names = spoken(triangle(4.0), 40)
    nobody = Names.of([None] * len(rows))

    found, report = fit_attribution(rows, is_bonafide, names | {"source": nobody}, 0.05)

    assert report["rows_measured"] == 0
    assert report["nearest"] is report["auroc"] is None
    assert found.systems == ("s00", "s01", "s02")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": ["a"] * 20 + ["b"] * 20}, r"2 system\(s\) with 5 or more spoof rows, of 2 named; expected 3"),
        ({"system": ["a"] * 20 + ["b"] * 16 + ["c"] * 4}, r"2 system\(s\) with 5 or more spoof rows, of 3 named"),
        ({"system": [None] * 40}, r"0 system\(s\)"),
        ({"system": ["a"] * 20 + ["b"] * 10 + ["unknown"] * 10}, "called 'unknown', which means none of them"),
        ({"system": ["a"] * 20 + ["b"] * 10 + ["c" * 201] * 10}, "more than 200 characters"),
    ],
)
def test_systems_that_cannot_be_told_apart_are_refused(change: dict[str, Any], message: str) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    names = {kind: Names.of([None] * 40) for kind in ("source", "speaker")}
    names |= {kind: Names.of(values) for kind, values in change.items()}

    with pytest.raises(ConfigError, match=message):
        fit_attribution(rows, np.zeros(40, dtype=bool), names, 0.05)
