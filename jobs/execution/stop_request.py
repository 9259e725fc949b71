"""A request to stop: SIGTERM or SIGHUP, noted when it comes and acted on between two results."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

from jobs.errors import StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # a machine is taken away, a terminal is closed
DRAIN_SECONDS = 4.0  # from the signal on, for shards that are nearly done; the whole end may take 10 s


class StopRequest:
    """Notes these signals inside the block; outside it, each ends the run at once. `nohup` has SIGHUP ignored.

    A machine that is about to be taken away sends SIGTERM first. The run then begins no new shards, commits those that
    are nearly done, and ends with exit code 75.
    """

    def __init__(self) -> None:
        self._requested_at: float | None = None
        self._by = ""
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python runs signal handlers in no other thread
            heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
            self._previous = {each: signal.signal(each, self._note) for each in heeded}
        return self

    def __exit__(self, *error: object) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    def _note(self, number: int, _frame: object) -> None:
        self._requested_at = self._requested_at or time.monotonic()
        self._by = signal.Signals(number).name

    @property
    def requested(self) -> bool:
        """True once a signal has come."""
        return self._requested_at is not None

    def raise_when_due(self, *, is_drained: bool = False) -> None:
        """End a run that is to stop, once its shards are drained or :data:`DRAIN_SECONDS` have passed.

        Raises
        ------
        StoppedError
            If the run is to stop now.
        """
        if self._requested_at is None:
            return
        if is_drained or time.monotonic() - self._requested_at > DRAIN_SECONDS:
            raise StoppedError(f"stopped by {self._by}; what was done is committed, run the same command again")
