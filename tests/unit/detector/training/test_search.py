"""The strongest penalty is chosen that the folds do not show to be worse than the best."""

from __future__ import annotations

import numpy as np
import pytest

from detector.logistic import Matrix
from detector.training.config import TrainingConfig
from detector.training.search import RAW_C, STANDARDISED_C, Candidate, choose, edge_of_search, search
from tests.unit.detector.training.drawn import (
    grouped,
)


def test_among_equally_good_settings_the_strongest_penalty_is_chosen() -> None:
    def tried(c: float, *of_folds: float | None, standardise: bool = False) -> Candidate:
        return Candidate(c, standardise, float(np.mean([each for each in of_folds if each is not None])), 0.3, of_folds)

    best = tried(1e6, 0.5, 1.1, 0.9, 0.4)
    alike = tried(1e4, 0.52, 1.08, 0.91, 0.41)  # 0.005 above, with a standard error of 0.009
    worse = tried(1e2, 0.62, 1.07, 0.94, 0.47)  # 0.05 above, with one of 0.03

    assert choose([best, alike, worse]) is alike
    assert choose([best, worse]) is best
    assert choose([best, tried(1.0, 0.5, 1.1, 0.9, 0.4, standardise=True)]) is best  # there, C has other units
    assert choose([tried(1.0, 0.5, None), tried(0.1, 0.5, None)]).c == 1.0  # a single fold has no standard error
    assert choose([alike, tried(1e6, 0.53, 1.08, 0.91, 0.41)]) is alike


@pytest.mark.parametrize(("c", "said"), [(1e-4, "smallest"), (1e-2, None), (10.0, "largest")])
def test_a_choice_at_the_edge_of_the_search_is_reported(c: float, said: str | None) -> None:
    found = [Candidate(each, True, 0.5, 0.1, (0.5,)) for each in STANDARDISED_C]

    text = edge_of_search(Candidate(c, True, 0.5, 0.1, (0.5,)), found)

    assert text is None if said is None else said in str(text)
    assert edge_of_search(found[0], found[:1]) is None  # stated, not chosen


def test_a_search_finds_the_penalty_that_few_rows_need() -> None:
    # 60 rows, 200 dimensions of which one is informative: strong penalties are better, and the folds show it
    rng = np.random.default_rng(0)
    is_bonafide = np.arange(60) % 2 == 0
    embeddings = rng.normal(size=(60, 200))
    embeddings[:, 0] += 3.0 * is_bonafide
    groups = grouped(np.arange(60) // 3)

    found = search(Matrix(embeddings), is_bonafide, groups, TrainingConfig())

    assert [each.cllr for each in found] == sorted(each.cllr for each in found)
    assert choose(found).c < 10.0
    assert {(each.c, each.standardise) for each in found} == {
        *((c, True) for c in STANDARDISED_C),
        *((c, False) for c in RAW_C),
    }
    fixed = search(Matrix(embeddings), is_bonafide, groups, TrainingConfig(c=0.5, standardise=False))
    assert [(each.c, each.standardise) for each in fixed] == [(0.5, False)]
