"""SIGTERM and SIGHUP end a run in order: shards that are nearly done are finished first."""

from __future__ import annotations

import os
import signal
import time

import pytest

from jobs.errors import RunAgain
from jobs.execution.stop_request import DRAIN_SECONDS, SIGNALS, StopRequest


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_inside_the_block_and_acted_on_when_due(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outside(_number: int, _frame: object) -> None:
        raise RunAgain("outside")

    before = signal.signal(number, outside)
    try:
        with StopRequest() as stop:
            assert not stop.requested
            stop.raise_when_due()
            os.kill(os.getpid(), number)
            assert stop.requested
            stop.raise_when_due()  # shards that are nearly done have their time
            with pytest.raises(RunAgain, match=number.name):
                stop.raise_when_due(is_drained=True)
            now = time.monotonic()
            monkeypatch.setattr("jobs.execution.stop_request.time.monotonic", lambda: now + DRAIN_SECONDS + 1)
            with pytest.raises(RunAgain, match=number.name):
                stop.raise_when_due()
        with pytest.raises(RunAgain, match="outside"):
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)
