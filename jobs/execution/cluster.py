"""The pipeline: shards through Ray Data to a pool of encoders and back. The one module that knows Ray.

```
 plan            CPU tasks, one a shard         actor pool            driver
┌───────┐ json ┌────────────────────────┐     ┌──────────┐ pooled   ┌────────┐ one object
│ shard ├─────►│ read ─► decode ─► cut  ├────►│ encoder  ├─────────►│ gather ├─────────────► store
│ shard │      │ 8 MiB pieces, streamed │ audio│ 1 CPU or │ vectors  │ commit │ a shard
└───────┘      └────────────────────────┘     │ 1 GPU    │          └────────┘
                                              └──────────┘
```

Audio lives in the object store (shared memory) between the two, a few pieces a task; a full store stops the
readers, and spilling to disk is off where we start Ray.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import logging
import os
import random
import re
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from detector.audio import SAMPLE_RATE
from detector.backbones import Backbone, load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.embedding import embed_segments
from detector.errors import ConfigError, DeviceError
from jobs import storage
from jobs.config import ModelConfig, RunConfig
from jobs.decoding import supervisor
from jobs.errors import RunAgain, StalledError, StorageError, WorkersLostError, from_text, to_text
from jobs.execution.encoder_stats import EncoderStats, PoolStats
from jobs.execution.preflight import refuse_open_dashboard
from jobs.execution.watchdog import Peer, StopRequest, Watchdog, with_ticks
from jobs.inputs import pieces
from jobs.inputs.checkpoint import local_folder
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion
from jobs.telemetry import metrics

log = logging.getLogger(__name__)

DECODE_BYTES = 400 << 20  # what a decode task reserves: Python, a held member, pieces on their way, a decoder apart
WINDOWS_HELD = 4  # of them in a decode task: as pieces, as a table, and on their way
CPU_WINDOW_MIB, GPU_WINDOW_MIB = pieces.BATCH_BYTES >> 20, 32  # of audio: 130 s, 520 s
RETRIES = 2  # of Ray, for a task whose worker was lost; it would go on for ever
OOM_RETRIES = 2
IN_FLIGHT = 2  # tables at an encoder: one that it computes, one that waits; what a lost driver had in hand is lost
LOADS = 3  # attempts to load an encoder
LENGTH_SECONDS, LENGTH_STEPS = 1800.0, 180  # a checkpoint of 9 GB is fetched, hashed and loaded in less
LOOK_SECONDS = 2.0  # between two looks at the board
HEAD_SECONDS = 60.0  # a cluster's head may be away so long: one that comes back knows its work
START_SECONDS = 15.0  # and so long it may take to be there


@dataclass(frozen=True)
class Pool:
    """The encoders' pool, once the cluster is known."""

    encoders: int
    encoder_cpus: float
    encoder_gpus: float
    decode_cpus: float
    device: str
    batch_seconds: float
    window_mib: int


