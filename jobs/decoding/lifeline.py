"""The lifeline of a process that we start: the kernel kills it when its parent ends, even while it spins in C."""

from __future__ import annotations

import fcntl
import os
import signal

LIFELINE = 0  # stdin: no byte comes through it; its other end closes when our parent ends


def end_with_parent() -> None:
    """Let the kernel kill us when the lifeline's other end closes."""
    # O_ASYNC on a pipe follows the parent's process; PR_SET_PDEATHSIG would follow the thread that started us
    fcntl.fcntl(LIFELINE, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(LIFELINE, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(LIFELINE, fcntl.F_SETFL, fcntl.fcntl(LIFELINE, fcntl.F_GETFL) | os.O_ASYNC)
