"""Rows that share a name stay together, and samples do not depend on chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from detector import groups as groups_module
from detector.errors import ConfigError
from detector.groups import BY_CLASS, Groups, Names, groups_of, sample, tally

ASVSPOOF = {  # every speaker was cloned by every system, in one corpus
    "system": ["-", "-", "-", "A1", "A2", "A1", "A2", "A3"],
    "speaker": ["x", "y", "z", "x", "y", "z", "x", None],
    "source": ["asvspoof"] * 8,
}


def facts(columns: dict[str, list[str | None]]) -> dict[str, Names]:
    return {name: Names.of(values) for name, values in columns.items()}


def partition(of_row: np.ndarray) -> list[set[int]]:
    return sorted((set(np.flatnonzero(of_row == each).tolist()) for each in np.unique(of_row)), key=min)


def test_folds_of_named_rows_do_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    is_bonafide = np.arange(300) % 3 == 0
    names = {
        "system": np.where(is_bonafide, "-", np.char.add("s", rng.integers(12, size=300).astype(str))),
        "speaker": np.where(is_bonafide, np.char.add("p", rng.integers(15, size=300).astype(str)), "-"),
        "source": np.full(300, "-"),
    }
    order = rng.permutation(300)

    def folds(rows: np.ndarray) -> np.ndarray:
        columns = {name: column[rows].tolist() for name, column in names.items()}
        return groups_of(is_bonafide[rows], facts(columns)).folds(is_bonafide[rows])

    np.testing.assert_array_equal(folds(order), folds(np.arange(300))[order])


def test_rows_that_share_a_name_directly_or_through_others_are_in_one_group() -> None:
    columns = {
        "system": ["-", "-", "-", "s1", "s1", "s2", "s3"],
        "speaker": ["a", "b", "c", "a", "d", "e", "f"],  # a was cloned by s1, which d speaks, too
        "source": ["u", "v", "w", "x", "y", "z", None],
    }

    found = groups_of(np.arange(7) < 3, facts(columns))

    assert partition(found.of_row) == [{0, 3, 4}, {1}, {2}, {5}, {6}]
    assert found.rule == "no system or speaker or source in common"


def test_if_all_rows_are_connected_spoof_rows_are_grouped_by_system() -> None:
    is_bonafide = np.arange(8) < 3

    found = groups_of(is_bonafide, facts(ASVSPOOF))

    assert found.rule == BY_CLASS
    assert len(set(found.of_row[is_bonafide])) == 3
    assert found.of_row[3] == found.of_row[5] != found.of_row[4] == found.of_row[6] != found.of_row[7]


@pytest.mark.parametrize("unknown", [None, "", "-"])
def test_rows_without_any_known_name_are_groups_of_their_own(unknown: str | None) -> None:
    columns = {name: [unknown] * 8 for name in ("system", "speaker", "source")}

    assert len(set(groups_of(np.arange(8) < 4, facts(columns)).of_row)) == 8


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_a_group_is_in_one_fold_and_every_row_in_some(n_folds: int) -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(12, size=400)

    fold = Groups(groups, "drawn").folds(rng.random(400) < 0.6, n_folds)

    assert set(fold) == set(range(n_folds))
    assert all(len(set(fold[groups == group])) == 1 for group in range(12))


def test_one_group_of_a_class_cannot_be_held_out() -> None:
    with pytest.raises(ConfigError, match=r"3 labelled spoof rows in 1 group"):
        Groups(np.array([0, 1, 2, 3, 3, 3]), "drawn").folds(np.arange(6) < 3, 2)


def test_a_sample_has_the_same_share_of_every_group_and_class() -> None:
    group, is_bonafide = np.arange(1_000) % 10, np.arange(1_000) % 4 == 0

    chosen = sample(is_bonafide, Groups(group, "drawn"), 200)

    assert np.bincount(group[chosen]).tolist() == [20] * 10
    assert is_bonafide[chosen].mean() == pytest.approx(0.25, abs=0.01)


def test_a_sample_keeps_a_row_of_every_group_however_small() -> None:
    group = np.array([0] * 998 + [1, 2])

    chosen = sample(np.ones(1_000, dtype=bool), Groups(group, "drawn"), 10)

    assert {1, 2} <= set(group[chosen])


def unevenness(fold: np.ndarray, is_bonafide: np.ndarray) -> float:
    held = np.array([np.bincount(fold[is_bonafide == of_class]) for of_class in (False, True)], dtype=float)
    return float((held / held.sum(axis=1, keepdims=True)).std(axis=1).mean())


@pytest.mark.parametrize("n_folds", [2, 5])
def test_folds_are_as_even_as_scikit_learn_s(n_folds: int) -> None:
    rng = np.random.default_rng(n_folds)
    for _ in range(20):
        group, is_bonafide = rng.integers(rng.integers(10, 60), size=500), rng.random(500) < 0.3
        expected = np.empty(500, dtype=np.int64)
        split = StratifiedGroupKFold(n_folds, shuffle=True, random_state=42)
        for number, (_, unseen) in enumerate(split.split(group, is_bonafide, group)):
            expected[unseen] = number

        fold = Groups(group, "drawn").folds(is_bonafide, n_folds)

        assert unevenness(fold, is_bonafide) == pytest.approx(unevenness(expected, is_bonafide), rel=0.05)


def test_folds_that_are_equal_but_for_rounding_are_filled_in_their_order() -> None:
    # the last digit of a sum differs between processors, and must not decide which of five empty folds is chosen
    fold = Groups(np.arange(10), "drawn").folds(np.arange(10) < 5)

    first = np.random.RandomState(42).permutation(10)[0]  # all groups are equally unbalanced
    assert fold[first] == 0


@pytest.mark.parametrize(("n_bonafide", "n_spoof", "n_folds"), [(3, 9, 3), (9, 4, 4), (2, 2, 2), (7, 30, 5)])
def test_by_default_there_are_five_folds_or_as_many_as_the_scarcer_class_has_groups(
    n_bonafide: int, n_spoof: int, n_folds: int
) -> None:
    group = np.repeat(np.arange(n_bonafide + n_spoof), 10)
    is_bonafide = group < n_bonafide

    fold = Groups(group, "drawn").folds(is_bonafide)

    assert set(fold) == set(range(n_folds))
    assert all({True, False} == set(is_bonafide[fold == number]) for number in range(n_folds))


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    columns = {
        name: [f"{name}{each}" if each else None for each in rng.integers(n_names, size=1_000)]
        for name, n_names in (("system", 40), ("speaker", 600), ("source", 500))
    }
    is_bonafide = rng.random(1_000) < 0.5

    def made() -> list[list[int]]:
        groups = groups_of(is_bonafide, facts(columns))
        chosen = sample(is_bonafide, groups, 300)
        return [groups.of_row.tolist(), groups.folds(is_bonafide).tolist(), chosen.tolist()]

    whole = made()
    monkeypatch.setattr(groups_module, "BLOCK_ROWS", 7)

    assert made() == whole


def test_a_tally_counts_the_last_number_and_nothing_for_the_unknown() -> None:
    code = np.array([-1, 3, 3, 0, -1])

    assert tally(code, 4, np.ones(5, dtype=bool))[:, 0].tolist() == [1, 0, 0, 2]
