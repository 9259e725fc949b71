"""A runner without Ray: it runs the stages of a job in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from detector.canaries import kept
from jobs.config import RunConfig
from jobs.execution.assemblers import Assembler, Commit
from jobs.execution.confinement_level import ConfinementLevel
from jobs.execution.encoder_stats import PoolStats
from jobs.execution.pool import Pool, fit_pool
from jobs.execution.stages import ITEM, DecodeStage, EncodeStage, ItemStage, results_of
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.execution.work import Work
from jobs.execution.worker_registry import LocalReporter, WorkerRegistry
from jobs.inputs.shards import Portion

PATIENCE_SECONDS = 1.0


class InProcessRunner:
    """Runs all stages in this process, with a pool for so many CPUs."""

    def __init__(self, config: RunConfig | None = None, cpus: float = 1.0) -> None:
        self._config = config or RunConfig()
        self._cpus = cpus
        self.registry = WorkerRegistry()
        self.encoder_stats = PoolStats()
        self.confinement = ConfinementLevel(self._config.confinement)

    def pool(self, _amount: object = None) -> Pool:
        return fit_pool(self._config, self._cpus, 0.0)

    def assemblers(self, commit: Commit, _pool: Pool) -> Assembler:
        return Assembler(commit)

    def embed_portions(self, portions: Iterable[Portion], work: Work, *, singly: bool = False) -> Iterator[pa.Table]:
        decode = DecodeStage(
            work.recipes[0].config,
            LocalReporter(self.registry, "decode"),
            PATIENCE_SECONDS,
            work.pool.window_bytes,
            work.limits,
            self._config.confinement,
            None if work.heard is None else kept(work.heard),
            work.recipes[0].windows,
        )
        encode = EncodeStage(
            work.recipes,
            work.model,
            work.pool.device,
            work.pool.batch_seconds,
            LocalReporter(self.registry, "encode"),
            PATIENCE_SECONDS,
            work.heard,
        )
        for portion in portions:
            for table in decode(pa.table({ITEM: [portion.to_json()]})):
                yield encode(table)
        self.encoder_stats.update(self.registry.encoder_stats())
        self.confinement.update(self.registry.confinement())

    def map_items(
        self, function: Callable[[str], dict[str, Any]], items: Sequence[str], watchdog: Watchdog, stop: StopRequest
    ) -> Iterator[dict[str, Any]]:
        stage = ItemStage(function, LocalReporter(self.registry, function.__name__), PATIENCE_SECONDS)
        for item in items:
            yield from results_of(stage(pa.table({ITEM: [item]})))

    def end(self, *, is_clean: bool) -> None:
        pass
