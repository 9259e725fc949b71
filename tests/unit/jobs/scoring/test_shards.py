"""Shards whose workers were lost are scored again; a shard that was replaced meanwhile ends the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.errors import RunAgain, WorkersLostError
from jobs.execution.retries import PASSES, retry
from jobs.scoring.items import Item, Items
from jobs.scoring.shards import ScoringAttempts
from jobs.tables.entries import Entries, packed
from jobs.tables.plan_history import PlanHistory
from jobs.tables.protocol import Entry, Plan
from jobs.telemetry import alarms

HISTORY = PlanHistory((Plan("run", "2026-11-23", Entries.of([Entry("x", "state"), Entry("y", "state")]), {}),))
STATES = packed(("", ""))
ITEMS = Items(HISTORY.current, STATES, STATES, PlanHistory())


class Workers:
    """Score three rows a shard, but lose the slots of `lost`, which has a string for each pass."""

    def __init__(self, *lost: str, committed: bool = True) -> None:
        self.asked: list[str] = []
        self._lost = lost
        self._committed = committed

    def __call__(self, items: Items) -> Iterator[dict[str, Any]]:
        slots = [Item.from_json(text).shard.slot for text in items]
        lost = self._lost[len(self.asked)] if len(self.asked) < len(self._lost) else ""
        self.asked.append("".join(slots))
        for slot in slots:
            if slot not in lost:
                outcomes = {"spoof": 1, "bonafide": 2}
                result = {
                    "name": f"{slot}-000001",
                    "rows": 3,
                    "committed": self._committed,
                    "outcomes": outcomes,
                    "changes": {},
                }
                yield from (result, result)  # Ray may deliver the result of a retried task twice
        if lost == "xy":
            raise WorkersLostError("Ray gave up: a node died")


def scored(workers: Workers) -> list[int]:
    return list(retry(ScoringAttempts(ITEMS, workers), pause=lambda _: None))


def test_every_shard_is_counted_once() -> None:
    workers = Workers()

    assert scored(workers) == [3, 3]
    assert workers.asked == ["xy"]


def test_only_lost_shards_are_scored_again() -> None:
    workers = Workers("xy", "y")

    assert scored(workers) == [3, 3]
    assert workers.asked == ["xy", "xy", "y"]


def test_a_shard_that_is_lost_in_every_pass_ends_the_run_with_its_cause() -> None:
    workers = Workers("xy", *"y" * (PASSES - 1))

    with pytest.raises(RunAgain, match=r"after 3 passes: 1 shard\(s\) not scored, first y-000001: Ray gave up: a node"):
        scored(workers)

    assert len(workers.asked) == PASSES


def test_a_shard_that_was_replaced_while_it_was_scored_ends_the_run_after_all_others() -> None:
    with pytest.raises(RunAgain, match=r"2 shard\(s\) were replaced while they were scored, first x-000001"):
        scored(Workers(committed=False))


def test_scores_that_differ_from_those_that_stood_are_told_once_by_the_driver(caplog: pytest.LogCaptureFixture) -> None:
    def differing(items: Items) -> Iterator[dict[str, Any]]:
        for result in Workers()(items):
            yield result | ({"alarms": {"s3://a/7.tar": ["scores"]}} if result["name"].startswith("x") else {})

    alarms.begin()
    assert list(retry(ScoringAttempts(ITEMS, differing))) == [3, 3]

    (record,) = caplog.records
    assert record.getMessage().startswith("s3://a/7.tar: computed twice, and the scores differ")
    assert alarms.raised()
    alarms.begin()
    assert not alarms.raised()
