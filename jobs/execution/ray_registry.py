"""The worker registry as a Ray actor: the driver's view of it, and the reporter that each worker uses."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from jobs import storage
from jobs.execution.encoder_stats import EncoderStats
from jobs.execution.worker_registry import WorkerRegistry
from jobs.telemetry import metrics

ANSWER_SECONDS = 2.0
STAYING: dict[str, Any] = {
    "label_selector": {"ray.io/market-type": "!spot"},
    "fallback_strategy": [{"label_selector": {}}],
}
"""Options of actors that hold what others wait for: a machine that stays, if there is one by its label in Ray."""


class RayRegistry:
    """The driver's view of the registry. An actor that does not answer ends no run: its last answer counts."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._steps = -1
        self._stats: Mapping[str, EncoderStats] = {}
        self._requests: dict[str, int] = {}

    @classmethod
    def start(cls) -> RayRegistry:
        """Start the registry's actor."""
        import ray

        # no CPU of its own, so that it takes none from decode; restarted without limit, since machines go away
        return cls(ray.remote(**{"num_cpus": 0, "max_restarts": -1, **STAYING})(WorkerRegistry).remote())

    def reporter(self, role: str) -> RayReporter:
        """Return a reporter for workers of a role; it can be sent to a worker."""
        return RayReporter(self._actor, role)

    def progress_steps(self) -> int:
        """Return :meth:`WorkerRegistry.progress_steps`."""
        self._steps = int(self._ask("progress_steps", self._steps))
        return self._steps

    def current_tasks(self) -> dict[str, tuple[str, float]]:
        """Return :meth:`WorkerRegistry.current_tasks`, or nothing without an answer."""
        tasks: dict[str, tuple[str, float]] = self._ask("current_tasks", {})
        return tasks

    def encoder_stats(self) -> Mapping[str, EncoderStats]:
        """Return :meth:`WorkerRegistry.encoder_stats`."""
        self._stats = self._ask("encoder_stats", self._stats)
        return self._stats

    def confinement(self) -> set[str]:
        """Return :meth:`WorkerRegistry.confinement`, or nothing without an answer."""
        levels: set[str] = self._ask("confinement", set())
        return levels

    def requests(self) -> dict[str, int]:
        """Return :meth:`WorkerRegistry.requests`."""
        self._requests = self._ask("requests", self._requests)
        return self._requests

    def close(self) -> None:
        """Ask the registry to let no new tasks begin, without waiting for an answer."""
        self._actor.close.remote()

    def _ask(self, method: str, default: Any) -> Any:
        import ray

        try:
            return ray.get(getattr(self._actor, method).remote(), timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError:
            return default


class RayReporter:
    """A worker's access to the registry. Reports are not waited for: a slow registry never slows down the work."""

    def __init__(self, actor: Any, role: str) -> None:
        self._actor = actor
        self._role = role

    @property
    def _worker(self) -> str:
        # asked at each report: this object is made in the driver, and used in the worker
        return f"{self._role} {os.getpid()} on {socket.gethostname()}"

    def may_begin(self, task: str) -> bool:
        """Report a new task; return False if the run begins no new tasks. Without an answer, the task may begin."""
        import ray

        try:
            return bool(ray.get(self._actor.begin.remote(self._worker, task, 0), timeout=ANSWER_SECONDS))
        except ray.exceptions.RayError:
            return True

    def begin(self, task: str, step: int = 0) -> None:
        """Report the step of a task that begins now."""
        metrics.count_up_to("bonafide_store_retries_total", storage.retries())  # a task may take hours
        self._actor.begin.remote(self._worker, task, step)

    def idle(self) -> None:
        """Report that the worker has no task."""
        metrics.count_up_to("bonafide_store_retries_total", storage.retries())
        self._actor.idle.remote(self._worker, storage.request_counts())

    def report_stats(self, stats: EncoderStats) -> None:
        """Report what an encoder has done since it was loaded."""
        self._actor.report_stats.remote(self._worker, stats)

    def report_confinement(self, level: str) -> None:
        """Report the weakest level of confinement of the worker's decoders."""
        self._actor.report_confinement.remote(level)
