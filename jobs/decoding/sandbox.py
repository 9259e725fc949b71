"""Confinement: a process gives up what it will not need, and cannot get it back: Landlock, of Linux 5.13 and later.

What a decoder in C is talked into by a file, it does with the rights of who started it. After this it can open no file
but those of its libraries, none of them for writing, make and remove none, execute nothing, and where the kernel is
6.7 or later neither connect to nor listen on any TCP port. It keeps the pipes that are open.
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
FILES_OF_VERSION = {1: 13, 2: 14, 3: 15, 5: 16}  # how many rights over files a version of Landlock knows
TCP_BIND_CONNECT = 0b11  # from version 4 on
SOCKETS_AND_SIGNALS = 0b11  # to others, from version 6 on
LIBRARIES = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")


def confine(readable: Iterable[str] = ()) -> bool:
    """Give up writing, executing and connecting, for this thread and whatever it starts.

    Parameters
    ----------
    readable : iterable of str
        Files and folders that stay readable, beside those of Python and the system's libraries.

    Returns
    -------
    bool
        Whether the kernel does it; where it does not, nothing has changed, and it is for the container around us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION)
    if version < 1:
        return False
    files = (1 << max(n for known, n in FILES_OF_VERSION.items() if known <= version)) - 1
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
    """Let a file, or all below a folder, be read; what is not there cannot be."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rights = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
    libc.syscall(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    os.close(place)
