"""detector.groups: rows that share something stay together, and samples that do not depend on chance."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import ConfigError
from detector.groups import BY_CLASS, Groups, groups_of, sample

ASVSPOOF = {  # every speaker was cloned by every system, in one corpus
    "system": ["-", "-", "-", "A1", "A2", "A1", "A2", "A3"],
    "speaker": ["x", "y", "z", "x", "y", "z", "x", None],
    "source": ["asvspoof"] * 8,
}


def facts(columns: dict[str, list[str | None]]) -> dict[str, np.ndarray]:
    return {name: np.array(values, dtype=object) for name, values in columns.items()}


def test_rows_that_share_anything_are_of_one_group_also_by_way_of_others() -> None:
    columns = {
        "system": ["-", "-", "-", "s1", "s1", "s2", "s3"],
        "speaker": ["a", "b", "c", "a", "d", "e", "f"],  # a was cloned by s1, which d speaks, too
        "source": ["u", "v", "w", "x", "y", "z", None],
    }

    found = groups_of(np.arange(7) < 3, facts(columns))

    assert found.of_row.tolist() == [0, 1, 2, 0, 0, 3, 4]
    assert found.rule == "no system or speaker or source in common"


def test_where_all_is_connected_a_spoof_row_s_group_is_its_system() -> None:
    is_bonafide = np.arange(8) < 3

    found = groups_of(is_bonafide, facts(ASVSPOOF))

    assert found.rule == BY_CLASS
    assert len(set(found.of_row[is_bonafide])) == 3
    assert found.of_row[3] == found.of_row[5] != found.of_row[4] == found.of_row[6] != found.of_row[7]


@pytest.mark.parametrize("unknown", [None, "", "-"])
def test_rows_of_which_nothing_is_known_are_groups_of_their_own(unknown: str | None) -> None:
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


def test_a_sample_has_the_same_share_of_every_group_and_the_same_rows_in_any_order() -> None:
    ids = np.array([f"u{number}" for number in range(1_000)])
    group, is_bonafide = np.arange(1_000) % 10, np.arange(1_000) % 4 == 0
    order = np.random.default_rng(0).permutation(1_000)

    chosen = sample(ids, is_bonafide, group, 200)
    again = sample(ids[order], is_bonafide[order], group[order], 200)

    assert set(ids[chosen]) == set(ids[order][again])
    assert np.bincount(group[chosen]).tolist() == [20] * 10
    assert is_bonafide[chosen].mean() == pytest.approx(0.25, abs=0.01)


def test_a_sample_keeps_a_row_of_every_group_however_small() -> None:
    group = np.array([0] * 998 + [1, 2])

    chosen = sample((str(each) for each in range(1_000)), np.ones(1_000, dtype=bool), group, 10)

    assert {1, 2} <= set(group[chosen])
