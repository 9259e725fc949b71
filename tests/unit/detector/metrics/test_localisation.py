"""Cells and ranges agree with closed forms, and with a second implementation that walks through milliseconds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from detector.metrics import (
    Floats,
    RangeScore,
    cell_labels,
    cell_scores,
    range_score,
    ranges_of,
    segment_equal_error_rate,
)

NONE = np.empty((0, 2))
Ranges = list[tuple[int, int]]


def seconds_of(ranges: Ranges) -> Floats:
    return np.array(ranges, dtype=np.float64).reshape(-1, 2) / 1000.0


def milliseconds(ranges: Ranges) -> set[int]:
    return {moment for start, end in ranges for moment in range(start, end)}


def drawn_ranges(rng: np.random.Generator, n: int, apart: bool) -> Ranges:
    edges = np.sort(rng.choice(2_000, 2 * n, replace=False)).tolist()
    ends = edges[1::2] if apart else [min(2_000, end + int(rng.integers(300))) for end in edges[1::2]]
    return list(zip(edges[::2], ends, strict=True))


def slow_range_score(recordings: list[tuple[Ranges, Ranges]], alpha: float) -> tuple[float, float]:
    """Tatbul et al., definitions 1 to 5, with sets of milliseconds: alpha, flat bias, gamma = 1/x."""

    def overlap_reward(one: tuple[int, int], others: Ranges) -> float:
        own = milliseconds([one])
        pieces = [own & milliseconds([other]) for other in others]
        n_pieces = sum(bool(piece) for piece in pieces)
        return sum(len(piece) / len(own) for piece in pieces) / max(n_pieces, 1)

    recalls = [
        alpha * bool(milliseconds([one]) & milliseconds(found)) + (1 - alpha) * overlap_reward(one, found)
        for real, found in recordings
        for one in real
    ]
    precisions = [overlap_reward(one, real) for real, found in recordings for one in found]
    return sum(precisions) / len(precisions), sum(recalls) / len(recalls)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cell", [20, 70, 640])
def test_cells_are_labelled_as_millisecond_by_millisecond(seed: int, cell: int) -> None:
    rng = np.random.default_rng(seed)
    spoof = drawn_ranges(rng, 4, apart=False)
    bonafide = [part for part in drawn_ranges(rng, 6, apart=False) if not milliseconds([part]) & milliseconds(spoof)]
    n_cells = 2_300 // cell
    expected = []
    for at in range(n_cells):
        own = set(range(at * cell, (at + 1) * cell))
        expected.append(1 if own & milliseconds(spoof) else 0 if own <= milliseconds(bonafide) else -1)

    labels = cell_labels(seconds_of(spoof), seconds_of(bonafide), n_cells, cell / 1000)

    assert labels.tolist() == expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cell", [20, 70, 640])
def test_cells_take_the_lowest_mean_of_the_windows_over_them(seed: int, cell: int) -> None:
    rng = np.random.default_rng(seed)
    windows = drawn_ranges(rng, 5, apart=False)
    scores = rng.normal(size=5)
    n_cells = 2_300 // cell
    expected = []
    for at in range(n_cells):
        moments = [
            np.mean([score for score, (start, end) in zip(scores, windows, strict=True) if start <= moment < end])
            for moment in range(at * cell, (at + 1) * cell)
            if moment in milliseconds(windows)
        ]
        expected.append(min(moments, default=np.nan))

    found = cell_scores(seconds_of(windows), scores, n_cells, cell / 1000)

    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_cells_as_long_as_windows_have_their_scores() -> None:
    # 0.16 * 3 and 0.48 differ by rounding; a cell must not see the window before it
    starts = np.arange(200) * 0.16
    scores = np.arange(200.0)

    assert cell_scores(np.column_stack([starts, starts + 0.16]), scores, 200, 0.16) == pytest.approx(scores)


def test_a_finer_resolution_repeats_scores_and_keeps_the_error_rate() -> None:
    # Normals two apart: the EER of one trial a cell is Phi(-1), and two equal cells in place of one do not change it.
    quantiles = norm.ppf((np.arange(5_000) + 0.5) / 5_000)
    scores = np.concatenate([quantiles + 2.0, quantiles])
    windows = np.column_stack([np.arange(10_000.0), np.arange(10_000.0) + 1.0])
    spoof, bonafide = np.array([[5_000.0, 10_000.0]]), np.array([[0.0, 5_000.0]])

    rates = [
        segment_equal_error_rate(
            cell_labels(spoof, bonafide, int(10_000 / seconds), seconds),
            cell_scores(windows, scores, int(10_000 / seconds), seconds),
        )
        for seconds in (1.0, 0.5)
    ]

    assert rates == pytest.approx([norm.cdf(-1.0)] * 2, abs=1e-3)


def test_coarser_cells_that_hold_one_spoof_window_each_have_the_error_rate_of_minima() -> None:
    # Bona fide cells have the lowest of 4 scores that are uniform in [0, 1]; spoof cells one of -1 among them. EER 0.
    # With spoof scores that are uniform, too, a spoof cell is the lowest of 4 as well: 50 %.
    rng = np.random.default_rng(0)
    scores = rng.random(40_000)
    windows = np.column_stack([np.arange(40_000.0), np.arange(40_000.0) + 1.0])
    spoof = np.column_stack([np.arange(0.0, 40_000.0, 8.0), np.arange(0.0, 40_000.0, 8.0) + 1.0])
    bonafide = np.array([[start + 1.0, start + 8.0] for start in spoof[:, 0]])
    labels = cell_labels(spoof, bonafide, 10_000, 4.0)

    chance = segment_equal_error_rate(labels, cell_scores(windows, scores, 10_000, 4.0))
    scores[::8] = -1.0
    perfect = segment_equal_error_rate(labels, cell_scores(windows, scores, 10_000, 4.0))

    assert labels.tolist() == [1, 0] * 5_000
    assert chance == pytest.approx(0.5, abs=0.02)
    assert perfect == 0.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_ranges_are_scored_as_millisecond_by_millisecond(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    recordings = [
        (drawn_ranges(rng, n, apart=True), drawn_ranges(rng, m, apart=True)) for n, m in ((3, 5), (6, 2), (1, 0))
    ]
    precision, recall = slow_range_score(recordings, alpha)

    found = range_score([(seconds_of(real), seconds_of(each)) for real, each in recordings], alpha)

    assert (found.precision, found.recall) == pytest.approx((precision, recall))
    assert found.f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_ranges_of_one_length_give_classical_precision_and_recall() -> None:
    # Tatbul et al., section 3: where every range is a point, both are the classical ones. 3 of 4 found, 3 of 5 right.
    def points(*at: float) -> Floats:
        return np.array([[start, start + 1.0] for start in at])

    found = range_score([(points(0, 2, 4, 6), points(0, 2, 4, 10, 20))])

    assert found == RangeScore(0.6, 0.75, pytest.approx(2 * 0.6 * 0.75 / 1.35))


def test_a_range_that_is_found_in_pieces_counts_less() -> None:
    # All of 4 s found in two pieces of 2 s: existence 1, overlap 1 / 2 pieces.
    found = range_score([(np.array([[0.0, 4.0]]), np.array([[0.0, 2.0], [2.0, 4.0]]))], existence=0.5)

    assert found.recall == 0.75
    assert found.precision == 1.0


def test_nothing_to_count_is_not_a_number_and_nothing_found_is_no_success() -> None:
    real = np.array([[1.0, 2.0]])

    missed, alarms, silent = (range_score([pair]) for pair in ((real, NONE), (NONE, real), (NONE, NONE)))

    assert np.isnan(missed.precision)
    assert (missed.recall, missed.f1) == (0.0, 0.0)
    assert alarms.precision == 0.0
    assert np.isnan([alarms.recall, alarms.f1, silent.precision, silent.recall, silent.f1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_ranges_of_cells_and_back_are_the_same_cells(seed: int) -> None:
    flags = np.random.default_rng(seed).random(500) < 0.3

    labels = cell_labels(ranges_of(flags, 0.02), NONE, 500, 0.02)

    assert (labels == 1).tolist() == flags.tolist()


def test_windows_or_parts_that_are_none_give_nothing() -> None:
    assert np.isnan(cell_scores(NONE, np.array([]), 3, 1.0)).all()
    assert cell_labels(NONE, NONE, 3, 1.0).tolist() == [-1, -1, -1]
    assert ranges_of(np.zeros(3, dtype=bool), 1.0).shape == (0, 2)


@pytest.mark.parametrize(
    ("ranges", "n_cells", "seconds", "cause"),
    [
        ([[1.0, 1.0]], 3, 1.0, "not after the start"),
        ([[np.nan, 1.0]], 3, 1.0, "NaN"),
        ([[-1.0, 1.0]], 3, 1.0, "below 0"),
        ([[0.0, 1.0]], 10**12, 1.0, "1000000000000 cells"),
        ([[0.0, 1.0]], 3, 0.0, "cells of 0.0 s"),
    ],
)
def test_what_cannot_be_meant_is_refused(ranges: list[list[float]], n_cells: int, seconds: float, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        cell_labels(np.array(ranges), NONE, n_cells, seconds)
