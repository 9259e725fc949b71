"""A cluster: the runner that streams shards through Ray Data to a pool of encoders, and from them to assemblers.

```
 plan            CPU tasks, one a block         actor pool           actors
┌───────┐ json ┌────────────────────────┐     ┌──────────┐ pooled  ┌───────────┐ one object
│ shard ├─────►│ read ─► decode ─► cut  ├────►│ encoder  ├────────►│ assembler ├─────────────► store
│ shard │      │ 8 MiB reads, streamed  │audio│ 1 CPU or │ vectors │ commit    │ a shard
└───────┘      └────────────────────────┘     │ 1 GPU    │         └─────┬─────┘
                                              └────┬─────┘               │ markers
                                                   └──── receipts ───────┴─────────► driver
```

Small shards share a block, and blocks are handed to Ray in waves, so that the driver's memory does not grow with the
plan. Audio is passed through the object store (shared memory), a few tables a task; a full store stops the readers. A
Ray that we start never spills to disk.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from detector.canaries import kept
from detector.errors import DeviceError
from jobs import storage
from jobs.config import RunConfig
from jobs.errors import RunAgain, StorageError, WorkersLostError, to_text
from jobs.execution.assemblers import Commit
from jobs.execution.blocks import Blocks
from jobs.execution.confinement_level import ConfinementLevel
from jobs.execution.encoder_stats import PoolStats
from jobs.execution.gpus import visible_gpus
from jobs.execution.growth import GrownPool, least_bundles, wait_for_pool
from jobs.execution.monitor import Monitor
from jobs.execution.pool import Pool, n_assemblers, store_mib
from jobs.execution.ray_assemblers import Delivery, RayAssemblers
from jobs.execution.ray_session import RaySession, first_line
from jobs.execution.stages import ITEM, DecodeStage, EncodeStage, ItemStage, results_of
from jobs.execution.stop_request import StopRequest
from jobs.execution.ticks import with_ticks
from jobs.execution.watchdog import Watchdog
from jobs.execution.work import Work
from jobs.execution.worker_lifeline import WorkerLifeline
from jobs.inputs import pieces
from jobs.inputs.shards import Amount, Portion

# Tables at an encoder: one that it computes, one that waits. What a lost encoder had is computed again.
TABLES_IN_FLIGHT = 2
TASK_RETRIES = 2  # by Ray, of a task whose worker was lost; its default for Ray Data has no limit
ONE_TASK: Mapping[str, Any] = {
    "device": "cpu",
    "encoders": "1",
    "encoder_cpus": 0.0,
    "decoders": "1",
    "decode_cpus": 1.0,
}
"""What a task for an item needs of a cluster, as settings of a pool: one CPU."""
# that Ray Data holds at once, at least, and for each encoder: of audio, minutes of work, beside which loading the
# encoders again is little
WAVE_BLOCKS, WAVE_BLOCKS_AN_ENCODER = 4_096, 256
IDLE_SECONDS = 0.05  # between two looks at assemblers that still commit

log = logging.getLogger(__name__)


class Cluster:
    """The :class:`jobs.execution.runner.Runner` on Ray: see :class:`jobs.execution.ray_session.RaySession`.

    Parameters
    ----------
    config : RunConfig
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._session = RaySession(store_mib(config, os.cpu_count() or 1, visible_gpus()))
        self.encoder_stats = PoolStats()
        self.confinement = ConfinementLevel(config.confinement)

    def end(self, *, is_clean: bool) -> None:
        """Leave the cluster: see :meth:`jobs.execution.ray_session.RaySession.end`."""
        self._session.end(is_clean=is_clean)

    def pool(self, _amount: Amount | None = None) -> Pool:
        """Fit the encoder pool into the cluster, and let it grow first: see :mod:`jobs.execution.growth`."""
        began = time.time()
        grown = self._grown(self._config)
        pool = grown.pool
        self.encoder_stats.begin(pool.least_encoders, pool.encoders, began + grown.first_machine_seconds)
        return pool

    def _grown(self, config: RunConfig) -> GrownPool:
        with closing(self._session.looks(least_bundles(config))) as looks:
            return wait_for_pool(config, looks)

    def assemblers(self, commit: Commit, pool: Pool) -> RayAssemblers:
        """Start the assemblers: see :class:`jobs.execution.runner.Runner`."""
        reporter, lifeline = self._session.registry.reporter("assemble"), self._session.lifeline
        how = (lifeline, commit, reporter, self._config.store_patience)
        return RayAssemblers(n_assemblers(self._config, pool), *how, private=storage.is_private())

    def embed_portions(self, portions: Iterable[Portion], work: Work, *, singly: bool = False) -> Iterator[pa.Table]:
        """Stream portions of shards through decode and the encoders: see :class:`jobs.execution.runner.Runner`."""
        assemblers = cast(RayAssemblers, work.assemblers)
        blocks = Blocks(portions, singly=singly, window_bytes=work.pool.window_bytes)
        n_tasks = work.pool.decoders or max(1, int(self._session.resources()[0]))
        while (wave := self._wave(blocks, n_tasks, work.pool)) is not None:
            tables = _batches(self._embedded(wave, work, assemblers.delivery, singly=singly))
            for table in self._streamed(tables, work.watchdog, work.stop, assemblers, blocks):
                if len(table):
                    work.watchdog.note_progress()
                yield table
                yield from assemblers.introduced()

    def _wave(self, blocks: Blocks, n_tasks: int, pool: Pool) -> Any:
        """Return the dataset of the next blocks, which Ray alone holds; None at the end."""
        most = max(WAVE_BLOCKS, WAVE_BLOCKS_AN_ENCODER * pool.encoders)
        tables = [pa.table({ITEM: block}) for block in islice(blocks.all(n_tasks), most)]
        return self._dataset(tables, pool.window_bytes) if tables else None

    def _embedded(self, wave: Any, work: Work, delivery: Delivery, *, singly: bool) -> Any:
        """Return the dataset of what the encoders return of a wave of blocks."""
        import ray.data  # after joining: Ray reads its settings when it is imported

        lifeline, pool = self._session.lifeline, work.pool
        decoded = wave.map_batches(
            TiedStage(self._decode_stage(work), lifeline),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=pool.decoders),
            num_cpus=pool.decode_cpus,
            memory=pool.decode_bytes,
            # as a function it also keeps Ray from fusing decode with the encoders into one operator
            ray_remote_args_fn=_task_limits,
        )
        how = (work.recipes, work.model, pool.device, pool.batch_seconds, self._session.registry.reporter("encode"))
        return decoded.map_batches(
            EncoderActor,
            fn_constructor_args=(lifeline, delivery, singly, (*how, self._config.store_patience, work.heard)),
            batch_size=None,
            batch_format="pyarrow",
            # all are asked for at once, and an autoscaler brings their machines in one go; see _dataset for the tail
            compute=ray.data.ActorPoolStrategy(
                min_size=pool.least_encoders,
                max_size=pool.encoders,
                initial_size=pool.encoders,
                max_tasks_in_flight_per_actor=1 if singly else TABLES_IN_FLIGHT,
            ),
            num_cpus=pool.encoder_cpus,
            # the GPUs are given here since Ray Data refuses `num_gpus` without a batch size
            ray_remote_args_fn=partial(_actor_limits, pool.encoder_gpus),
        )

    def _decode_stage(self, work: Work) -> DecodeStage:
        return DecodeStage(
            work.recipes[0].config,
            self._session.registry.reporter("decode"),
            self._config.store_patience,
            work.pool.window_bytes,
            work.limits,
            self._config.confinement,
            None if work.heard is None else kept(work.heard),
            work.recipes[0].windows,
        )

    def map_items(
        self, function: Callable[[str], dict[str, Any]], items: Sequence[str], watchdog: Watchdog, stop: StopRequest
    ) -> Iterator[dict[str, Any]]:
        """Call ``function`` on every item, each in a task: see :class:`jobs.execution.runner.Runner`."""
        self._grown(replace(self._config, **ONE_TASK))
        reporter = self._session.registry.reporter(function.__name__)
        stage = ItemStage(function, reporter, self._config.store_patience, private=storage.is_private())
        for first in range(0, len(items), WAVE_BLOCKS):
            wave = items[first : first + WAVE_BLOCKS]
            results = self._dataset([pa.table({ITEM: [item]}) for item in wave]).map_batches(
                TiedStage(stage, self._session.lifeline),
                batch_size=1,
                batch_format="pyarrow",
                ray_remote_args_fn=_task_limits,
            )
            for table in self._streamed(_batches(results), watchdog, stop):
                found = list(results_of(table))
                watchdog.note_progress()
                yield from found

    def _dataset(self, blocks: list[pa.Table], block_bytes: int = pieces.BATCH_BYTES) -> Any:
        """Return a dataset of these blocks."""
        self._session.join()
        import ray.data

        # the encoders of an earlier pass end only when no object refers to them; until then they occupy the CPUs
        gc.collect()
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = block_bytes
        # Encoders that wait for audio are kept, as loading one again takes longer. Once no audio is left to hand out,
        # Ray ends those that have nothing to do, and their machines may go.
        context.autoscaling_config.actor_pool_util_downscaling_threshold = -1.0
        # what a lost worker held is left out, without an error; jobs.execution.retries asks for it again
        context.max_errored_blocks = -1
        return ray.data.from_blocks(blocks)  # `from_arrow` looks at each in a task, and keeps 50 kB of it

    def _streamed(
        self,
        tables: Iterator[pa.Table],
        watchdog: Watchdog,
        stop: StopRequest,
        assemblers: RayAssemblers | None = None,
        blocks: Blocks | None = None,
    ) -> Iterator[pa.Table]:
        """Yield tables while the monitor watches, and empty ones while assemblers have work."""
        import ray

        monitor = Monitor(self._session, watchdog, stop, self.encoder_stats, self.confinement)

        def tick() -> None:
            if stop.requested and blocks is not None:
                blocks.close()
            monitor.tick()

        try:
            nothing = None if assemblers is None else pieces.EMBEDDED.empty_table()
            yield from with_ticks(tables, tick, nothing)
            while assemblers is not None and not assemblers.is_idle():
                monitor.tick()
                yield nothing
                time.sleep(IDLE_SECONDS)
            monitor.finish()
        except (ray.exceptions.RayError, OSError) as error:
            if isinstance(error, StorageError):
                raise
            raise WorkersLostError(f"Ray gave up: {first_line(error)}") from error


