"""A command that runs in a process of its own, and the faults that are injected into it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import processes
from tests.support.ray_head import RayHead

RUN_SECONDS = 120.0
SLACK = float(os.environ.get("BONAFIDE_DRILLS_SLACK", "1"))  # factor on all limits, for a machine with other work


@dataclass(frozen=True)
class Fault:
    """A fault of a function inside a run's processes: see tests/drills/inject/sitecustomize.py."""

    target: str
    do: str
    value: Any = None
    utterance: tuple[int, int] | None = None
    calls: Sequence[int] | None = None


class Run:
    """A command that runs or has run, in a session of its own, and its output."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], folder: Path, ray: RayHead | None) -> None:
        folder.mkdir(parents=True)
        self.command, self._folder, self._ray = command, folder, ray
        self.code: int | None = None
        self.seconds = 0.0
        self.started = time.monotonic()
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self._process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.pid = self._process.pid

    def __str__(self) -> str:
        said = "\n".join(f"  {name}| {line}" for name in ("out", "err") for line in self._read(name)[-40:])
        return f"{' '.join(self.command)}\n  exit {self.code} after {self.seconds:.1f} s\n{said}"

    @property
    def stdout(self) -> str:
        return "\n".join(self._read("out"))

    @property
    def stderr(self) -> str:
        return "\n".join(self._read("err"))

    @property
    def cause(self) -> str:
        """The last line on stderr."""
        return (self._read("err") or [""])[-1]

    @property
    def working(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float = RUN_SECONDS) -> Run:
        """Wait for its end, and keep its exit code and time; fail if it does not end."""
        try:
            self.code = self._process.wait(seconds * SLACK)
        except subprocess.TimeoutExpired:
            self.end()
            pytest.fail(f"still working after {seconds:.0f} s\n{self}")
        self.seconds = time.monotonic() - self.started
        return self

    def processes(self, title: str = "") -> list[int]:
        """Return the ids of processes below the driver, or of its Ray, whose title matches; workers are `ray::…`."""
        ours = processes(self.pid) + (processes(self._ray.pid) if self._ray else [])
        return [each.pid for each in ours if re.search(title, each.title) and each.pid != self.pid]

    def resident_mb(self) -> dict[str, float]:
        """Return the resident memory of the driver and its descendants in MB, by process id and title."""
        found = {}
        for each in processes(self.pid) + (processes(self._ray.pid) if self._ray else []):
            with contextlib.suppress(OSError, IndexError):  # it ended between two reads
                pages = int(Path(f"/proc/{each.pid}/statm").read_text().split()[1])
                found[f"{each.pid} {each.title}"] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        return found

    def kill(self, title: str | None = None, number: int = signal.SIGKILL, which: int = 0) -> int:
        """Send a signal to the driver, or to a process whose title matches; return its id."""
        pid = self.pid if title is None else self.processes(title)[which]
        os.kill(pid, number)
        return pid

    def end(self) -> None:
        """Kill all processes of its own session, and no others."""
        for _ in range(50):
            left = processes(self.pid)
            for each in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
            if self._process.poll() is not None and not left:
                break
            time.sleep(0.1)
        if self.code is None:
            self.code = self._process.wait(10)
            self.seconds = time.monotonic() - self.started

    def assert_ended(self, code: int, *words: str) -> None:
        """O5: check the exit code, and the words in the last line on stderr."""
        assert self.code == code, f"expected exit code {code}\n{self}"
        missing = [word for word in words if not re.search(word, self.cause)]
        assert not missing, f"the last line on stderr does not say {missing}\n{self}"

    def _read(self, name: str) -> list[str]:
        return (self._folder / name).read_text(errors="replace").splitlines()
