"""A command in a Ray cluster is two processes, which callers see as one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.decoders import is_running

SUPERVISED = """
import os, signal, sys, time
from jobs.execution.supervisor import supervise

code = supervise()
if code is not None:
    sys.exit(code)
signals = []
signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
print(os.getpid(), flush=True)
"""


def start(child: str) -> subprocess.Popen[str]:
    """Start a supervised process of which the child does this once it has printed its id."""
    command = [sys.executable, "-c", SUPERVISED + child]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture
def sleeper() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A supervised process whose child sleeps, and then exits with the number of signals that it got."""
    with start("while not signals: time.sleep(0.05)\ntime.sleep(0.3)\nos._exit(40 + len(signals))") as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


@pytest.mark.parametrize("code", [0, 1, 3, 75])
def test_the_exit_code_is_that_of_the_child(code: int) -> None:
    with start(f"os._exit({code})") as process:
        assert process.wait(20) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGKILL])
def test_a_signal_that_ends_the_child_is_what_the_caller_sees(number: signal.Signals) -> None:
    default = "" if number == signal.SIGKILL else f"signal.signal({number}, signal.SIG_DFL)\n"
    with start(f"{default}os.kill(os.getpid(), {number})") as process:
        assert process.wait(20) == -number


@pytest.mark.parametrize("whole_group", [False, True])
def test_a_signal_reaches_the_child_once(sleeper: tuple[subprocess.Popen[str], int], whole_group: bool) -> None:
    process, _ = sleeper

    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGTERM)

    assert process.wait(20) == 41


def test_the_child_ends_with_its_parent(sleeper: tuple[subprocess.Popen[str], int]) -> None:
    process, child = sleeper

    process.kill()

    deadline = time.monotonic() + 20.0
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_end_that_ray_made_of_a_run_is_told(tmp_path: Path) -> None:
    command = ["embed", "--backbone", "melstats", "--input", tmp_path, "--output", tmp_path / "out"]
    ended = "import jobs.cli; jobs.cli.supervise = lambda: 1; jobs.cli.entry()"
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:1", "BONAFIDE_METRICS_FOLDER": str(tmp_path)}

    run = subprocess.run(
        [sys.executable, "-c", ended, *map(str, command)], env=environment, capture_output=True, text=True, check=False
    )

    assert run.returncode == 75
    assert run.stderr.splitlines()[-1].startswith("error 75: Ray ended this process, as it does where its node")
    (metrics,) = tmp_path.glob("*.prom")
    assert re.search(r'bonafide_exit_code\{.*verb="embed".*\} 75', metrics.read_text())
