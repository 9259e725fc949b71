"""Marked processes: those of a Ray that we started, known by a variable in their environment, wherever they are."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

MARK = "BONAFIDE_RAY"

_ours: list[str] = []


def put_mark(mark: str) -> None:
    """Have all processes that this one starts from now on inherit a mark."""
    os.environ[MARK] = mark
    _ours.append(mark)


def end_all() -> None:
    """Kill what this process has marked; for its very end, since Ray would end it in turn."""
    for mark in _ours:
        end_marked(mark)


def end_marked(mark: str) -> None:
    """Kill all processes with a mark.

    A worker that is being started knows no driver yet, and looks for Ray's head, which is gone, for 5 s and more.

    Parameters
    ----------
    mark : str
        The value of the variable :data:`MARK`, which all of its processes have inherited.
    """
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # another user's, or it has ended
            process = os.pidfd_open(int(folder.name))
            try:
                # read after the process was opened: its number cannot have passed to another one
                if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)
