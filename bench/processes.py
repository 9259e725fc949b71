"""Peak memory of a command and of all its descendant processes, read from /proc while they run."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_SECONDS = 0.2


@dataclass
class Measured:
    """A finished command: its output, its time, and the peak resident memory of each kind of process, in MB."""

    stdout: str
    seconds: float
    peak_mb: dict[str, float] = field(default_factory=dict)


def run(command: Sequence[str], environment: dict[str, str]) -> Measured:
    """Run a command to its end; raise if it fails. Shared memory that a process touched counts as its own."""
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    peak: dict[str, float] = {}
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, ended))
    watcher.start()
    stdout, _ = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stdout)
    return Measured(stdout, time.monotonic() - start, peak)


def _watch(root: int, peak: dict[str, float], ended: threading.Event) -> None:
    ours = {root}
    while not ended.wait(SAMPLE_SECONDS):
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                status = dict(
                    line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
                )
                if int(folder.name) not in ours and int(status["PPid"]) not in ours:
                    continue
                ours.add(int(folder.name))
                name = "driver" if int(folder.name) == root else _name(folder)
                megabytes = int(status.get("VmHWM", "0 kB").split()[0]) / 1024
                peak[name] = max(peak.get(name, 0.0), megabytes)
            except (OSError, ValueError, KeyError):
                continue  # it ended after it was listed


def _name(folder: Path) -> str:
    words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    if "-m" in words[1:-1]:
        return words[words.index("-m") + 1]
    return Path(words[0]).name if not words[0].startswith("ray::") else words[0]
