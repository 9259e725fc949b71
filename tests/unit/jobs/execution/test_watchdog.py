"""A run that does not move ends, one that is told to stop ends in order."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from jobs.errors import RunAgain
from jobs.execution.watchdog import DRAIN_SECONDS, Peer, StopRequest, Watchdog, with_ticks


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_patience_is_the_floor_until_a_shard_took_longer() -> None:
    watchdog = Watchdog(120.0)
    assert watchdog.patience == 120.0

    watchdog.committed(3.0)
    assert watchdog.patience == 120.0

    watchdog.committed(50.0)
    # the p99 of 3 and 50 lies 99 % of the way: 3 + 0.99 * 47 = 49.53
    assert watchdog.patience == pytest.approx(495.3)


def test_a_run_is_overdue_when_nothing_moved_for_longer_than_the_patience() -> None:
    clock = Clock()
    watchdog = Watchdog(120.0, clock)

    clock.now = 120.0
    assert not watchdog.overdue()
    clock.now = 120.1
    assert watchdog.overdue()
    watchdog.moved()
    assert not watchdog.overdue()


def test_a_server_is_gone_once_it_took_no_connection_for_its_patience() -> None:
    clock = Clock()
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = Peer(f"127.0.0.1:{server.getsockname()[1]}", 60.0, clock)
        clock.now = 100.0
        assert peer.answers()
        assert not peer.gone()

    assert not peer.answers()
    clock.now = 160.0
    assert not peer.gone()
    clock.now = 160.1
    assert peer.gone()


def test_items_and_errors_come_through_the_pump_in_their_order() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise RunAgain("the end")

    taken: list[int] = []

    with pytest.raises(RunAgain, match="the end"):
        taken += with_ticks(items(), lambda: None)  # an exception drops what += collected
    assert list(with_ticks(iter(range(5)), lambda: None)) == [0, 1, 2, 3, 4]


def test_the_pump_ticks_while_nothing_comes() -> None:
    release = threading.Event()
    ticks = itertools.count()

    def tick() -> None:
        if next(ticks) == 2:
            release.set()

    def items() -> Iterator[str]:
        assert release.wait(30)
        yield "late"

    assert list(with_ticks(items(), tick)) == ["late"]


def test_a_tick_that_raises_ends_the_run_although_nothing_ever_comes() -> None:
    def tick() -> None:
        raise RunAgain("overdue")

    def never() -> Iterator[None]:
        threading.Event().wait()
        yield

    with pytest.raises(RunAgain, match="overdue"):
        next(with_ticks(never(), tick))


def test_the_pump_s_thread_ends_when_nobody_takes_any_more() -> None:
    before = set(threading.enumerate())
    pump = with_ticks(itertools.count(), lambda: None)
    assert next(pump) == 0
    (thread,) = set(threading.enumerate()) - before

    pump.close()

    thread.join(10)
    assert not thread.is_alive()


def test_sigterm_is_noted_inside_and_acted_on_when_due(monkeypatch: pytest.MonkeyPatch) -> None:
    def outside(_number: int, _frame: object) -> None:
        raise RunAgain("outside")

    before = signal.signal(signal.SIGTERM, outside)
    try:
        with StopRequest() as stop:
            assert not stop.asked
            stop.raise_when_due()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.asked
            stop.raise_when_due()  # those nearly done have their time
            with pytest.raises(RunAgain, match="SIGTERM"):
                stop.raise_when_due(nothing_left=True)
            now = time.monotonic()
            monkeypatch.setattr("jobs.execution.watchdog.time.monotonic", lambda: now + DRAIN_SECONDS + 1)
            with pytest.raises(RunAgain, match="SIGTERM"):
                stop.raise_when_due()
        with pytest.raises(RunAgain, match="outside"):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
