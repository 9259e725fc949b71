"""The local runner: it runs a small run's work on this machine without Ray, in one worker process and a few threads."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import replace
from typing import Any

import pyarrow as pa

from detector.errors import ConfigError
from jobs.config import RunConfig
from jobs.errors import WorkersLostError
from jobs.execution.assemblers import Assembler, Commit
from jobs.execution.confinement_level import ConfinementLevel
from jobs.execution.encoder_stats import PoolStats
from jobs.execution.gpus import visible_gpus
from jobs.execution.monitor import Monitor
from jobs.execution.pool import Pool, fit_pool
from jobs.execution.stages import ITEM, ItemStage, results_of
from jobs.execution.stop_request import StopRequest
from jobs.execution.ticks import with_ticks
from jobs.execution.watchdog import Watchdog
from jobs.execution.work import Work
from jobs.execution.worker_process import ASK, EMBEDDED, REPORT, Order, WorkerProcess
from jobs.execution.worker_registry import LocalReporter, WorkerRegistry
from jobs.inputs.shards import Amount, Portion

THREADS = 4  # for items: they wait for the store most of the time

log = logging.getLogger(__name__)


class LocalRunner:
    """The :class:`jobs.execution.runner.Runner` without Ray.

    It has one encoder, in a process that it starts again where that dies: see :mod:`jobs.execution.worker_process`.

    Parameters
    ----------
    config : RunConfig
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self.registry = WorkerRegistry()
        self.encoder_stats = PoolStats()
        self.confinement = ConfinementLevel(config.confinement)

    def pool(self, _amount: Amount | None = None) -> Pool:
        """Return a pool of one encoder, on a GPU if there is one.

        Raises
        ------
        ConfigError
            If more than one encoder is asked for, or a GPU that is not there.
        """
        if self._config.encoder_range not in (None, (1, 1)):
            raise ConfigError(f"--encoders {self._config.encoders}: the local runner has one. Take --runner ray.")
        cpus = len(os.sched_getaffinity(0))
        one = replace(self._config, encoders="1", encoder_cpus=0.0, decoders=None, decode_cpus=0.5)
        pool = fit_pool(one, cpus, visible_gpus())
        self.encoder_stats.begin(1, 1, time.time())
        return pool

    def assemblers(self, commit: Commit, _pool: Pool) -> Assembler:
        """Return an assembler in this process, which commits a shard as soon as it is whole."""
        return Assembler(commit)

    def embed_portions(self, portions: Iterable[Portion], work: Work, *, singly: bool = False) -> Iterator[pa.Table]:
        """Send portions of shards through a worker process: see :class:`jobs.execution.runner.Runner`."""
        monitor = Monitor(self, work.watchdog, work.stop, self.encoder_stats, self.confinement)
        what = (work.recipes, work.model, work.pool, work.limits, work.heard)
        rest: Order | None = Order(list(portions), *what, self._config.store_patience, self._config.confinement, singly)
        lost = None
        while rest is not None:
            self.registry.begin("worker", "starting a worker process", len(rest.portions))
            with WorkerProcess(rest) as worker:
                for table in self._embedded(worker, monitor):
                    work.watchdog.note_progress()
                    yield table
                if (cause := worker.cause()) is not None:
                    lost = WorkersLostError(cause)
                    log.warning("%s", cause)
                    if not worker.has_begun:  # the next one would end like it
                        break
                rest = worker.rest()
        monitor.finish()
        if lost is not None:
            raise lost

    def _embedded(self, worker: WorkerProcess, monitor: Monitor) -> Iterator[pa.Table]:
        """Yield the tables of a worker until it ends, and pass its reports on to the registry."""
        with closing(with_ticks(worker.messages(), monitor.tick)) as messages:
            for kind, content in messages:
                self.registry.idle("worker")
                worker.note((kind, content))
                if kind == ASK:
                    worker.answer(self.registry.begin(*content))
                elif kind == REPORT:
                    getattr(self.registry, content[0])(*content[1:])
                elif kind == EMBEDDED:
                    yield content

    def map_items(
        self, function: Callable[[str], dict[str, Any]], items: Sequence[str], watchdog: Watchdog, stop: StopRequest
    ) -> Iterator[dict[str, Any]]:
        """Call ``function`` on every item in a few threads: see :class:`jobs.execution.runner.Runner`."""
        monitor = Monitor(self, watchdog, stop, self.encoder_stats, self.confinement)
        with closing(with_ticks(self._results(function, items), monitor.tick)) as tables:
            for table in tables:
                found = list(results_of(table))
                watchdog.note_progress()
                yield from found
        monitor.finish()

    def _results(self, function: Callable[[str], dict[str, Any]], items: Sequence[str]) -> Iterator[pa.Table]:
        def result(number: int, item: str) -> pa.Table:
            reporter = LocalReporter(self.registry, f"{function.__name__} {number}")
            return ItemStage(function, reporter, self._config.store_patience)(pa.table({ITEM: [item]}))

        threads = ThreadPoolExecutor(THREADS)
        try:
            for done in as_completed([threads.submit(result, number, item) for number, item in enumerate(items)]):
                yield done.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def end(self, *, is_clean: bool) -> None:
        """Nothing to end: no process outlives the work that it was started for."""

    def check_processes(self) -> None:
        """Nothing to check: the messages of a worker process end with it."""

    def check_head(self) -> None:
        """Nothing to check: this machine is the only one."""
