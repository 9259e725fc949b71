"""The workers' lifeline: workers of a Ray that we started end with the run, however it ends and whatever they do.

Ray alone does not see to that. An actor that is no longer needed takes its leave of the raylet first, and only then
takes its interpreter down, which lasts 1 to 3 s. From that moment nobody knows the process: the raylet ends only the
workers that it knows, and the thread that looks for a dead raylet has been stopped. If it hangs there, it stays.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from jobs.decoding import lifeline


@dataclass(frozen=True)
class WorkerLifeline:
    """A pipe of the driver, which every worker on its machine opens by way of /proc; nothing is left on a disk.

    Attributes
    ----------
    driver, reader, writer : int
        The process that has the pipe, and its file descriptors there.
    pipe : tuple of int
        Device and inode, which no other pipe has.
    """

    driver: int
    reader: int
    writer: int
    pipe: tuple[int, int]

    @classmethod
    def open(cls) -> WorkerLifeline:
        """Open the pipe in the driver."""
        reader, writer = os.pipe()
        return cls(os.getpid(), reader, writer, _identity(reader))

    def hold(self) -> None:
        """Tie this worker to the driver, once; if the driver has ended, end now."""
        if self.pipe in _held:
            return
        try:
            mine = os.open(f"/proc/{self.driver}/fd/{self.reader}", os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            _end()
        if _identity(mine) != self.pipe:  # another process has the driver's number
            _end()
        lifeline.hold(mine)
        try:
            os.read(mine, 1)
            _end()  # nothing is ever written, so this is the end of the pipe: it closed before we held it
        except BlockingIOError:
            _held[self.pipe] = mine

    def close(self) -> None:
        """Have the kernel kill the workers that are left."""
        os.close(self.reader)
        os.close(self.writer)


_held: dict[tuple[int, int], int] = {}
"""The pipes that this process has opened; they stay open until it ends."""


def _identity(pipe: int) -> tuple[int, int]:
    found = os.fstat(pipe)
    return found.st_dev, found.st_ino


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
