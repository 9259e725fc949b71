"""Acts against what holds the decoder: its limits, its lifeline, the rights of its memory."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
from typing import Any

from tests.attack.acts.act import LIMITS, act, call, libc


def _raise_limit(which: int) -> None:
    _, hard = resource.getrlimit(which)
    try:
        resource.setrlimit(which, (hard + 1, hard + 1))
    except ValueError as error:  # that is what Python makes of EPERM
        raise PermissionError(errno.EPERM, "setrlimit") from error


@act("raise the limit of memory", LIMITS)
def more_memory(_to: dict[str, Any]) -> None:
    _raise_limit(resource.RLIMIT_AS)


@act("raise the limit of CPU time", LIMITS)
def more_time(_to: dict[str, Any]) -> None:
    _raise_limit(resource.RLIMIT_CPU)


@act("raise the limit of open files", LIMITS)
def more_files(_to: dict[str, Any]) -> None:
    _raise_limit(resource.RLIMIT_NOFILE)


@act("raise the limit of bytes written", LIMITS)
def more_bytes(_to: dict[str, Any]) -> None:
    _raise_limit(resource.RLIMIT_FSIZE)


@act("raise the limit of core dumps", LIMITS)
def more_core(_to: dict[str, Any]) -> None:
    _raise_limit(resource.RLIMIT_CORE)


@act("cut the lifeline to the worker")
def cut_lifeline(_to: dict[str, Any]) -> None:
    os.set_inheritable(0, os.get_inheritable(0))
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETFL, flags)


@act("close the lifeline to the worker")
def close_lifeline(_to: dict[str, Any]) -> None:
    kept = os.dup(0)
    os.dup2(kept, 0)


@act("ignore the signal that CPU time is used up")
def ignore_signal(_to: dict[str, Any]) -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)


@act("make memory that may be executed")
def executable_memory(_to: dict[str, Any]) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


@act("have memory executed that was written")
def executable_by_protection(_to: dict[str, Any]) -> None:
    held = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(held))
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), 5):
        raise OSError(ctypes.get_errno(), "mprotect")


@act("have all memory executable by a personality")
def personality(_to: dict[str, Any]) -> None:
    call("personality", 0x0400000)


@act("have its own pages written out, so as to wait for a disk as if that were slow")
def page_out(_to: dict[str, Any]) -> None:
    held = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(held))
    if libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(4096), 21):  # MADV_PAGEOUT
        raise OSError(ctypes.get_errno(), "madvise")
