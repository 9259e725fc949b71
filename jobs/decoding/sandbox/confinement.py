"""Confinement of this process, by all that the kernel offers, and the level that was reached.

========== =============================================================================================
full       the filter of system calls, and Landlock of any version: what an old one leaves out, the filter refuses
seccomp    the filter alone: no file can be opened, but metadata of open files can still be read
landlock-N Landlock of version N alone: processes, UDP, metadata of files; with an old version truncate, TCP, signals
none       neither: only the limits
========== =============================================================================================
"""

from __future__ import annotations

import os

from jobs.decoding.sandbox import landlock, paths, seccomp
from jobs.decoding.sandbox.system_calls import ARCHITECTURES, filter_for


def confine() -> str:
    """Confine this process for good, and return its level.

    All that it will ever load must be loaded before: afterwards it opens no file.
    """
    known = landlock.version()
    has_landlock = landlock.confine(paths.readable(), known)
    machine = os.uname().machine
    has_filter = machine in ARCHITECTURES and seccomp.install(filter_for(machine, os.getpid()), machine)
    if has_filter:
        return "full" if has_landlock else "seccomp"
    return f"landlock-{known}" if has_landlock else "none"