class Cluster:
    """The cluster that `RAY_ADDRESS` names, or one on this machine, on loopback: joined when the first work comes.

    A run with nothing to do never starts Ray.

    Parameters
    ----------
    config : RunConfig
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._joined = False
        self._board: Any = None
        self._head: Peer | None = None
        self._starting: Iterator[None] | None = None
        self._left = threading.Event()
        self.pace = PoolStats()
        storage.set_retry_budget(config.store_patience)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # asked to end in the middle of work, Ray may hang, or end us with a code of its own: it ends with our process
        if self._joined and kind is None:
            import ray

            ray.shutdown()
        self._left.set()

    def pool(self) -> Pool:
        """Fit the pool of encoders into the cluster.

        Raises
        ------
        ConfigError
            Where a GPU is asked for and there is none, or encoders leave no room for a decode task.
        """
        self._join()
        import ray

        have = ray.cluster_resources()
        return fit_pool(self._config, have.get("CPU", 0.0), have.get("GPU", 0.0))

    def embed_portions(
        self,
        portions: list[Portion],
        recipes: tuple[Recipe, ...],
        model: ModelConfig,
        pool: Pool,
        watchdog: Watchdog,
        stop: StopRequest,
        *,
        singly: bool = False,
    ) -> Iterator[pa.Table]:
        """Stream portions of shards through decode and the encoders.

        Parameters
        ----------
        recipes : tuple of Recipe
            They differ in nothing but the layer; all are computed in one pass.
        singly : bool
            Whether an encoder gets one table at a time, after workers were lost: what waits at one that dies of a
            recording shares its fate.

        Yields
        ------
        pyarrow.Table
            Pieces of :data:`jobs.inputs.pieces.EMBEDDED`, in no order, troubles among them; those in the hands of
            a worker that was lost for good are left out.

        Raises
        ------
        WorkersLostError
            Where Ray gave up as a whole.
        RunAgain
            Where nothing moves any more, or SIGTERM came.
        """
        import ray.data

        window_bytes = pool.window_mib << 20
        decoded = self._dataset([portion.to_json() for portion in portions], window_bytes).map_batches(
            _Decode(recipes[0].config, self._config.store_patience, self._board, window_bytes),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=pool.decode_cpus,
            memory=DECODE_BYTES + WINDOWS_HELD * (window_bytes - pieces.BATCH_BYTES),
            ray_remote_args_fn=_task_limits,  # also what keeps Ray from fusing decode into the encoders
        )
        embedded = decoded.map_batches(
            _Encode,
            fn_constructor_args=(
                recipes,
                model,
                pool.device,
                pool.batch_seconds,
                self._config.store_patience,
                self._board,
            ),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                size=pool.encoders, max_tasks_in_flight_per_actor=1 if singly else IN_FLIGHT
            ),
            num_cpus=pool.encoder_cpus,
            ray_remote_args_fn=partial(_actor_limits, pool.encoder_gpus),  # Ray Data: no GPU without a batch size
        )
        for table in self._streamed(embedded, watchdog, stop):
            watchdog.moved()
            yield table

    def map_items(
        self, function: Callable[[str], dict[str, Any]], items: list[str], watchdog: Watchdog, stop: StopRequest
    ) -> Iterator[dict[str, Any]]:
        """Call ``function`` on every item, each in a task; yield the results in no order, less what was lost.

        Raises
        ------
        ConfigError, SchemaError, StorageError, DefectError, RunAgain
            What a task ran into, or as :meth:`embed_portions`.
        """
        applied = _Apply(function, self._config.store_patience, self._board)
        results = self._dataset(items).map_batches(
            applied, batch_size=1, batch_format="pyarrow", ray_remote_args_fn=_task_limits
        )
        for table in self._streamed(results, watchdog, stop):
            for text in table["trouble"].drop_null().to_pylist():
                raise from_text(text)
            watchdog.moved()
            yield from map(json.loads, table["result"].to_pylist())

    def _streamed(self, dataset: Any, watchdog: Watchdog, stop: StopRequest) -> Iterator[pa.Table]:
        """What comes out of a dataset, under the eyes of the watchdog."""
        import ray

        looked, steps = 0.0, -1

        def tick() -> None:
            nonlocal looked, steps
            if stop.asked:
                self._board.close.remote()
                stop.raise_when_due()
            if dead := _dead_processes():
                raise RunAgain(f"Ray on this machine lost its {', '.join(dead)}; run the same command again")
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                self.pace.hear(self._ask("paces", default=self.pace.told))
                metrics.count_up_to("bonafide_store_retries_total", storage.retries())
                found = self._ask("steps", default=steps)
                if found != steps:
                    steps = found
                    watchdog.moved()
                if self._head is not None and self._head.gone():
                    where = f"the head of the Ray cluster, {self._head.address},"
                    raise RunAgain(f"{where} takes no connection for {HEAD_SECONDS:.0f} s; run the same command again")
            if watchdog.overdue():
                self._raise_stall(watchdog)

        batches = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        try:
            yield from with_ticks(iter(batches), tick)
            self.pace.hear(self._ask("paces", default=self.pace.told))
            stop.raise_when_due(nothing_left=True)
        except (ray.exceptions.RayError, OSError) as error:
            if isinstance(error, StorageError):
                raise
            raise WorkersLostError(f"Ray gave up: {_first_line(error)}") from error

    def _raise_stall(self, watchdog: Watchdog) -> None:
        """Say what everybody was doing, and end the run."""
        hands = self._ask("hands", default={})
        log.error("no progress for %.0f s; what everybody was doing:", watchdog.patience)
        for who, (what, seconds) in sorted(hands.items()):
            log.error("  %s: %s, for %.0f s", who, what, seconds)
        oldest = max(hands.values(), key=lambda hand: hand[1], default=("no worker has anything in hand", 0.0))
        raise StalledError(
            f"no progress for {watchdog.patience:.0f} s; stuck: {oldest[0]}. Run the same command again."
        )

    def _ask(self, question: str, default: Any) -> Any:
        """Ask the board; a board that does not answer is no reason to end."""
        import ray

        try:
            return ray.get(getattr(self._board, question).remote(), timeout=LOOK_SECONDS)
        except ray.exceptions.RayError:
            return default

    def _dataset(self, items: list[str], block_bytes: int = pieces.BATCH_BYTES) -> Any:
        self._join()
        import ray.data

        gc.collect()  # encoders of an earlier pass end when nobody refers to them; until then they take up the CPUs
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = block_bytes
        context.max_errored_blocks = (
            -1
        )  # what a lost worker had in hand is missing; jobs.execution.retries asks for it again
        return ray.data.from_items([{"item": item} for item in items], override_num_blocks=len(items))

    def _join(self) -> None:
        if self._joined:
            return
        address = os.environ.get("RAY_ADDRESS")
        if address and re.fullmatch(r"[^\s/]+:[0-9]+", address):
            _wait_for(Peer(address, START_SECONDS))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a late call would start another cluster
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ side prints warnings that ask for nothing
        if address:
            # else Ray ends us with 1, and without a word, a minute after the cluster's head died
            os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "86400")
        else:
            # Ray reads it when it is imported, and binds its ports to loopback only then
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_task_oom_retries", str(OOM_RETRIES))  # Ray would go on for ever
        import ray
        import ray.data

        # it takes a streaming task's one input for one output, and warns that the pool is too large
        warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
        # the only way to bound Ray's retries; it is to get another name in 2.64
        warnings.filterwarnings("ignore", "`ray_remote_args_fn` is deprecated")
        # Ray's own log stays in its session folder; ours is the one that people read
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        log.info("%s", f"joining the Ray cluster at {address}" if address else "starting Ray on this machine")
        options: dict[str, Any] = {"address": address}
        if not address:
            options = {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": self._config.object_store_mib << 20,
                "_system_config": {"automatic_object_spilling_enabled": False},  # audio never waits on a disk
            }

        def started() -> Iterator[None]:
            joined = ray.init(logging_level=logging.CRITICAL, log_to_driver=False, **options)
            refuse_open_dashboard(joined.dashboard_url)
            yield
            self._left.wait()  # the kernel ends Ray's processes with the thread that started them

        # in a thread, where Ray cannot put its own answer to SIGTERM in the place of ours
        self._starting = with_ticks(started(), lambda: None)
        try:
            next(self._starting)
        except (RunAgain, ConfigError):
            raise
        except Exception as error:  # of many classes, none of them told
            where = f"the Ray cluster at {address} cannot be joined" if address else "Ray did not start"
            raise RunAgain(f"{where}: {_first_line(error)}. Check it, and run the same command again.") from error
        self._joined = True
        self._head = Peer(ray.get_runtime_context().gcs_address, HEAD_SECONDS) if address else None
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(WorkerRegistry).remote()


def fit_pool(config: RunConfig, cpus: float, gpus: float) -> Pool:
    """Fit the pool of encoders into a cluster of ``cpus`` and ``gpus``.

    Raises
    ------
    ConfigError
        Where a GPU is asked for and there is none, or encoders leave no room for a decode task.

    Examples
    --------
    >>> pool = fit_pool(RunConfig(), cpus=2, gpus=0)
    >>> pool.device, pool.encoders, pool.encoder_cpus, pool.decode_cpus
    ('cpu', 2, 0.75, 0.5)
    """
    device = config.device if config.device != "auto" else "cuda" if gpus else "cpu"
    if device == "cuda" and gpus < config.encoder_gpus:
        raise ConfigError(f"device cuda: the cluster has {gpus:g} GPU(s), an encoder wants {config.encoder_gpus:g}.")
    per_gpu = int(gpus / config.encoder_gpus)
    encoders = config.encoders or (per_gpu if device == "cuda" else max(1, int(cpus)))
    room = max(cpus - config.decode_cpus, 0.0) / encoders
    encoder_cpus = min(1.0, int(room * 100) / 100) if config.encoder_cpus is None else config.encoder_cpus
    encoder_gpus = config.encoder_gpus if device == "cuda" else 0.0
    if encoders * encoder_cpus + config.decode_cpus > cpus or encoders * encoder_gpus > gpus:
        raise ConfigError(
            f"{encoders} encoder(s) of {encoder_cpus:g} CPU and {encoder_gpus:g} GPU and a decode task of "
            f"{config.decode_cpus:g} CPU do not fit a cluster of {cpus:g} CPU and {gpus:g} GPU: they would wait for "
            f"ever. Lower --encoders, --encoder-cpus or --decode-cpus."
        )
    window_mib = config.window_mib or (GPU_WINDOW_MIB if device == "cuda" else CPU_WINDOW_MIB)
    return Pool(encoders, encoder_cpus, encoder_gpus, config.decode_cpus, device, config.batch_seconds, window_mib)


class WorkerRegistry:
    """An actor that knows who has what in hand, and whether new shards may be begun."""

    def __init__(self) -> None:
        self._hands: dict[str, tuple[str, float]] = {}
        self._farthest: dict[str, int] = {}
        self._paces: dict[str, EncoderStats] = {}
        self._open = True

    def begin(self, who: str, what: str, step: int) -> bool:
        """A worker takes something in hand; returns whether it may, if it is a new shard.

        ``step`` counts up within ``what``: doing the same again after a crash is no progress.
        """
        self._hands[who] = (f"{what}, {step}", time.monotonic())
        self._farthest[what] = max(step, self._farthest.get(what, -1))
        return self._open

    def rest(self, who: str) -> None:
        """A worker has nothing in hand."""
        self._hands.pop(who, None)

    def steps(self) -> int:
        """Grows with everything that is begun for the first time."""
        return sum(self._farthest.values()) + len(self._farthest)

    def hands(self) -> dict[str, tuple[str, float]]:
        """By worker: what it has in hand, and for how many seconds."""
        return {who: (what, time.monotonic() - since) for who, (what, since) in self._hands.items()}

    def worked(self, who: str, told: EncoderStats) -> None:
        """An encoder tells of its time so far."""
        self._paces[who] = told

    def paces(self) -> dict[str, EncoderStats]:
        """By encoder: what it told last."""
        return self._paces

    def close(self) -> None:
        """No new shards."""
        self._open = False


class _WorkerClient:
    """One worker's line on the board; without one, nobody asks, and everything may be begun."""

    def __init__(self, board: Any, role: str) -> None:
        self._board = board
        self._who = f"{role} {os.getpid()} on {socket.gethostname()}"

    def begin(self, what: str, step: int = 0) -> None:
        """Say what is in hand; not waited for."""
        if self._board is None:
            return
        self._board.begin.remote(self._who, what, step)

    @contextlib.contextmanager
    def at_length(self, what: str) -> Iterator[None]:
        """Keep the board told while something takes minutes in one piece, within reason."""
        over = threading.Event()

        def tell() -> None:
            for step in range(LENGTH_STEPS):
                self.begin(what, step)
                if over.wait(LENGTH_SECONDS / LENGTH_STEPS):
                    return

        threading.Thread(target=tell, daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def may_begin(self, what: str) -> bool:
        """Ask whether a new shard may be begun; a board that does not answer says yes."""
        import ray

        if self._board is None:
            return True
        try:
            return bool(ray.get(self._board.begin.remote(self._who, what, 0), timeout=LOOK_SECONDS))
        except ray.exceptions.RayError:
            return True

    def worked(self, told: EncoderStats) -> None:
        """Tell of our time so far; not waited for."""
        if self._board is not None:
            self._board.worked.remote(self._who, told)

    def rest(self) -> None:
        """Nothing is in hand."""
        metrics.count_up_to("bonafide_store_retries_total", storage.retries())
        if self._board is not None:
            self._board.rest.remote(self._who)


class _Decode:
    """Stage one: a portion's JSON to its decoded pieces."""

    __name__ = "decode"

    def __init__(
        self,
        config: EmbedConfig,
        store_patience: float,
        board: Any = None,
        window_bytes: int = pieces.BATCH_BYTES,
    ) -> None:
        self._config = config
        self._window_bytes = window_bytes
        self._store_patience = store_patience
        self._board = board

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        storage.set_retry_budget(self._store_patience, answered=True)
        worker = _WorkerClient(self._board, "decode")
        for text in batch["item"].to_pylist():
            portion = Portion.from_json(text)
            if worker.may_begin(f"reading {portion.shard.uri}"):
                yield from self._read(portion, worker)
            worker.rest()

    def _read(self, portion: Portion, worker: _WorkerClient) -> Iterator[pa.Table]:
        try:
            looks = itertools.count()
            supervisor.report_while_working(
                lambda: worker.begin(f"decoding at length in {portion.shard.uri}", next(looks))
            )
            read = read_shard(portion, self._config.segment_seconds, self._config.channels)
            for number, table in enumerate(pieces.batches(pieces.of(portion.part, read), self._window_bytes), start=1):
                worker.begin(f"reading {portion.shard.uri}", number)
                yield table
        except Exception as error:
            found = pieces.trouble(portion.shard.shard_id, to_text(error))
            yield pa.Table.from_pylist([found], schema=pieces.DECODED)


class _Encode:
    """Stage two, an actor: holds an encoder; replaces samples by embeddings."""

    def __init__(
        self,
        recipes: tuple[Recipe, ...],
        model: ModelConfig,
        device: str,
        batch_seconds: float,
        store_patience: float,
        board: Any = None,
    ) -> None:
        storage.set_retry_budget(store_patience, answered=True)
        self._worker = _WorkerClient(board, "encode")
        # on a CPU one segment is computed at a time anyhow: so the board sees each
        self._at_once = 1 if device == "cpu" else None
        self._backbone: Backbone | None = None
        self._refusal = ""
        for attempt in range(1, LOADS + 1):
            try:
                with self._worker.at_length("loading the encoder"):
                    self._backbone = self._load(recipes, model, device, batch_seconds)
                break
            except Exception as error:
                self._refusal = to_text(error)
                if isinstance(error, ConfigError):
                    break
                log.warning("loading the encoder, attempt %d of %d: %s", attempt, LOADS, _first_line(error))
                time.sleep(random.uniform(0.5, 1.0) * attempt)  # noqa: S311 - jitter
        self._told = EncoderStats("" if self._backbone is None else self._backbone.device)
        self._rested = time.monotonic()
        self._worker.rest()

    def _load(self, recipes: tuple[Recipe, ...], model: ModelConfig, device: str, batch_seconds: float) -> Backbone:
        recipe, folder = recipes[0], local_folder(model)
        here = recipe_of(recipe.config, folder)
        if here.fingerprint != recipe.fingerprint:
            raise ConfigError(
                f"this worker would compute {here.describe()}, the driver planned {recipe.describe()}. "
                f"Install the same versions, and give every machine the same checkpoint."
            )
        layers = tuple(each.config.layer for each in recipes)
        return load_backbone(recipe.config, folder, device=device, batch_seconds=batch_seconds, layers=layers)

    def __call__(self, batch: pa.Table) -> pa.Table:
        if self._backbone is None:
            return pa.Table.from_pylist([pieces.trouble(None, self._refusal)], schema=pieces.EMBEDDED)
        began = time.monotonic()
        try:
            return self._encoded(batch, self._backbone)
        except (DeviceError, SystemExit):
            # the process is not to be trusted any more: killed, Ray replaces it and gives the work to another; one
            # that ends in peace would leave its place in the pool empty for ever
            log.exception("the encoder's process ends")
            os.kill(os.getpid(), signal.SIGKILL)
            raise
        except Exception as error:
            return pa.Table.from_pylist([pieces.trouble(None, to_text(error))], schema=pieces.EMBEDDED)
        finally:
            self._told.waited_seconds += began - self._rested
            self._rested = time.monotonic()
            self._told.busy_seconds += self._rested - began
            self._worker.worked(self._told)
            self._worker.rest()

    def _encoded(self, batch: pa.Table, backbone: Backbone) -> pa.Table:
        rows, samples = pieces.samples_of(batch)
        embeddings = np.zeros((len(rows), len(backbone.layers) * backbone.dim), dtype=np.float32)
        n_frames = np.zeros(len(rows), dtype=np.int64)
        at_once = self._at_once or max(len(rows), 1)
        for start in range(0, len(rows), at_once):
            first = int(rows[start])
            self._worker.begin(f"encoding shard {batch['shard_id'][first]}", _step(batch, first))
            part = slice(start, start + at_once)
            embeddings[part], n_frames[part] = embed_segments(backbone, samples[part])
        self._told.audio_seconds += sum(map(len, samples)) / SAMPLE_RATE
        return pieces.embedded(batch, rows, embeddings, n_frames)


def _step(batch: pa.Table, row: int) -> int:
    """A number that grows with utterance and segment."""
    return int(batch["ordinal"][row].as_py()) * 10_000 + int(batch["segment"][row].as_py())


class _Apply:
    """A function of a text, on tables of one row."""

    def __init__(self, function: Callable[[str], dict[str, Any]], store_patience: float, board: Any = None) -> None:
        self._function = function
        self._store_patience = store_patience
        self._board = board
        self.__name__ = function.__name__

    def __call__(self, batch: pa.Table) -> pa.Table:
        storage.set_retry_budget(self._store_patience, answered=True)
        worker = _WorkerClient(self._board, self.__name__)
        items = batch["item"].to_pylist()
        if not worker.may_begin(f"{self.__name__} {items[0]}"):
            return pa.table({"result": pa.nulls(0, pa.string()), "trouble": pa.nulls(0, pa.string())})
        try:
            results = [json.dumps(self._function(item)) for item in items]
            return pa.table({"result": results, "trouble": pa.nulls(len(results), pa.string())})
        except Exception as error:
            return pa.table({"result": pa.nulls(1, pa.string()), "trouble": [to_text(error)]})
        finally:
            worker.rest()


def _wait_for(head: Peer) -> None:
    """Wait until a cluster's head is there; Ray itself would take two minutes to see that it is not."""
    while not head.answers():
        if head.gone():
            raise RunAgain(
                f"the Ray cluster at {head.address} cannot be joined: nothing takes a connection there. Check "
                f"RAY_ADDRESS and that its head runs, and run the same command again."
            )
        time.sleep(1.0)


def _dead_processes() -> list[str]:
    """Parts of a Ray that we started and that died: some seconds later it would end us too, with a code of its own."""
    import ray

    node = ray._private.worker._global_node
    return [] if node is None else [name for name, _ in node.dead_processes()]


def _task_limits() -> dict[str, Any]:
    return {"max_retries": RETRIES}


def _actor_limits(gpus: float) -> dict[str, Any]:
    # machines go away, so an actor may come again without bound; its work and the loading of an encoder may not
    return {"max_restarts": -1, "max_task_retries": RETRIES, "num_gpus": gpus}


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
