"""Activity of a decoder process: how long it sleeps over a recording while its worker waits for it.

A slow machine is no fault of a recording. A process that waits for a processor works as well as it can, and the kernel
counts that time (`/proc/PID/schedstat`). What is left of the time that the worker waited is sleep of the process, or a
worker that was slow to wake up; of the latter there can be some for each piece of data, so data that moves excuses it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

STALLED_SECONDS = 600.0  # of sleep over one recording, however often the process wakes
SECONDS_PER_BYTE = 1.0 / (1 << 20)  # that are excused besides
BUSY_SHARE = 0.01  # of CPU: where the kernel does not count waits, a process that gets so much does not sleep


class Activity:
    """Counts the sleep of a process over one recording after another.

    Parameters
    ----------
    process : Path
        Its folder in `/proc`.

    Attributes
    ----------
    waited_seconds : float
        Time that the worker has waited for the process over this recording; the worker adds to it.
    n_bytes : int
        Bytes that went either way over this recording; the worker adds to them.

    Examples
    --------
    >>> activity = Activity(Path("/proc/self"))
    >>> activity.begin(cpu_seconds=2.0)
    >>> activity.waited_seconds += 100.0
    >>> 0.0 < activity.asleep_seconds(cpu_seconds=42.0) <= 60.0  # less what this process waits for a processor
    True
    """

    def __init__(self, process: Path) -> None:
        self._process = process
        self._queued_seconds = 0.0
        self._in_queue()  # what it has waited so far excuses nothing
        self.begin(0.0)

    def begin(self, cpu_seconds: float) -> None:
        """Begin with a recording; the process has used so much CPU time in all."""
        self.waited_seconds = self._looked_at = 0.0
        self.n_bytes = 0
        self._states: Counter[str] = Counter()
        self._cpu_before, self._queued_before = cpu_seconds, self._queued_seconds

    def is_look_due(self, seconds: float) -> bool:
        """Return True if the worker has waited for ``seconds`` since the last look, in however many pieces."""
        return self.waited_seconds - self._looked_at >= seconds

    def asleep_seconds(self, cpu_seconds: float) -> float:
        """Return how long the process has slept so far, beyond what is excused."""
        self._looked_at = self.waited_seconds
        busy = cpu_seconds - self._cpu_before
        queued = self._in_queue()
        if queued is None:
            busy /= BUSY_SHARE
        else:
            busy += queued - self._queued_before
        return max(0.0, self.waited_seconds - busy - self.n_bytes * SECONDS_PER_BYTE)

    def note_state(self) -> str:
        """Note the process's state at a look, and return it as the kernel names it: R if it runs, or waits to run."""
        try:
            state = (self._process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            state = "?"
        self._states[state] += 1
        return state

    def usual_state(self) -> str:
        """Return how the process was at most looks: S if it slept, T if somebody has stopped it, D if a disk has.

        Of one look the process could choose the state, such as D by touching what it had the kernel page out.
        """
        idle = {state: count for state, count in sorted(self._states.items()) if state != "R"}
        return max(idle, key=lambda state: (idle[state], state == "S"), default="S")

    def _in_queue(self) -> float | None:
        """Return how long the process has waited for a processor in its life; None if the kernel does not count it."""
        try:
            _, nanoseconds, n_turns = map(int, (self._process / "schedstat").read_text().split())
        except (OSError, ValueError):
            return None
        self._queued_seconds = nanoseconds / 1e9
        return self._queued_seconds if n_turns else None
