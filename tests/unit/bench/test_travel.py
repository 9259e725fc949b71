"""What adapts scores to an archive reads none of its labels, and helps where it must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.travel import WAYS, Known, Set, fitted, left_out, thinned, trials, without
from detector.metrics import cllr
from detector.training.config import TrainingConfig

N, DIM = 480, 4
CONFIG = TrainingConfig(c=0.1, standardise=True)


def drawn(seed: int, shift: float = 0.0, split: str = "train") -> Set:
    """Rows of ten sources and ten systems; those of an archive may be shifted as a whole."""
    rng = np.random.default_rng(seed)
    truth, group = np.arange(N) % 2 == 0, np.arange(N) // 2 % 10
    rows = rng.normal(size=(N, DIM)) + np.where(truth, 0.6, -0.6)[:, None] + shift
    quality = rng.normal(size=(N, 4))
    named = np.array([f"{seed}-{number}" for number in group])
    nothing = np.full(N, "-")
    names = {
        "system": np.where(truth, nothing, np.char.add("system ", named)),
        "speaker": nothing,
        "source": np.where(truth, np.char.add("source ", named), nothing),
        "split": np.full(N, split),
    }
    return Set(rows, quality, truth, names)


@pytest.fixture(scope="module")
def known() -> Known:
    return fitted(drawn(1), drawn(2, shift=1.0), CONFIG)


@pytest.mark.parametrize("name", WAYS)
def test_no_label_of_the_archive_is_read(known: Known, name: str) -> None:
    other = replace(known, archive=replace(known.archive, is_bonafide=~known.archive.is_bonafide))

    score, prior = WAYS[name](known)

    again, same = WAYS[name](other)
    np.testing.assert_array_equal(score, again)
    assert prior == same
    assert np.isfinite(score).all()


def test_an_archive_that_is_shifted_as_a_whole_is_mended_by_its_mean(known: Known) -> None:
    truth = known.archive.is_bonafide

    def cost(score: np.ndarray) -> float:
        return cllr(score[truth], score[~truth])

    (before, _), (after, _) = without(known), WAYS["mean of the archive's embeddings"](known)
    (unmoved, _) = without(fitted(drawn(1), drawn(2), CONFIG))

    assert cost(after) < cost(before)
    assert cost(after) == pytest.approx(cost(unmoved), abs=0.02)


def test_archives_share_no_source_and_no_system_with_what_is_learnt() -> None:
    archives = left_out(drawn(3), CONFIG, 1.0, on_eval=False)

    assert sum(len(each.logits) for each in archives) == N
    assert all(not set(each.archive.cluster) & set(each.training.cluster) for each in archives)
    assert len(trials(archives, without).score) == N


def test_thinning_takes_spoof_rows_alone() -> None:
    few = thinned(drawn(4), 0.1)

    assert int(few.is_bonafide.sum()) == N // 2
    assert 10 <= int((~few.is_bonafide).sum()) <= 40  # 24 of 240 expected, five deviations either way
