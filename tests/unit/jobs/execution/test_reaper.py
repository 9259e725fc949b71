"""The reaper kills what has its mark once its driver has ended, and nothing else; real processes, and no Ray."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.execution import reaper
from jobs.execution.reaper import MARK, QUIET_SECONDS, end_marked
from tests.support import ROOT
from tests.support.processes import Process, marked

SECONDS = 10.0
NEVER = ["sleep", "3600"]
REAPER = Path(reaper.__file__).name

DRIVER = """
    import os, subprocess, sys
    from jobs.execution import reaper
    reader, writer = os.pipe()
    reaper.start({mark!r}, reader)
    with reaper.marking({mark!r}):
        subprocess.Popen({marked!r}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    subprocess.Popen({never!r}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    print("begun", flush=True)
    {does}
"""

SPREADS = "while true; do (trap '' TERM; sleep 3600 & sleep 3600) & sleep 0.01; done"
"""A shell that starts processes without end, each with a child of its own."""


@pytest.fixture
def mark() -> Iterator[str]:
    """A mark; what still has it afterwards is killed."""
    mark = uuid.uuid4().hex
    yield mark
    end_marked(mark)


def _driver(mark: str, does: str = "input()", marked: list[str] = NEVER) -> subprocess.Popen[str]:
    """Start a driver with a reaper, a marked process and another one; return when it has begun what it does."""
    code = textwrap.dedent(DRIVER).format(mark=mark, marked=marked, never=NEVER, does=does)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"RUN": f"run-{mark}"},  # what each of its processes inherits, its reaper too
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def _reaper(mark: str) -> Process:
    [found] = [each for each in marked(f"RUN=run-{mark}") if REAPER in each.title]
    return found


def _ignores_sigterm(process: Process) -> bool:
    """Return whether a process ignores SIGTERM, the last of the signals that the reaper says it ignores."""
    [ignored] = re.findall(r"SigIgn:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    return bool(int(ignored, 16) >> (signal.SIGTERM - 1) & 1)


def _until(has_come: Callable[[], bool]) -> None:
    """Wait for a state, within the limit."""
    deadline = time.monotonic() + SECONDS
    while not has_come():  # looked at once: while processes come and go, a second look may see fewer
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _others(mark: str) -> list[str]:
    """Wait until no process has the mark; return what is left of the driver's but its reaper, and kill it all."""
    _until(lambda: not marked(f"{MARK}={mark}"))
    left = marked(f"RUN=run-{mark}")
    for each in left:
        os.kill(each.pid, signal.SIGKILL)
    return [each.title for each in left if REAPER not in each.title]


def test_only_processes_with_this_mark_end(mark: str) -> None:
    def started(**more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(NEVER, env=os.environ | more, start_new_session=True)

    ours = [started(**{MARK: mark}) for _ in range(2)]
    others = [started(**{MARK: f"{mark}0"}), started(**{f"NOT_{MARK}": mark}), started()]

    assert end_marked(mark) == 2

    assert [each.wait(10) for each in ours] == [-signal.SIGKILL] * 2
    assert [each.poll() for each in others] == [None] * 3
    for each in others:
        each.kill()
        each.wait()


@pytest.mark.parametrize(("does", "code"), [("os.kill(os.getpid(), 9)", -signal.SIGKILL), ("sys.exit(0)", 0)])
def test_only_the_marked_processes_end_with_their_driver_and_then_the_reaper(mark: str, does: str, code: int) -> None:
    process = _driver(mark, does)

    assert process.wait(SECONDS) == code
    _until(lambda: not any(REAPER in each.title for each in marked(f"RUN=run-{mark}")))

    assert [each.title for each in marked(f"RUN=run-{mark}")] == [" ".join(NEVER)]
    assert _others(mark) == [" ".join(NEVER)]
    process.communicate()


def test_processes_that_start_others_all_the_time_end(mark: str) -> None:
    process = _driver(mark, marked=["sh", "-c", SPREADS])
    _until(lambda: len(marked(f"{MARK}={mark}")) > 5)

    process.kill()

    assert _others(mark) == [" ".join(NEVER)]
    process.communicate()


def test_signals_to_the_drivers_group_and_to_the_reaper_itself_leave_it_at_work(mark: str) -> None:
    process = _driver(
        mark,
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # in the background of a shell, it is ignored
        "print('ready'); input()",
    )
    _until(lambda: _ignores_sigterm(_reaper(mark)))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(_reaper(mark).pid, number)
    os.killpg(process.pid, signal.SIGINT)

    assert process.wait(SECONDS) != 0

    assert _others(mark) == [" ".join(NEVER)]
    process.communicate()


def test_it_keeps_nothing_of_the_driver_open_but_the_pipe(mark: str) -> None:
    process = _driver(mark)
    theirs = Path(f"/proc/{_reaper(mark).pid}")
    _until(lambda: _ignores_sigterm(_reaper(mark)))  # it reads nothing more of its own
    assert [os.readlink(file).partition(":")[0] for file in sorted((theirs / "fd").iterdir())] == [
        "pipe",
        "/dev/null",
        "/dev/null",
    ]
    assert os.readlink(theirs / "cwd") == "/"
    assert os.getsid(int(theirs.name)) == int(theirs.name)

    process.kill()
    begun = time.monotonic()
    process.communicate()  # until the end of its stdout
    assert time.monotonic() - begun < QUIET_SECONDS

    _others(mark)


def test_the_mark_is_inherited_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "outer")
    with reaper.marking("inner"):
        assert os.environ[MARK] == "inner"
    assert os.environ[MARK] == "outer"

    monkeypatch.delenv(MARK)
    with reaper.marking("inner"):
        pass
    assert MARK not in os.environ
