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

import json
import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from detector.backbones import Backbone, load_backbone
from detector.checkpoint import recipe_of
from detector.config import Recipe
from detector.embedding import embed_segments
from detector.errors import ConfigError
from jobs import pieces
from jobs.archive import Shard
from jobs.checkpoint import local_folder
from jobs.config import ModelConfig, RunConfig
from jobs.errors import TROUBLES, from_text, to_text
from jobs.reading import read_shard

log = logging.getLogger(__name__)

DECODE_BYTES = 300 << 20  # what a decode task reserves: Python, a held member, pieces on their way


@dataclass(frozen=True)
class Pool:
    """The encoders' pool, once the cluster is known."""

    encoders: int
    encoder_cpus: float
    encoder_gpus: float
    decode_cpus: float
    device: str
    batch_size: int


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

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        if self._joined:
            import ray

            ray.shutdown()

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

    def embed_shards(
        self, shards: tuple[Shard, ...], recipe: Recipe, model: ModelConfig, pool: Pool
    ) -> Iterator[pa.Table]:
        """Stream shards through decode and the encoders.

        Yields
        ------
        pyarrow.Table
            Pieces of :data:`jobs.pieces.EMBEDDED`, in no order; :class:`jobs.gathering.Gatherer` makes shards of
            them.

        Raises
        ------
        ConfigError, SchemaError, StorageError, RunAgain
            What a worker ran into.
        """
        import ray.data

        decoded = self._dataset([shard.to_json() for shard in shards]).map_batches(
            _Decode(recipe.config.segment_seconds),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=pool.decode_cpus,
            memory=DECODE_BYTES,  # also what keeps Ray from fusing decode into the encoders
        )
        embedded = decoded.map_batches(
            _Encode,
            fn_constructor_args=(recipe, model, pool.device, pool.batch_size),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=pool.encoders),
            num_cpus=pool.encoder_cpus,
            num_gpus=pool.encoder_gpus,
        )
        for table in embedded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            _raise_trouble(table)
            yield table

    def map_items(self, function: Callable[[str], dict[str, Any]], items: list[str]) -> Iterator[dict[str, Any]]:
        """Call ``function`` on every item, each in a task; yield the results in no order.

        Raises
        ------
        ConfigError, SchemaError, StorageError, RunAgain
            What a task ran into.
        """
        results = self._dataset(items).map_batches(_Apply(function), batch_size=1, batch_format="pyarrow")
        for table in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            _raise_trouble(table)
            yield from map(json.loads, table["result"].to_pylist())

    def _dataset(self, items: list[str]) -> Any:
        self._join()
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = pieces.BATCH_BYTES
        return ray.data.from_items([{"item": item} for item in items], override_num_blocks=len(items))

    def _join(self) -> None:
        if self._joined:
            return
        address = os.environ.get("RAY_ADDRESS")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ side prints warnings that ask for nothing
        if not address:
            # Ray reads it when it is imported, and binds its ports to loopback only then
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        import ray
        import ray.data

        # it takes a streaming task's one input for one output, and warns that the pool is too large
        warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
        # Ray's own log stays in its session folder; ours is the one that people read
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        log.info("%s", f"joining the Ray cluster at {address}" if address else "starting Ray on this machine")
        options: dict[str, Any] = {"address": address}
        if not address:
            options = {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": self._config.object_store_mib << 20,
                "_system_config": {"automatic_object_spilling_enabled": False},  # audio never waits on a disk
            }
        on_sigterm = signal.getsignal(signal.SIGTERM)
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end us with 15, and say nothing
        self._joined = True


def fit_pool(config: RunConfig, cpus: float, gpus: float) -> Pool:
    """Fit the pool of encoders into a cluster of ``cpus`` and ``gpus``.

    Raises
    ------
    ConfigError
        Where a GPU is asked for and there is none, or encoders leave no room for a decode task.

    Examples
    --------
    >>> fit_pool(RunConfig(), cpus=2, gpus=0)
    Pool(encoders=2, encoder_cpus=0.75, encoder_gpus=0.0, decode_cpus=0.5, device='cpu', batch_size=16)
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
    return Pool(encoders, encoder_cpus, encoder_gpus, config.decode_cpus, device, config.batch_size)


class _Decode:
    """Stage one: a shard's JSON to its decoded pieces."""

    __name__ = "decode"

    def __init__(self, segment_seconds: float) -> None:
        self._segment_seconds = segment_seconds

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        try:
            for text in batch["item"].to_pylist():
                yield from pieces.batches(read_shard(Shard.from_json(text), self._segment_seconds))
        except tuple(TROUBLES.values()) as error:
            yield pa.Table.from_pylist([{"trouble": to_text(error)}], schema=pieces.DECODED)


class _Encode:
    """Stage two, an actor: holds an encoder; replaces samples by embeddings."""

    def __init__(self, recipe: Recipe, model: ModelConfig, device: str, batch_size: int) -> None:
        self._backbone: Backbone | None = None
        self._refusal = ""
        try:
            folder = local_folder(model)
            here = recipe_of(recipe.config, folder)
            if here.fingerprint != recipe.fingerprint:
                raise ConfigError(
                    f"this worker would compute {here.describe()}, the driver planned {recipe.describe()}. "
                    f"Install the same versions, and give every machine the same checkpoint."
                )
            self._backbone = load_backbone(recipe.config, folder, device=device, batch_size=batch_size)
        except tuple(TROUBLES.values()) as error:
            self._refusal = to_text(error)  # raised here, it would make Ray start the actor again and again

    def __call__(self, batch: pa.Table) -> pa.Table:
        if self._backbone is None:
            return pa.Table.from_pylist([{"trouble": self._refusal}], schema=pieces.EMBEDDED)
        rows, samples = pieces.samples_of(batch)
        embeddings, n_frames = embed_segments(self._backbone, samples)
        return pieces.embedded(batch, rows, embeddings, n_frames)


class _Apply:
    """A function of a text, on tables of one row."""

    def __init__(self, function: Callable[[str], dict[str, Any]]) -> None:
        self._function = function
        self.__name__ = function.__name__

    def __call__(self, batch: pa.Table) -> pa.Table:
        try:
            results = [json.dumps(self._function(item)) for item in batch["item"].to_pylist()]
            return pa.table({"result": results, "trouble": pa.nulls(len(results), pa.string())})
        except tuple(TROUBLES.values()) as error:
            return pa.table({"result": pa.nulls(1, pa.string()), "trouble": [to_text(error)]})


def _raise_trouble(table: pa.Table) -> None:
    for text in table["trouble"].drop_null().to_pylist():
        raise from_text(text)
