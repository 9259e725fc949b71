"""Processes of a Ray are known by a mark in their environment, and no others are touched."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid

from jobs.execution.marked_processes import MARK, end_marked

NEVER = ["sleep", "3600"]


def test_only_processes_with_this_mark_end() -> None:
    def started(**more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(NEVER, env=os.environ | more, start_new_session=True)

    mark = uuid.uuid4().hex
    ours = [started(**{MARK: mark}) for _ in range(2)]
    others = [started(**{MARK: f"{mark}0"}), started(**{f"NOT_{MARK}": mark}), started()]

    end_marked(mark)

    assert [each.wait(10) for each in ours] == [-signal.SIGKILL] * 2
    assert [each.poll() for each in others] == [None] * 3
    for each in others:
        each.kill()
        each.wait()
