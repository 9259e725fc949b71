"""The watchdog ends a run that makes no progress, and its patience grows with the shards' durations."""

from __future__ import annotations

import pytest

from jobs.execution.watchdog import Watchdog


class Clock:
    """A clock that stands still until a test sets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_patience_is_the_floor_until_a_shard_took_longer() -> None:
    watchdog = Watchdog(120.0)
    assert watchdog.patience == 120.0

    watchdog.note_commit(3.0)
    assert watchdog.patience == 120.0

    watchdog.note_commit(50.0)
    # the p99 of 3 and 50 lies 99 % of the way: 3 + 0.99 * 47 = 49.53
    assert watchdog.patience == pytest.approx(495.3)


def test_a_run_is_overdue_after_no_progress_for_longer_than_the_patience() -> None:
    clock = Clock()
    watchdog = Watchdog(120.0, clock)

    clock.now = 120.0
    assert not watchdog.is_overdue()
    clock.now = 120.1
    assert watchdog.is_overdue()
    watchdog.note_progress()
    assert not watchdog.is_overdue()
