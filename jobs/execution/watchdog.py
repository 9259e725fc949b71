"""The watchdog: it knows when a run last made progress, and when that was too long ago."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

P99_FACTOR = 10
RECENT_SHARDS = 1_000


class Watchdog:
    """Measures the time since the last progress against a patience that grows with the shards' durations.

    Parameters
    ----------
    floor_seconds : float
        The patience before a shard is committed. Afterwards it is ten times the p99 of a shard's duration, if that is
        longer.
    clock : callable
        Seconds that never go back.

    Examples
    --------
    >>> now = iter(range(0, 1000, 100))
    >>> watchdog = Watchdog(120, clock=lambda: next(now))
    >>> watchdog.is_overdue()
    False
    >>> watchdog.is_overdue()
    True
    """

    def __init__(self, floor_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._floor = floor_seconds
        self._clock = clock
        self._last_progress = clock()
        self._shard_seconds: deque[float] = deque(maxlen=RECENT_SHARDS)

    @property
    def patience(self) -> float:
        """Seconds without progress after which the run ends."""
        if not self._shard_seconds:
            return self._floor
        return max(self._floor, P99_FACTOR * float(np.quantile(list(self._shard_seconds), 0.99)))

    def note_progress(self) -> None:
        """Note that a step was done that had not been done before."""
        self._last_progress = self._clock()

    def note_commit(self, shard_seconds: float) -> None:
        """Note that a shard is whole, ``shard_seconds`` after its first piece came."""
        self._shard_seconds.append(shard_seconds)
        self.note_progress()

    def is_overdue(self) -> bool:
        """Return True if the last progress is longer ago than the patience."""
        return self._clock() - self._last_progress > self.patience
