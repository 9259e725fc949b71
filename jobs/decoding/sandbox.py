"""The sandbox: a process gives up rights that it will not need, for good, by Landlock of Linux 5.13 and later.

A file that takes over a decoder written in C acts with the rights of its process. After :func:`confine` the process can
open no file but those of its libraries, and those for reading only. It can create and remove no file, execute nothing,
and, from Linux 6.7 on, neither connect to nor listen on a TCP port. Pipes that are open stay usable.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same on every architecture
ASK_VERSION, PATH_BENEATH = 1, 1
NO_NEW_PRIVILEGES = 38  # of prctl
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # by version of Landlock: how many rights over files it knows
TCP_BIND_CONNECT = 0b11  # from version 4 on
SOCKETS_AND_SIGNALS = 0b11  # abstract sockets of other processes, and signals to them; from version 6 on
LIBRARIES = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")


def confine(readable: Iterable[str] = ()) -> bool:
    """Give up writing, executing and connecting, for this thread and all that it starts.

    Parameters
    ----------
    readable : iterable of str
        Files and folders that stay readable, besides those of Python and of the system's libraries.

    Returns
    -------
    bool
        True if the kernel enforces it. Otherwise nothing has changed, and it is left to the container around us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION)
    if version < 1:
        return False
    files = (1 << max(n for known, n in FILE_RIGHTS.items() if known <= version)) - 1
    handled = struct.pack(
        "=QQQ", files, TCP_BIND_CONNECT if version >= 4 else 0, SOCKETS_AND_SIGNALS if version >= 6 else 0
    )
    rules = libc.syscall(CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    if rules < 0:
        return False
    try:
        for path in {*LIBRARIES, *sys.path, sys.prefix, sys.base_prefix, *readable} - {""}:
            _allow(libc, rules, path)
        unchanged = libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return not unchanged and libc.syscall(RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str) -> None:
    """Let a file, or all files below a folder, be read; skip a path that does not exist."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rights = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
    libc.syscall(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    os.close(place)
