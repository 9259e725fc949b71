"""An item tells its task what other tables say of its shard, and of no other."""

from __future__ import annotations

import numpy as np

from jobs.scoring.items import Item, Items
from jobs.tables.entries import Entries, packed
from jobs.tables.plan_history import PlanHistory
from jobs.tables.protocol import Entry, Plan


def history(*plans: str) -> PlanHistory:
    """Return plans of shards, given by the letters that are their slots."""
    return PlanHistory(
        tuple(
            Plan(f"run-{number}", "2026-11-23", Entries.of(Entry(slot, f"{slot}-{number:06d}") for slot in slots), {})
            for number, slots in enumerate(plans, start=1)
        )
    )


EMBEDDED = history("abc", "a", "ab")
ITEMS = Items(
    history("abc").current, packed(("", "b-000001", "")), packed(("a-000001", "b-000003", "c-000009")), EMBEDDED
)


def test_an_item_has_the_runs_that_embedded_its_shard_since_the_head_scored_it() -> None:
    items = [Item.from_json(text) for text in ITEMS]

    assert [item.shard.slot for item in items] == ["a", "b", "c"]
    assert [item.embedded_since for item in items] == [["run-2", "run-3"], [], None]  # no plan has that state of c
    assert [item.by_other for item in items] == ["", "b-000001", ""]


def test_items_are_a_sequence_of_which_some_can_be_left_out() -> None:
    every = list(ITEMS)

    assert (len(ITEMS), ITEMS[1], ITEMS[-1], ITEMS[1:9]) == (3, every[1], every[2], every[1:])
    assert list(ITEMS.where(np.array([True, False, True]))) == [every[0], every[2]]
