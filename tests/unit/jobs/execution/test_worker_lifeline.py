"""Workers end with their driver, whatever they do; real processes, and no Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from jobs.execution.worker_lifeline import WorkerLifeline
from tests.support import ROOT

SECONDS = 10.0
IMPORT = "from jobs.execution.worker_lifeline import WorkerLifeline"
HOLD = IMPORT + "; lifeline = {}; lifeline.hold(); print('held', flush=True)"

DOES = {
    "sleeps with every signal blocked": "signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals()); hang()",
    "spins in C and keeps the interpreter's lock": "re.match(r'(a*)*b', 'a' * 64)",
    "is stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "waits at its end for a thread": "threading.Thread(target=hang).start()",
    "hangs in a function that is called at its end": "atexit.register(hang)",
}


@pytest.fixture
def driver() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that has opened a lifeline, and what it sends to its workers."""
    with _python(f"{IMPORT}; print(WorkerLifeline.open(), flush=True); input()") as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def _python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _worker(lifeline: str, does: str) -> subprocess.Popen[str]:
    """Start a worker that is no child of the driver; return when it has taken hold and begins what it does."""
    code = f"""
        import atexit, os, re, signal, threading, time
        def hang():
            time.sleep(3600)
        {HOLD.format(lifeline)}
        {does}
    """
    process = _python(textwrap.dedent(code))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _ended(process: subprocess.Popen[str]) -> int:
    """Return how a process ended, within the limit."""
    try:
        return process.wait(SECONDS)
    finally:
        process.kill()
        process.communicate()


def _open_files() -> set[tuple[int, int]]:
    """Return device and inode of all that this process has open; other tests' files may close meanwhile."""
    found = set()
    for file in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            status = os.fstat(int(file))
            found.add((status.st_dev, status.st_ino))
    return found


def test_workers_of_a_driver_that_is_killed_end_whatever_they_do(driver: tuple[subprocess.Popen[str], str]) -> None:
    process, lifeline = driver
    workers = {name: _worker(lifeline, does) for name, does in DOES.items()}
    time.sleep(0.2)
    assert {name: worker.poll() for name, worker in workers.items()} == dict.fromkeys(DOES)

    process.kill()

    assert {name: _ended(worker) for name, worker in workers.items()} == dict.fromkeys(DOES, -signal.SIGKILL)


def test_a_worker_that_comes_after_its_drivers_end_ends(driver: tuple[subprocess.Popen[str], str]) -> None:
    process, lifeline = driver
    process.kill()
    process.wait()

    assert _ended(_python(HOLD.format(lifeline))) == -signal.SIGKILL


def test_a_worker_that_finds_another_process_by_its_drivers_number_ends() -> None:
    mine = WorkerLifeline.open()
    other = replace(mine, pipe=(mine.pipe[0], mine.pipe[1] + 1))

    assert _ended(_python(HOLD.format(other))) == -signal.SIGKILL

    mine.close()


def test_a_closed_lifeline_ends_the_workers_and_leaves_its_pipe_nowhere_open() -> None:
    lifeline = WorkerLifeline.open()
    workers = [_worker(str(lifeline), "hang()") for _ in range(2)]

    assert lifeline.pipe in _open_files()
    lifeline.close()

    assert [_ended(worker) for worker in workers] == [-signal.SIGKILL] * 2
    assert lifeline.pipe not in _open_files()


def test_a_worker_takes_hold_once_and_of_each_driver_that_it_works_for() -> None:
    first, second = WorkerLifeline.open(), WorkerLifeline.open()
    files = "len(os.listdir('/proc/self/fd'))"
    holds = f"before = {files}; lifeline.hold(); second = {second}; second.hold(); second.hold(); lifeline.hold()"
    worker = _worker(str(first), f"{holds}; print({files} - before, flush=True); hang()")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "1\n"

    second.close()

    assert _ended(worker) == -signal.SIGKILL
    first.close()
