"""A request to stop: SIGTERM, noted when it comes and acted on between two results."""

from __future__ import annotations

import signal
import threading
import time

from jobs.errors import StoppedError

DRAIN_SECONDS = 4.0  # from SIGTERM on, for shards that are nearly done; the whole end may take 10 s


class StopRequest:
    """Notes SIGTERM inside the block; outside it, SIGTERM ends the run at once.

    A machine that is about to be taken away sends SIGTERM first. The run then begins no new shards, commits those that
    are nearly done, and ends with exit code 75.
    """

    def __init__(self) -> None:
        self._requested_at: float | None = None

    def __enter__(self) -> StopRequest:
        self._previous: object = None
        if threading.current_thread() is threading.main_thread():  # Python runs signal handlers in no other thread
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)  # type: ignore[arg-type]

    def _note(self, _number: int, _frame: object) -> None:
        self._requested_at = self._requested_at or time.monotonic()

    @property
    def requested(self) -> bool:
        """True once SIGTERM has come."""
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
            raise StoppedError("stopped by SIGTERM; what was done is committed, run the same command again")
