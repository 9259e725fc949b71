"""The watchdog: a run that makes no progress ends, and says what everybody was doing. Nothing hangs in silence."""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from jobs.errors import RunAgain

Item = TypeVar("Item")

TICK_SECONDS = 0.5
P99_TIMES = 10
DRAIN_SECONDS = 4.0  # after SIGTERM, for shards that are nearly done; the whole end has 10 s
CONNECT_SECONDS = 2.0


class Watchdog:
    """Knows when something last came of the work.

    Parameters
    ----------
    floor_seconds : float
        Patience where nothing is known of the shards yet; else ten times the p99 of a shard's time, where longer.
    clock : callable
        Seconds that never go back.

    Examples
    --------
    >>> now = iter(range(0, 1000, 100))
    >>> watchdog = Watchdog(120, clock=lambda: next(now))
    >>> watchdog.overdue()
    False
    >>> watchdog.overdue()
    True
    """

    def __init__(self, floor_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._floor = floor_seconds
        self._clock = clock
        self._last = clock()
        self._shard_seconds: list[float] = []

    @property
    def patience(self) -> float:
        """Seconds without progress after which the run ends."""
        if not self._shard_seconds:
            return self._floor
        return max(self._floor, P99_TIMES * float(np.quantile(self._shard_seconds, 0.99)))

    def moved(self) -> None:
        """Something came that had not come before."""
        self._last = self._clock()

    def committed(self, shard_seconds: float) -> None:
        """A shard is whole, so long after its first piece came."""
        self._shard_seconds.append(shard_seconds)
        self.moved()

    def overdue(self) -> bool:
        """Whether nothing moved for longer than the patience."""
        return self._clock() - self._last > self.patience


class Peer:
    """A server without which nothing goes on: it is gone once it took no connection for ``patience`` seconds.

    Parameters
    ----------
    address : str
        `host:port`.
    patience : float
        Seconds, from the last connection that it took, or from now.
    clock : callable
        Seconds that never go back.
    """

    def __init__(self, address: str, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.address = address
        self.patience = patience
        self._clock = clock
        self._heard = clock()

    def answers(self) -> bool:
        """Whether it takes a connection now."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except OSError:
            return False
        self._heard = self._clock()
        return True

    def gone(self) -> bool:
        """Whether it does not answer, and has not for too long."""
        return not self.answers() and self._clock() - self._heard > self.patience


class StopRequest:
    """SIGTERM inside the block is noted, and acted on between two pieces; outside it ends the run where it is.

    A machine that is about to be taken away gives notice: no new shards from then on, those nearly done are
    committed, and the run ends with 75.
    """

    def __init__(self) -> None:
        self._asked: float | None = None

    def __enter__(self) -> StopRequest:
        self._before: object = None
        if threading.current_thread() is threading.main_thread():  # Python takes signals only there
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]

    def _note(self, _number: int, _frame: object) -> None:
        self._asked = self._asked or time.monotonic()

    @property
    def asked(self) -> bool:
        """Whether the notice came."""
        return self._asked is not None

    def raise_when_due(self, *, nothing_left: bool = False) -> None:
        """End the run, once those nearly done had their time, or nothing of them is left."""
        if self._asked is not None and (nothing_left or time.monotonic() - self._asked > DRAIN_SECONDS):
            raise RunAgain("stopped by SIGTERM; what was done is committed, run the same command again")


def with_ticks(items: Iterator[Item], tick: Callable[[], None]) -> Iterator[Item]:
    """Pass items on from a thread of their own; call ``tick`` all the while, also where no item ever comes.

    An iterator that blocks inside a C++ library can be neither interrupted nor timed; whoever waits on a queue can.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=2)
    gone = threading.Event()

    def offer(item: Item | None, error: BaseException | None) -> bool:
        while not gone.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((item, error), timeout=TICK_SECONDS)
                return True
        return False

    def pump() -> None:
        try:
            for item in items:
                if not offer(item, None):
                    return
        except BaseException as error:
            offer(None, error)
        else:
            offer(None, StopIteration())

    thread = threading.Thread(target=pump, daemon=True, name="pump")
    thread.start()
    try:
        while True:
            tick()
            try:
                item, error = ready.get(timeout=TICK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        gone.set()
        thread.join(TICK_SECONDS)  # where it can end in peace, what it iterates over does too
