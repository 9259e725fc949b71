"""The worker registry: the current task of every worker, the progress of the run, and its encoders' statistics."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from jobs.execution.encoder_stats import EncoderStats

# How long one operation may take without progress of its own: a checkpoint of 9 GB is fetched and loaded in less.
OPERATION_SECONDS, OPERATION_STEPS = 1800.0, 180
TASKS_KNOWN = 20_000  # by which a repeated step is told from a new one


class WorkerReporter(Protocol):
    """One worker's access to the registry."""

    def may_begin(self, task: str) -> bool:
        """Report a new task; return False if the run begins no new tasks."""

    def begin(self, task: str, step: int = 0) -> None:
        """Report the step of a task that begins now."""

    def idle(self) -> None:
        """Report that the worker has no task."""

    def report_stats(self, stats: EncoderStats) -> None:
        """Report what an encoder has done since it was loaded."""

    def report_confinement(self, level: str) -> None:
        """Report the weakest level of confinement of the worker's decoders."""


class WorkerRegistry:
    """State of all workers; a single actor in a cluster, else a plain object, which several threads may use."""

    def __init__(self) -> None:
        self._current: dict[str, tuple[str, float]] = {}
        self._highest_step: dict[str, int] = {}  # of the tasks that were last begun first
        self._n_older_steps = 0
        self._encoder_stats: dict[str, EncoderStats] = {}
        self._confinement: set[str] = set()
        self._requests: dict[str, dict[str, int]] = {}
        self._is_open = True

    def begin(self, worker: str, task: str, step: int) -> bool:
        """Record a step of a worker's task; return False if the run begins no new tasks.

        ``step`` grows within ``task``: a step that is repeated after a crash is no progress.
        """
        self._current[worker] = (f"{task}, {step}", time.monotonic())
        self._highest_step[task] = max(step, self._highest_step.get(task, -1))
        if len(self._highest_step) > TASKS_KNOWN:  # a run may have millions
            self._n_older_steps += 1 + self._highest_step.pop(next(iter(self._highest_step)))
        return self._is_open

    def idle(self, worker: str, requests: dict[str, int] | None = None) -> None:
        """Record that a worker has no task, and the requests to the store of its process so far."""
        self._current.pop(worker, None)
        if requests is not None:
            self._requests[worker.partition(" ")[2]] = requests  # a process may have several roles

    def requests(self) -> dict[str, int]:
        """Return the requests to the store of all workers, but for those in the driver's process, by kind."""
        return dict(sum(map(Counter, list(self._requests.values())), Counter()))

    def progress_steps(self) -> int:
        """Return a number that grows with every step that is begun for the first time."""
        steps = list(self._highest_step.values())
        return sum(steps) + len(steps) + self._n_older_steps

    def current_tasks(self) -> dict[str, tuple[str, float]]:
        """Return each busy worker's task and step, and the seconds since it began."""
        return {worker: (task, time.monotonic() - since) for worker, (task, since) in list(self._current.items())}

    def report_stats(self, worker: str, stats: EncoderStats) -> None:
        """Record what an encoder has done since it was loaded."""
        self._encoder_stats[worker] = stats

    def encoder_stats(self) -> dict[str, EncoderStats]:
        """Return the latest statistics of each encoder, including those that have ended."""
        return self._encoder_stats

    def report_confinement(self, level: str) -> None:
        """Record a level of confinement that decoders have reached."""
        self._confinement.add(level)

    def confinement(self) -> set[str]:
        """Return all levels of confinement that decoders have reached."""
        return self._confinement

    def close(self) -> None:
        """Begin no new tasks from now on."""
        self._is_open = False


class LocalReporter:
    """One worker's access to a registry in the same process."""

    def __init__(self, registry: WorkerRegistry, worker: str = "worker") -> None:
        self._registry = registry
        self._worker = worker

    def may_begin(self, task: str) -> bool:
        """Report a new task; return False if the run begins no new tasks."""
        return self._registry.begin(self._worker, task, 0)

    def begin(self, task: str, step: int = 0) -> None:
        """Report the step of a task that begins now."""
        self._registry.begin(self._worker, task, step)

    def idle(self) -> None:
        """Report that the worker has no task."""
        self._registry.idle(self._worker)

    def report_stats(self, stats: EncoderStats) -> None:
        """Report what an encoder has done since it was loaded."""
        self._registry.report_stats(self._worker, stats)

    def report_confinement(self, level: str) -> None:
        """Report the weakest level of confinement of the worker's decoders."""
        self._registry.report_confinement(level)


@contextlib.contextmanager
def steady_progress(reporter: WorkerReporter, task: str) -> Iterator[None]:
    """Report progress while one long operation runs, for :data:`OPERATION_SECONDS` at most.

    Loading an encoder takes minutes and has no steps; without reports the watchdog would take it for a stall.
    """
    is_over = threading.Event()

    def report() -> None:
        for step in range(OPERATION_STEPS):
            reporter.begin(task, step)
            if is_over.wait(OPERATION_SECONDS / OPERATION_STEPS):
                return

    threading.Thread(target=report, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
