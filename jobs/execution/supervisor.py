"""The supervisor: the process that the caller of a command sees, while a child of it works in a Ray cluster.

Ray ends a process that finds its node's object store gone with exit code 1: at once, and without an exception or a
message. The parent is left to tell how the run ended.
"""

from __future__ import annotations

import os
import signal

from jobs.decoding import lifeline

ENDED_BY_RAY = 1
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def supervise() -> int | None:
    """Fork; return None in the child, which goes on, and in the parent, once the child has ended, its exit code.

    Signals to the parent reach the child, once each, as it has a process group of its own. The child ends with the
    parent, whatever ends that; and a signal that ends the child ends the parent.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller that ignores it would leave nothing to wait for
    awaited = {signal.SIGCHLD, *FORWARDED}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    reader, writer = os.pipe()
    parent, child = os.getpid(), os.fork()
    if not child:
        os.setpgid(0, 0)
        os.close(writer)
        lifeline.hold(reader)
        if os.getppid() != parent:  # which ended before that held
            os._exit(os.EX_TEMPFAIL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    os.close(reader)
    code = os.waitstatus_to_exitcode(_end_of(child, awaited))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if code < 0:
        if -code in FORWARDED:  # Python has a handler of its own for one
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _end_of(child: int, awaited: set[signal.Signals]) -> int:
    while True:
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            os.kill(child, number)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
