"""The processes of a session, or with a mark in their environment, as /proc lists them; and one that ends with us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.decoding.lifeline import end_with_parent


@dataclass(frozen=True)
class Process:
    """A process: its id, its parent's id and its command line."""

    pid: int
    parent: int
    title: str


def processes(session: int) -> list[Process]:
    """Return the processes of a session and all of their descendants, zombies left out.

    Descendants count also where they opened a session of their own, and session members where their parent is gone.
    """
    everything, ours = {}, {session}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state, parent, _, owner = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state != "Z":
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                everything[int(folder.name)] = Process(int(folder.name), int(parent), title)
                ours.update([int(folder.name)] if int(owner) == session else [])
        except (OSError, ValueError):
            continue  # it ended between two reads
    n_before = 0
    while n_before != len(ours):
        n_before = len(ours)
        ours.update(each.pid for each in everything.values() if each.parent in ours)
    return [everything[pid] for pid in sorted(ours & everything.keys())]


def marked(mark: str) -> list[Process]:
    """Return the processes whose environment has this text in it, zombies left out.

    So are found those, too, whose parents are gone and that opened a session of their own.
    """
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found += [Process(int(folder.name), int(parent), title)] if state != "Z" else []
        except OSError:
            continue  # another user's, or it ended between two reads
    return found


def kill_session(leader: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Kill a process that leads a session, and all others of the session; return when none is left."""
    while left := processes(leader.pid):
        for each in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
        leader.poll()
        time.sleep(0.1)
    leader.wait(10)


def start_tied(command: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when this one ends, also by SIGKILL, or when the result is forgotten."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, preexec_fn=end_with_parent, **how)