class TiedStage:
    """A stage in tasks of Ray, whose processes end with the run.

    Parameters
    ----------
    stage : DecodeStage or ItemStage
    lifeline : WorkerLifeline, optional
        None in a cluster.
    """

    def __init__(self, stage: DecodeStage | ItemStage, lifeline: WorkerLifeline | None) -> None:
        self._stage = stage
        self._lifeline = lifeline
        self.__name__ = stage.__name__

    def __call__(self, batch: pa.Table) -> Any:
        """Return what the stage returns."""
        if self._lifeline is not None:
            self._lifeline.hold()
        return self._stage(batch)


class EncoderActor(EncodeStage):
    """An encoder in an actor of Ray; its process ends with the run, and when its device fails.

    Parameters
    ----------
    lifeline : WorkerLifeline, optional
        None in a cluster.
    deliver : Delivery
        Gives the pieces to their assemblers.
    is_again : bool
        True if a pass before this one may have delivered some of them.
    encoder : tuple
        The parameters of :class:`jobs.execution.stages.EncodeStage`.
    """

    _is_loaded = False

    def __init__(
        self, lifeline: WorkerLifeline | None, deliver: Delivery, is_again: bool, encoder: tuple[Any, ...]
    ) -> None:
        import ray

        if lifeline is not None:
            lifeline.hold()
        self._deliver = deliver
        self._is_again = is_again or ray.get_runtime_context().was_current_actor_reconstructed
        super().__init__(*encoder)
        self._is_loaded = True

    def __del__(self) -> None:
        # Ray drops an encoder after it has taken leave of the raylet: an orderly exit that hangs from here on would
        # keep the memory, and a GPU's, with nobody there to end it. An encoder has nothing left to say.
        if self._is_loaded:
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Deliver the pieces of the embedded table part by part, and yield what is for the driver; or end this process.

        What was delivered before, by a process that was lost, is not encoded again.
        """
        if self._is_again:
            arrived = self._deliver.arrived(batch)
            yield pieces.receipts(batch.filter(arrived))
            batch = batch.filter(pc.invert(arrived))
        for part in self.parts(batch):
            yield self._delivered(part)
        try:
            self._deliver.finish()
        except RunAgain as error:
            yield pieces.troubled(to_text(error))

    def _delivered(self, part: pa.Table) -> pa.Table:
        try:
            return self._deliver(super().__call__(part))
        except RunAgain as error:
            return pieces.troubled(to_text(error))
        except (DeviceError, SystemExit):
            # The process cannot be trusted any more. Ray replaces a worker that was killed and gives its table to
            # another; one that exits normally would leave its place in the pool empty for ever.
            log.exception("the encoder's process ends")
            os.kill(os.getpid(), signal.SIGKILL)
            raise


def _task_limits() -> dict[str, Any]:
    return {"max_retries": TASK_RETRIES}


def _actor_limits(gpus: float) -> dict[str, Any]:
    # Machines go away, so an actor may be restarted without limit; a table may not, nor the loading of an encoder.
    return {"max_restarts": -1, "max_task_retries": TASK_RETRIES, "num_gpus": gpus}


def _batches(dataset: Any) -> Iterator[pa.Table]:
    return iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
