"""The monitor: between two results, the driver checks its machines, its workers' progress, and requests to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Protocol

from jobs import storage
from jobs.errors import StalledError
from jobs.execution.confinement_level import ConfinementLevel
from jobs.execution.encoder_stats import EncoderStats, PoolStats
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.telemetry import metrics

REGISTRY_SECONDS = 2.0  # between two questions to the registry

log = logging.getLogger(__name__)


class Registry(Protocol):
    """The driver's view of a :class:`jobs.execution.worker_registry.WorkerRegistry`."""

    def progress_steps(self) -> int:
        """Return a number that grows with every step that is begun for the first time."""

    def current_tasks(self) -> dict[str, tuple[str, float]]:
        """Return each busy worker's task and step, and the seconds since it began."""

    def encoder_stats(self) -> Mapping[str, EncoderStats]:
        """Return the latest statistics of each encoder, including those that have ended."""

    def confinement(self) -> set[str]:
        """Return all levels of confinement that decoders have reached."""

    def requests(self) -> dict[str, int]:
        """Return the requests to the store of all workers in processes of their own, by kind."""

    def close(self) -> None:
        """Begin no new tasks from now on."""


class Machines(Protocol):
    """The machines that work for a run."""

    @property
    def registry(self) -> Registry:
        """The registry of this run's workers."""

    def check_processes(self) -> None:
        """Raise RunAgain if a process is gone that the run cannot go on without."""

    def check_head(self) -> None:
        """Raise RunAgain if the head of a cluster is gone."""


class Monitor:
    """Watches one stream of results; :meth:`tick` is called twice a second while it runs."""

    def __init__(
        self,
        machines: Machines,
        watchdog: Watchdog,
        stop: StopRequest,
        stats: PoolStats,
        confinement: ConfinementLevel,
    ) -> None:
        self._machines = machines
        self._registry = machines.registry
        self._watchdog = watchdog
        self._stop = stop
        self._stats = stats
        self._confinement = confinement
        self._last_look = 0.0
        self._steps = -1

    def tick(self) -> None:
        """Check everything that may end the run.

        Raises
        ------
        RunAgain
            If SIGTERM came and the time to drain is over, or if Ray or the head of its cluster is gone.
        StalledError
            If no worker has made progress for longer than the watchdog's patience.
        """
        if self._stop.requested:
            self._registry.close()
            self._stop.raise_when_due()
        self._machines.check_processes()
        if time.monotonic() - self._last_look > REGISTRY_SECONDS:
            self._last_look = time.monotonic()
            self._look_at_workers()
            self._machines.check_head()
        if self._watchdog.is_overdue():
            self._raise_stall()

    def finish(self) -> None:
        """Take the last statistics once the stream has ended; end the run if it is to stop.

        Raises
        ------
        RunAgain
            If SIGTERM came.
        """
        self._take_reports()
        self._stop.raise_when_due(is_drained=True)

    def _look_at_workers(self) -> None:
        self._take_reports()
        metrics.count_up_to("bonafide_store_retries_total", storage.retries())
        steps = self._registry.progress_steps()
        if steps != self._steps:
            self._steps = steps
            self._watchdog.note_progress()

    def _take_reports(self) -> None:
        self._stats.update(self._registry.encoder_stats())
        self._stats.requests = self._registry.requests()
        self._confinement.update(self._registry.confinement())

    def _raise_stall(self) -> None:
        """Log the task of every worker, and end the run with the one that has taken the longest."""
        tasks = self._registry.current_tasks()
        log.error("no progress for %.0f s; the workers' tasks:", self._watchdog.patience)
        for worker, (task, seconds) in sorted(tasks.items()):
            log.error("  %s: %s, for %.0f s", worker, task, seconds)
        longest = max(tasks.values(), key=lambda each: each[1], default=("no worker has a task", 0.0))
        raise StalledError(
            f"no progress for {self._watchdog.patience:.0f} s; stuck: {longest[0]}. Run the same command again."
        )
