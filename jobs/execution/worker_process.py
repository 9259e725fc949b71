"""A worker process on this machine: it runs the stages of portions one by one, and this is the driver's handle on it.

```
driver                                                worker process (jobs.execution.worker_main)
┌──────────────────────────┐       order              ┌────────────────────────────────────────┐
│ jobs.execution.local     ├─────────────────────────►│ thread: DecodeStage ─► decoder process │
│ registry, watchdog, stop │◄─────────────────────────┤ main thread: EncodeStage               │
└──────────────────────────┘  tables, reports, places └────────────────────────────────────────┘
```

An encoder or a reader of containers that ends its process by a signal ends the worker, never the driver. The worker
says which table it encodes, so that the driver knows what was lost with it, and starts another one behind that place.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from detector.canaries import Heard
from detector.config import Recipe
from jobs.config import ModelConfig
from jobs.decoding.faults import signal_name
from jobs.execution.pool import Pool
from jobs.inputs.limits import Limits
from jobs.inputs.shards import Portion

LAST_WORDS_BYTES = 2_000

ASK, REPORT, LOADED, READING, ENCODING, EMBEDDED, END = "ask report loaded reading encoding embedded end".split()
"""Kinds of messages from a worker: see :class:`jobs.execution.worker_main.Worker`."""

Message = tuple[str, Any]


@dataclass(frozen=True)
class Order:
    """All that a worker process is asked to do.

    Parameters
    ----------
    portions : list of Portion
    skip : int
        Tables of the first portion that are decoded, but not encoded.
    singly : bool
        If True, nothing is decoded while the encoder works: what ends the process is then known for certain.
    heard : mapping, optional
        The canaries, for the encoder; the decoder is the driver's own.
    """

    portions: list[Portion]
    recipes: tuple[Recipe, ...]
    model: ModelConfig
    pool: Pool
    limits: Limits
    heard: Mapping[str, Heard] | None
    store_patience: float
    confinement: str
    singly: bool
    skip: int = 0


class WorkerProcess:
    """A process that carries out an order, until the end of the block.

    Parameters
    ----------
    order : Order
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._is_loaded = False
        self._reading = -1
        self._encoding: tuple[int, int] | None = None
        self._has_finished = False

    def __enter__(self) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # a full pipe would block the worker
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                [sys.executable, "-P", "-m", "jobs.execution.worker_main", str(theirs.fileno())],
                stdin=subprocess.PIPE,  # its lifeline: the kernel kills it when our end closes
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(theirs.fileno(),),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                start_new_session=True,  # ctrl-c in a terminal reaches us only
            )
        self._connection = Connection(ours.detach())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._stderr.close()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def messages(self) -> Iterator[Message]:
        """Give the order, and yield messages until the work is done, or the process has ended."""
        try:
            self._connection.send(self._order)
            while True:
                message: Message = self._connection.recv()
                yield message
                if message[0] == END:
                    return
        except (EOFError, ConnectionError):
            return

    def answer(self, may_begin: bool) -> None:
        """Answer an :data:`ASK`."""
        try:
            self._connection.send(may_begin)
        except ConnectionError:
            return  # it has ended; its messages end, too

    def note(self, message: Message) -> None:
        """Take note of the worker's place, from each of its messages in their order."""
        match message:
            case "loaded", _:
                self._is_loaded = True
            case "reading", int(portion):
                self._reading = portion
            case "encoding", (int(portion), int(table)):
                self._encoding = portion, table
            case "embedded", _:
                self._encoding = None
            case "end", _:
                self._has_finished = True

    @property
    def has_begun(self) -> bool:
        """True once the encoder is loaded and a portion is being read: then :meth:`rest` is less than the order."""
        return self._is_loaded and self._reading >= 0

    def rest(self) -> Order | None:
        """Return the order for what is left behind the table, or else the portion, that ended the process; or None."""
        if self._has_finished:
            return None
        first, skip = self._reading + 1, 0
        if self._encoding is not None:
            first, skip = self._encoding[0], self._encoding[1] + 1
        portions = self._order.portions[first:]
        return replace(self._order, portions=portions, skip=skip) if portions else None

    def cause(self) -> str | None:
        """Return how the process ended before its work did, with its last words; None if it finished."""
        if self._has_finished:
            return None
        code = self._process.wait()
        how = signal_name(-code) if code < 0 else f"exit code {code}"
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
        said = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"a worker process ended with {how}" + (f": {said[-1]}" if said else "")
