"""The lab of the attacks: victims that may be harmed, and decoders that were taken over."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.audio import WHOLE
from detector.decoders import MAX_SECONDS
from jobs.decoding import confinement
from jobs.decoding.faults import DecoderError
from jobs.decoding.process_handle import DecoderProcess
from jobs.decoding.wire import TEXT_BYTES, pack_request
from tests.attack.acts import FILTER, LANDLOCK, LIMITS, SPOILS
from tests.attack.inside import DONE

NEWEST = 7


@dataclass(frozen=True)
class Kernel:
    """A kernel that is imitated: its version of Landlock (0 for none, None for ours), and whether it has seccomp."""

    known: int | None
    has_filter: bool
    level: str

    @property
    def refuses(self) -> set[str]:
        """What refuses acts there: names in :attr:`tests.attack.acts.Act.refused_by`."""
        known = NEWEST if self.known is None else self.known
        return {LIMITS, *([FILTER] if self.has_filter else []), *LANDLOCK[:known]}


def ours() -> int:
    """Return the version of Landlock of this machine; 0 if it has none."""
    return max(0, min(NEWEST, ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)))


@contextlib.contextmanager
def victims(folder: Path) -> Iterator[dict[str, Any]]:
    """Make what the acts aim at."""
    for name in ("home/.ray", "output", "working"):
        (folder / name).mkdir(parents=True)
    files = {"secret": "secret", "token": "home/.ray/auth_token", "output": "output/rows", "working": "working/file"}
    places: dict[str, Any] = {name: str(folder / path) for name, path in files.items()}
    places |= {"removed": str(folder / "output" / "removed"), "folder": str(folder / "output")}
    for name in (*files, "removed"):
        Path(places[name]).write_text("secret of the archive")
    with contextlib.ExitStack() as opened:
        tcp = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        there = opened.enter_context(socket.socket(socket.AF_UNIX))
        there.bind(str(folder / "socket"))
        there.listen()
        abstract = opened.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("")  # the kernel chooses a name
        abstract.listen()
        command = [sys.executable, "-c", PROGRAM]
        environment = {"SECRET": "key of the store"}
        process = opened.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
        )
        opened.callback(process.kill)
        assert process.stdout is not None
        places |= {"port": tcp.getsockname()[1], "unix": str(folder / "socket"), "pid": process.pid}
        places |= {"abstract": abstract.getsockname()[1:].decode(), "address": int(process.stdout.readline())}
        yield places


PROGRAM = """if True:
    import ctypes, sys
    held = ctypes.create_string_buffer(8)
    print(ctypes.addressof(held), flush=True)
    sys.stdin.read()
"""


def inject(folder: Path, places: dict[str, Any], kernel: Kernel) -> None:
    """Have decoders that import from ``folder`` be taken over."""
    folder.mkdir(exist_ok=True)
    arguments = f"{places!r}, {os.uname().machine!r}, {kernel.known!r}, {kernel.has_filter!r}"
    (folder / "sitecustomize.py").write_text(
        f"import sys\nif 'jobs.decoding.process' in sys.orig_argv:\n"
        f"    from tests.attack import inside\n    inside.take_over({arguments})\n"
    )


class Attacked:
    """A decoder that does the acts that it is told, and is replaced when one ends it."""

    def __init__(self) -> None:
        self._process = DecoderProcess(1.0)
        self.level = confinement.level()

    def attempt(self, name: str) -> str:
        """Return what became of an act: :data:`DONE`, :data:`tests.attack.inside.REFUSED`, or how the process died."""
        content = b"attack:" + name.encode()
        self._process.send(b"held", pack_request(1.0, MAX_SECONDS, WHOLE), content)
        try:
            kind, n_bytes = self._process.header()
            found = str(json.loads(self._process.content(n_bytes, TEXT_BYTES))["message"])
            assert kind == b"fail"
        except DecoderError as error:
            found = str(error)
        if found.startswith("the decoder's process") or (found == DONE and name in SPOILS):
            self.end()
            self._process = DecoderProcess(1.0)
        return found

    def end(self) -> None:
        """End the process."""
        self._process.end()
