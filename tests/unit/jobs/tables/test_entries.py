"""Entries of a plan are those that were asked for, in that order, wherever they stand in its text."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from jobs.tables import entries
from jobs.tables.entries import Entries, Entry
from jobs.tables.plan_history import PlanHistory, Shards
from jobs.tables.protocol import Plan

LISTED = [Entry(f"{number}", f"state {number}", {"sources": [[f"{number}.tar", number, ""]]}) for number in range(6)]
ORDERS = [order for n in range(len(LISTED) + 1) for order in permutations(range(len(LISTED)), n)]


@pytest.mark.parametrize("at_once", [2, 3, 1_024])
def test_entries_are_those_of_the_places_whatever_their_order(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "READ_AT_ONCE", at_once)
    listed = Entries.of(LISTED)

    for order in ORDERS:
        assert list(listed.at(order)) == [LISTED[place] for place in order]


def test_shards_of_a_history_keep_their_entries_in_any_order() -> None:
    history = PlanHistory((Plan("run", "2026-01-01", LISTED),))

    for order in ORDERS:
        shards = Shards(history, np.array(order, np.int64))
        assert [entry.slot for entry in shards.entries()] == list(shards)
        assert [shard.slot for shard in shards.shards()] == list(shards)
