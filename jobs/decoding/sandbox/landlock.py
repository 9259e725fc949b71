"""Landlock: this process may read the files that are named, and do nothing else with files (Linux 5.13 and later).

Older versions leave things out: 1 and 2 `truncate`, 1 to 3 TCP, 1 to 5 signals and abstract sockets; and all of them
UDP, metadata of files, and processes that are started. The filter of system calls refuses these; where there is none,
the level says so (:mod:`jobs.decoding.sandbox.confinement`).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from jobs.decoding.sandbox import kernel

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same on every architecture
ASK_VERSION, PATH_BENEATH = 1, 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # by version of Landlock: how many rights over files it knows
TCP_BIND_CONNECT = 0b11  # from version 4 on
SOCKETS_AND_SIGNALS = 0b11  # abstract sockets of other processes, and signals to them; from version 6 on


def version() -> int:
    """Return the kernel's version of Landlock; 0 if it has none, or if it is turned off."""
    return max(0, kernel.system_call(CREATE_RULESET, None, 0, ASK_VERSION))


def confine(readable: Iterable[str], known: int) -> bool:
    """Give up writing, executing and connecting, for this thread and all that it starts.

    Parameters
    ----------
    readable : iterable of str
        Files and folders that stay readable.
    known : int
        The version of Landlock, as :func:`version` gives it.

    Returns
    -------
    bool
        True if the kernel enforces it. Otherwise nothing has changed.
    """
    if known < 1:
        return False
    files = (1 << max(n for since, n in FILE_RIGHTS.items() if since <= known)) - 1
    handled = struct.pack(
        "=QQQ", files, TCP_BIND_CONNECT if known >= 4 else 0, SOCKETS_AND_SIGNALS if known >= 6 else 0
    )
    rules = kernel.system_call(CREATE_RULESET, handled, len(handled), 0)
    if rules < 0:
        return False
    try:
        for path in readable:
            _allow(rules, path)
        return kernel.give_up_privileges() and kernel.system_call(RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(rules: int, path: str) -> None:
    """Let a file, or all files below a folder, be read; skip a path that does not exist."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rights = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
    kernel.system_call(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    os.close(place)
