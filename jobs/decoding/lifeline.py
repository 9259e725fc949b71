"""A lifeline: a pipe into which nothing is written, with which this process ends."""

from __future__ import annotations

import fcntl
import os
import signal

LIFELINE = 0  # stdin of the processes that we start ourselves


def hold(pipe: int) -> None:
    """Have the kernel kill this process when the pipe's other end closes: spinning, stopped, blocked or half ended.

    The other end closes with the process that has it, whatever ends that. PR_SET_PDEATHSIG would follow the thread that
    started us instead, and only a parent.
    """
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)


def end_with_parent() -> None:
    """End when our parent does; nothing that we inherited may block a signal."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    hold(LIFELINE)
