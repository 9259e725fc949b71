"""The main program of a worker process on this machine: see :mod:`jobs.execution.worker_process`."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs import storage
from jobs.decoding.lifeline import end_with_parent
from jobs.execution.encoder_stats import EncoderStats
from jobs.execution.pandas_import import keep_pandas_out
from jobs.execution.stages import ITEM, DecodeStage, EncodeStage
from jobs.execution.ticks import with_ticks
from jobs.execution.worker_process import ASK, EMBEDDED, ENCODING, END, LOADED, READING, REPORT, Order

OOM_SCORE = "500"  # where memory runs out, the kernel ends this process rather than the driver


class Worker:
    """Runs the stages of an order; a table at the encoder, and a few that are decoded meanwhile."""

    def __init__(self, connection: Connection, order: Order) -> None:
        self._connection = connection
        self._order = order
        self._is_sending = threading.Lock()

    def run(self) -> None:
        """Send every table with the place that it has in the order, and then the end."""
        if self._order.singly:
            self._load()
            decoded = self._decoded()
        else:
            # the encoder is loaded while the first recordings are decoded in a thread
            decoded = with_ticks(self._decoded(), self._load)
        for portion, number, table in decoded:
            self.send(ENCODING, (portion, number))
            self.send(EMBEDDED, self._encode(table))
        self.send(END)

    def send(self, kind: str, content: Any = None) -> None:
        """Send a message to the driver."""
        with self._is_sending:
            self._connection.send((kind, content))

    def ask(self, *content: Any) -> bool:
        """Ask the driver whether a task may begin; only the thread that decodes asks."""
        self.send(ASK, content)
        return bool(self._connection.recv())

    @cached_property
    def _encode(self) -> EncodeStage:
        order = self._order
        device, seconds = order.pool.device, order.pool.batch_seconds
        reporter = PipeReporter(self, "encode")
        stage = EncodeStage(order.recipes, order.model, device, seconds, reporter, order.store_patience, order.heard)
        self.send(LOADED)
        return stage

    def _load(self) -> None:
        _ = self._encode

    def _decoded(self) -> Iterator[tuple[int, int, pa.Table]]:
        """Yield each table that is to be encoded, with its portion and its number there."""
        order = self._order
        decode = DecodeStage(
            order.recipes[0].config,
            PipeReporter(self, "decode"),
            order.store_patience,
            order.pool.window_bytes,
            order.limits,
            order.confinement,
            windows=order.recipes[0].windows,
        )
        for index, portion in enumerate(order.portions):
            self.send(READING, index)
            for number, table in enumerate(decode(pa.table({ITEM: [portion.to_json()]}))):
                if index or number >= order.skip:
                    yield index, number, table


class PipeReporter:
    """A worker's access to the registry of the driver."""

    def __init__(self, worker: Worker, role: str) -> None:
        self._worker = worker
        self._name = f"{role} {os.getpid()}"

    def may_begin(self, task: str) -> bool:
        """Report a new task; return False if the run begins no new tasks."""
        return self._worker.ask(self._name, task, 0)

    def begin(self, task: str, step: int = 0) -> None:
        """Report the step of a task that begins now."""
        self._worker.send(REPORT, ("begin", self._name, task, step))

    def idle(self) -> None:
        """Report that the worker has no task."""
        self._worker.send(REPORT, ("idle", self._name, storage.request_counts()))

    def report_stats(self, stats: EncoderStats) -> None:
        """Report what an encoder has done since it was loaded."""
        self._worker.send(REPORT, ("report_stats", self._name, stats))

    def report_confinement(self, level: str) -> None:
        """Report the weakest level of confinement of the worker's decoders."""
        self._worker.send(REPORT, ("report_confinement", level))


def main(descriptor: int) -> None:
    """Carry out the order that comes through a socket."""
    end_with_parent()
    keep_pandas_out()
    faulthandler.enable()  # its last words, for the driver's log
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    connection = Connection(descriptor)
    Worker(connection, connection.recv()).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
