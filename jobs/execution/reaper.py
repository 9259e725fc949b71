"""The reaper: a small process that kills what is left of a Ray that we started, once its driver has ended.

A driver that is killed, or that Ray itself ends, can clean up nothing; and Ray's helpers, and workers that are just
being started, may look for their head for a minute. All of them have inherited a mark, a variable in their environment.

The driver runs this module as a script, which imports little, so that it starts in some 20 ms and takes 10 MB.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

MARK = "BONAFIDE_RAY"
PIPE = 0  # stdin: the reading end of a pipe of the driver

PAUSE_SECONDS = 0.1
QUIET_SECONDS = 2.0  # none found for so long: a process shows no environment in the moment in which it is started
LIMIT_SECONDS = 30.0  # a process that waits for a broken disk cannot be killed


def start(mark: str, pipe: int) -> None:
    """Start the reaper of all processes with a mark.

    It keeps nothing of the driver's open, and a signal to the driver's group or session does not reach it.

    Parameters
    ----------
    mark : str
        The value of the variable :data:`MARK`.
    pipe : int
        The reading end of a pipe: the reaper begins when the writing end closes.
    """
    import subprocess  # only here, and so not in the reaper
    import threading

    process = subprocess.Popen(  # noqa: S603 - the command is ours
        [sys.executable, "-I", "-S", __file__, mark],
        stdin=pipe,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != MARK},
        cwd="/",
        start_new_session=True,
    )
    # a driver that lives on leaves no zombie
    threading.Thread(target=process.wait, daemon=True, name="reaper").start()


@contextlib.contextmanager
def marking(mark: str) -> Iterator[None]:
    """Have the processes that are started meanwhile inherit a mark."""
    # with the second, a process of Ray does not write its title over its environment
    variables = {MARK: mark, "SPT_NOENV": "1"}
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(before)


def end_marked(mark: str) -> int:
    """Kill all processes with a mark, and return how many were found."""
    n_found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # another user's, or it has ended
            process = os.pidfd_open(int(name))
            try:
                # read after the process was opened: its number cannot have passed to another one
                with open(f"/proc/{name}/environ", "rb") as environment:
                    if f"{MARK}={mark}".encode() in environment.read().split(b"\0"):
                        n_found += 1
                        signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)
    return n_found


def main(mark: str) -> None:
    """Wait for the driver's end; then kill all processes with a mark, until none is left."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):  # a service manager sends them to every process
        signal.signal(number, signal.SIG_IGN)
    while os.read(PIPE, 1):
        pass
    begun = found = time.monotonic()
    while (now := time.monotonic()) < min(found + QUIET_SECONDS, begun + LIMIT_SECONDS):
        if end_marked(mark):
            found = now
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
