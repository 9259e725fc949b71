"""SIGTERM ends a run in order: shards that are nearly done are finished first."""

from __future__ import annotations

import os
import signal
import time

import pytest

from jobs.errors import RunAgain
from jobs.execution.stop_request import DRAIN_SECONDS, StopRequest


def test_sigterm_is_noted_inside_the_block_and_acted_on_when_due(monkeypatch: pytest.MonkeyPatch) -> None:
    def outside(_number: int, _frame: object) -> None:
        raise RunAgain("outside")

    before = signal.signal(signal.SIGTERM, outside)
    try:
        with StopRequest() as stop:
            assert not stop.requested
            stop.raise_when_due()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested
            stop.raise_when_due()  # shards that are nearly done have their time
            with pytest.raises(RunAgain, match="SIGTERM"):
                stop.raise_when_due(is_drained=True)
            now = time.monotonic()
            monkeypatch.setattr("jobs.execution.stop_request.time.monotonic", lambda: now + DRAIN_SECONDS + 1)
            with pytest.raises(RunAgain, match="SIGTERM"):
                stop.raise_when_due()
        with pytest.raises(RunAgain, match="outside"):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
