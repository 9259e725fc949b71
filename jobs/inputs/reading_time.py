"""Reading time: the processor time that a container may cost beside its recordings, so that none holds up a run.

Readers of containers count what they read: headers, streams, pages, copies. Time bounds what no count foresees. Only
processor time of the thread that reads is counted: a store or a machine may be slow.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

from detector.errors import ShardError
from jobs.decoding.process_handle import report_work
from jobs.inputs.containers import Container, Member
from jobs.storage import ReadOnlyFile, Stored, StoredFile

FREE_SECONDS = 30.0  # for a container of any size
SECONDS_PER_BYTE = 1.0 / (1 << 20)  # a machine decompresses a hundred times as many
SECONDS_PER_MEMBER = 0.01  # a recording costs its decoder as much
GRACE_SECONDS = 60.0  # for a call into a library, which only the end of the process interrupts
LOOK_SECONDS = 5.0

log = logging.getLogger(__name__)


class ReadingTime:
    """Iterates over the members of a container, and counts the processor time from each to the next.

    A container that takes too much is broken from there on. One whose reader does not come back from a library ends
    this process: every pass loses it, and at last it is a failure
    (:class:`jobs.embedding.attempts.EmbeddingAttempts`). Until then the worker is at work, and reports it.

    Parameters
    ----------
    stored : Stored
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._n_members = 0
        # up to the last member, or minus what the clock of the thread that reads said then: one value for two threads
        self._spent: tuple[float, int | None] = (0.0, None)
        self._is_over = threading.Event()

    def members(self, container: Container, file: StoredFile) -> Iterator[Member]:
        """Yield the members of an opened container.

        Raises
        ------
        ShardError
            As the container's reader, and if it takes too long.
        """
        members = container.members(cast(StoredFile, _TimedFile(file, self)), self._stored)
        threading.Thread(target=self._watch, daemon=True, name="reading time").start()
        try:
            while (member := self._next(members)) is not None:
                self._n_members += 1
                yield member
        finally:
            self._is_over.set()

    def check(self) -> None:
        """Raise if the reader has taken too long."""
        if self._seconds > self._allowed:
            raise ShardError(
                f"reading it took more than {self._allowed:.0f} s of processor time after {self._n_members:,} members, "
                f"which no container of {self._stored.size:,} bytes needs; write it anew"
            )

    def _next(self, members: Iterator[Member]) -> Member | None:
        self._spent = (self._seconds - time.thread_time(), time.pthread_getcpuclockid(threading.get_ident()))
        try:
            member = next(members, None)
            self.check()
        finally:
            self._spent = (self._seconds, None)
        return member

    @property
    def _allowed(self) -> float:
        return FREE_SECONDS + self._stored.size * SECONDS_PER_BYTE + self._n_members * SECONDS_PER_MEMBER

    @property
    def _seconds(self) -> float:
        """Processor time so far, also while the reader is at work in another thread."""
        spent, clock = self._spent
        return spent if clock is None else spent + time.clock_gettime(clock)

    def _watch(self) -> None:
        seconds = 0.0
        while not self._is_over.wait(LOOK_SECONDS):
            before, seconds = seconds, self._seconds
            if seconds > self._allowed + GRACE_SECONDS:
                log.critical(
                    "%s: its reader does not come back after %.0f s; this process ends", self._stored.uri, seconds
                )
                os.kill(os.getpid(), signal.SIGKILL)
            if seconds > before:
                report_work()


class _TimedFile(ReadOnlyFile):
    """A stored file, each read of which is a chance to end a reader that takes too long."""

    def __init__(self, file: StoredFile, time: ReadingTime) -> None:
        super().__init__()
        self._file = file
        self._time = time

    def _read_at(self, offset: int, size: int) -> Any:
        self._time.check()
        self._file.seek(offset)
        return self._file.read(size)

    def _size(self) -> int:
        return self._file.seek(0, os.SEEK_END)
