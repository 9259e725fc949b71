"""Every segment is in one batch, within the budget and with little padding, whatever the lengths."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from detector.backbones.batching import MAX_WASTE, batches, waste

CORPUS = Path(__file__).with_name("dev_corpus_seconds.csv")  # how long its 1,796 recordings are
RATE = 16_000
BUDGET = 160 * RATE
WINDOW = 1_000  # segments that are sorted together: about 8 MiB times ten


def log_normal(n_segments: int, seed: int = 0) -> list[int]:
    """Log-normal lengths: median 5 s, a factor of two per standard deviation, cut at 30 s."""
    seconds = 5.0 * np.exp(np.log(2.0) * np.random.default_rng(seed).normal(size=n_segments))
    return [round(RATE * min(each, 30.0)) for each in seconds]


@pytest.mark.parametrize("budget", [0.0, 10 * RATE, BUDGET, 1e12])
@pytest.mark.parametrize("n_segments", [0, 1, 26, WINDOW])
def test_every_segment_is_in_one_batch_within_budget_and_bound(n_segments: int, budget: float) -> None:
    lengths = log_normal(n_segments)

    shared = list(batches(lengths, budget))

    assert sorted(index for batch in shared for index in batch) == list(range(n_segments))
    for batch in shared:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget
        assert waste(lengths, [batch]) <= MAX_WASTE


def test_a_window_of_log_normal_lengths_fills_its_batches() -> None:
    lengths = log_normal(WINDOW)

    shared = list(batches(lengths, BUDGET))

    # at most a third more passes than the audio needs: less padding must not cost many more passes
    assert sum(lengths) / BUDGET <= len(shared) <= 4 / 3 * sum(lengths) / BUDGET + 12
    assert waste(lengths, shared) <= MAX_WASTE


def test_arrival_order_would_waste_what_sorting_saves() -> None:
    lengths = log_normal(WINDOW)
    arrival = [range(start, start + 8) for start in range(0, WINDOW, 8)]

    assert waste(lengths, arrival) > 1.5


def test_the_dev_corpus_is_padded_by_less_than_a_twentieth() -> None:
    with CORPUS.open(newline="") as file:
        lengths = [round(float(row["seconds"]) * RATE) for row in csv.DictReader(file)]

    assert waste(lengths, list(batches(lengths, BUDGET))) <= MAX_WASTE


def test_equal_lengths_share_up_to_the_budget() -> None:
    assert list(batches([100] * 5, budget=200)) == [[0, 1], [2, 3], [4]]


def test_only_equal_lengths_share_a_batch_if_no_padding_is_allowed() -> None:
    shared = list(batches([5, 7, 5, 7, 7], budget=100, max_waste=1.0))

    assert shared == [[1, 3, 4], [0, 2]]


def test_the_longest_comes_first_so_that_memory_runs_out_at_once_or_never() -> None:
    lengths = log_normal(50)

    firsts = [lengths[batch[0]] for batch in batches(lengths, BUDGET)]

    assert firsts == sorted(lengths, reverse=True)[: len(firsts)] or firsts == sorted(firsts, reverse=True)
    assert firsts[0] == max(lengths)
