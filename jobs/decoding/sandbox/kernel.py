"""The C library's way into the kernel, for the calls that Python does not have."""

from __future__ import annotations

import ctypes
import os

NO_NEW_PRIVILEGES = 38  # of prctl
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITY_HEADER = (0x20080522).to_bytes(4, "little") + bytes(4)  # version 3; this thread
NO_CAPABILITIES = bytes(24)

_libc = ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call; return -1 where it fails."""
    words = (ctypes.c_size_t(each) if isinstance(each, int) else each for each in arguments)
    _libc.syscall.restype = ctypes.c_long
    return int(_libc.syscall(ctypes.c_long(number), *words))


def give_up_privileges() -> bool:
    """Let no program that this process starts gain rights; the kernel asks for it before it confines a process."""
    return bool(_libc.prctl(NO_NEW_PRIVILEGES, *map(ctypes.c_ulong, (1, 0, 0, 0))) == 0)


def drop_capabilities() -> None:
    """Give up what root may do beyond others: raising hard limits, raw sockets, files of all users."""
    if os.uname().machine in CAPSET:
        system_call(CAPSET[os.uname().machine], CAPABILITY_HEADER, NO_CAPABILITIES)
