"""The stages of a run: what a decode task, an encoder and a task per item do with a table, without Ray."""

from __future__ import annotations

import itertools
import json
import logging
import math
import platform
import random
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector import canaries
from detector.audio import SAMPLE_RATE
from detector.backbones import Backbone, load_backbone
from detector.canaries import Heard, heard_otherwise, kept, samples_distance
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.embedding import embed_cells, embed_segments, refuse_without_cells
from detector.errors import ConfigError, DeviceError
from detector.windows import CellPart, Windows
from jobs import storage
from jobs.config import ModelConfig
from jobs.decoding import confinement
from jobs.decoding.canaries import hear
from jobs.decoding.process_handle import report_while_working
from jobs.errors import from_text, to_text
from jobs.execution.encoder_stats import EncoderStats
from jobs.execution.worker_registry import WorkerReporter, steady_progress
from jobs.inputs import pieces
from jobs.inputs.checkpoint import local_folder
from jobs.inputs.limits import DEFAULTS, Limits
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion

LOAD_ATTEMPTS = 3
PART_SECONDS = 0.5  # of an encoder's time, after which what it has is delivered
UNKNOWN_SPEED = 1.0  # audio-seconds a second of an encoder that has done nothing yet: its first part is one segment
ITEM = "item"
"""The one column of the tables that :class:`DecodeStage` and :class:`ItemStage` take."""

_RESULTS = pa.schema({"result": pa.string(), "trouble": pa.string()})

log = logging.getLogger(__name__)


class DecodeStage:
    """Reads portions of shards, and decodes them into tables of :data:`jobs.inputs.pieces.DECODED`.

    Parameters
    ----------
    reporter : WorkerReporter
    store_patience : float
        Seconds for which a request to the store is retried.
    window_bytes : int
        Decoded audio in one table.
    limits : Limits
        Of the audio of one recording, and of one source.
    mode : str
        One of :data:`jobs.config.CONFINEMENT`.
    heard : mapping, optional
        The canaries as the driver hears them, with the samples that :func:`detector.canaries.kept` keeps.
    windows : Windows, optional
        Windows that are embedded, too.
    """

    __name__ = "decode"

    def __init__(
        self,
        config: EmbedConfig,
        reporter: WorkerReporter,
        store_patience: float,
        window_bytes: int = pieces.BATCH_BYTES,
        limits: Limits = DEFAULTS,
        mode: str = confinement.PREFER,
        heard: Mapping[str, Heard] | None = None,
        windows: Windows | None = None,
    ) -> None:
        self._heard = heard
        self._task = "reading"
        self._config = config
        self._windows = windows
        self._mode = mode
        self._reporter = reporter
        self._store_patience = store_patience
        self._window_bytes = window_bytes
        self._limits = limits

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the decoded pieces of the portions in column :data:`ITEM`; an error becomes a row too.

        Pieces of several portions share a table if they are small.
        """
        storage.set_retry_budget(self._store_patience, answered=True)
        confinement.set_mode(self._mode)
        rows = chain.from_iterable(self._pieces(Portion.from_json(text)) for text in batch[ITEM].to_pylist())
        for number, table in enumerate(pieces.batches(rows, self._window_bytes), start=1):
            self._reporter.begin(self._task, number)
            yield table
        if (level := confinement.level()) is not None:
            self._reporter.report_confinement(level)
        self._reporter.idle()

    def _pieces(self, portion: Portion) -> Iterator[pieces.Piece]:
        """Yield the pieces of a portion, if the run begins new ones."""
        uri = portion.shard.uri
        self._task = f"reading {uri}"
        if not self._reporter.may_begin(self._task):
            return
        try:
            # one recording may take the decoder minutes without a segment; the kernel limits its CPU time
            waits = itertools.count()
            report_while_working(lambda: self._reporter.begin(f"decoding at length in {uri}", next(waits)))
            if self._heard is not None:
                _refuse_other_decoder(self._heard, self._config.segment_seconds)
                self._heard = None  # one comparison is enough
            config = self._config
            rows = read_shard(portion, config.segment_seconds, config.channels, self._limits, self._windows)
            yield from pieces.of(portion, rows)
        except Exception as error:
            yield pieces.trouble(portion.shard.shard_id, to_text(error))


class EncodeStage:
    """Holds an encoder, and replaces the samples in a table by embeddings.

    An encoder that cannot be loaded answers every table with the reason.

    Parameters
    ----------
    recipes : tuple of Recipe
        They differ in nothing but the layer; all layers are computed in one pass.
    reporter : WorkerReporter
    store_patience : float
        Seconds for which a request to the store is retried.
    heard : mapping, optional
        The canaries as the driver hears them; their vectors go with the first table.
    """

    def __init__(
        self,
        recipes: tuple[Recipe, ...],
        model: ModelConfig,
        device: str,
        batch_seconds: float,
        reporter: WorkerReporter,
        store_patience: float,
        heard: Mapping[str, Heard] | None = None,
    ) -> None:
        storage.set_retry_budget(store_patience, answered=True)
        self._reporter = reporter
        self._heard = heard
        self._windows = recipes[0].windows
        self._segment_samples = round(recipes[0].config.segment_seconds * SAMPLE_RATE)
        # a CPU computes one segment at a time in any case; handed over singly, each is a step in the registry
        self._segments_per_pass = 1 if device == "cpu" else None
        self._backbone: Backbone | None = None
        self._load_error = ""
        for attempt in range(1, LOAD_ATTEMPTS + 1):
            try:
                with steady_progress(reporter, "loading the encoder"):
                    self._backbone = _load(recipes, model, device, batch_seconds)
                break
            except Exception as error:
                self._load_error = to_text(error)
                if isinstance(error, ConfigError):
                    break
                cause = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
                log.warning("loading the encoder, attempt %d of %d: %s", attempt, LOAD_ATTEMPTS, cause)
                time.sleep(random.uniform(0.5, 1.0) * attempt)  # noqa: S311 - jitter
        self._stats = EncoderStats("" if self._backbone is None else self._backbone.device, loaded_at=time.time())
        if self._backbone is not None:
            reporter.report_stats(self._stats)
        self._idle_since = time.monotonic()
        reporter.idle()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return a table of :data:`jobs.inputs.pieces.EMBEDDED`; an error becomes a row.

        Raises
        ------
        DeviceError
            If the device failed: this process must not compute anything else.
        """
        if self._backbone is None:
            return pieces.troubled(self._load_error)
        began = time.monotonic()
        try:
            return self._encoded(batch, self._backbone)
        except DeviceError:
            raise
        except Exception as error:
            return pieces.troubled(to_text(error))
        finally:
            self._stats.waited_seconds += began - self._idle_since
            self._idle_since = time.monotonic()
            self._stats.busy_seconds += self._idle_since - began
            self._reporter.report_stats(self._stats)
            self._reporter.idle()

    def parts(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Divide a table into what an encoder on a CPU works off in half a second; one on a GPU gets all of it at once.

        What is delivered part by part need not be done again if the run is killed. The first part of all is empty: it
        gives the canaries, which are compared while the second is encoded.
        """
        if self._heard is not None:
            yield batch.slice(0, 0)
        lengths = pc.fill_null(pc.binary_length(batch["samples"]), 0).to_numpy()
        ends = np.cumsum(lengths) / (SAMPLE_RATE * np.dtype(np.float32).itemsize)
        begin = 0
        while begin < len(batch):
            before = ends[begin - 1] if begin else 0.0
            end = int(np.searchsorted(ends, before + self._part_seconds(), "right"))
            yield batch.slice(begin, max(end, begin + 1) - begin)
            begin = max(end, begin + 1)

    def _part_seconds(self) -> float:
        """Return the audio of a part, at the speed of this encoder so far."""
        if self._segments_per_pass is None:
            return math.inf
        busy = self._stats.busy_seconds
        speed = self._stats.audio_seconds / busy if busy else UNKNOWN_SPEED
        return PART_SECONDS * speed

    def _encoded(self, batch: pa.Table, backbone: Backbone) -> pa.Table:
        parts = []
        if self._heard is not None:
            parts.append(self._canaries(self._heard, backbone))
            self._heard = None
        rows, samples = pieces.samples_of(batch)
        embeddings = np.zeros((len(rows), len(backbone.layers) * backbone.dim), dtype=np.float32)
        n_frames = np.zeros(len(rows), dtype=np.int64)
        cells: list[CellPart] = []
        n_at_once = self._segments_per_pass or max(len(rows), 1)
        for start in range(0, len(rows), n_at_once):
            first = int(rows[start])
            self._reporter.begin(f"encoding shard {batch['shard_id'][first]}", _step(batch, first))
            part = slice(start, start + n_at_once)
            if self._windows is None:
                embeddings[part], n_frames[part] = embed_segments(backbone, samples[part])
            else:
                begins = [batch["segment"][int(row)].as_py() * self._segment_samples for row in rows[part]]
                found = embed_cells(backbone, samples[part], begins, self._windows)
                embeddings[part], n_frames[part] = found[:2]
                cells += found[2]
        self._stats.audio_seconds += sum(map(len, samples)) / SAMPLE_RATE
        parts += [pieces.embedded(batch, rows, embeddings, n_frames, cells), pieces.receipts(batch)]
        return pa.concat_tables(parts)

    def _canaries(self, heard: Mapping[str, Heard], backbone: Backbone) -> pa.Table:
        """Embed the canaries as recordings are embedded."""
        self._reporter.begin("encoding the canaries")
        samples = [heard[name].samples for name in canaries.decoded(heard)]
        n_at_once = self._segments_per_pass or len(samples)
        parts = [samples[start : start + n_at_once] for start in range(0, len(samples), n_at_once)]
        vectors = np.concatenate([embed_segments(backbone, part)[0] for part in parts])
        return pieces.canaries(vectors, canaries.versions())


class ItemStage:
    """Calls a function on every item of a table, and returns the results as JSON.

    Parameters
    ----------
    function : callable
        Takes an item, and returns what JSON can hold.
    reporter : WorkerReporter
    store_patience : float
        Seconds for which a request to the store is retried.
    private : bool
        True if what the function writes on local disks is for this user alone.
    """

    def __init__(
        self,
        function: Callable[[str], dict[str, Any]],
        reporter: WorkerReporter,
        store_patience: float,
        *,
        private: bool = False,
    ) -> None:
        self._private = private
        self._function = function
        self._reporter = reporter
        self._store_patience = store_patience
        self.__name__ = function.__name__

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return a row for each item in column :data:`ITEM`, or one row with the error."""
        storage.set_retry_budget(self._store_patience, answered=True)
        if self._private:
            storage.set_private()
        items = batch[ITEM].to_pylist()
        try:
            if not self._reporter.may_begin(f"{self.__name__} {items[0]}"):
                return _RESULTS.empty_table()
            rows = [{"result": json.dumps(self._function(item))} for item in items]
        except Exception as error:
            rows = [{"trouble": to_text(error)}]
        finally:
            self._reporter.idle()
        return pa.Table.from_pylist(rows, schema=_RESULTS)


def results_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the results in a table of :class:`ItemStage`.

    Raises
    ------
    Exception
        The error that a function raised, with the class that :func:`jobs.errors.to_text` keeps.
    """
    for text in table["trouble"].drop_null().to_pylist():
        raise from_text(text)
    yield from map(json.loads, table["result"].to_pylist())


def _refuse_other_decoder(by_driver: Mapping[str, Heard], segment_seconds: float) -> None:
    """Refuse to decode on a machine that hears something else than the driver."""
    here = kept(hear(segment_seconds))
    distances = {name: samples_distance(each.samples, here[name].samples) for name, each in by_driver.items()}
    drifts = heard_otherwise(distances, by_driver)
    if drifts:
        worst = max(drifts, key=lambda each: each.distance)
        raise ConfigError(
            f"this worker ({platform.node()}) hears {worst.codec} otherwise than the driver: {worst.distance:.2g} of "
            f"full scale, by {worst.libraries[0]} {canaries.versions()[worst.libraries[0]]}. Install the same versions "
            f"on every machine."
        )


def _load(recipes: tuple[Recipe, ...], model: ModelConfig, device: str, batch_seconds: float) -> Backbone:
    """Load the encoder; refuse one that would compute something else than the driver planned."""
    planned, folder = recipes[0], local_folder(model)
    local = recipe_of(planned.config, folder)
    if local.known_as(planned.describe()) is None:
        raise ConfigError(
            f"this worker would compute {local.describe()}, the driver planned {planned.describe()}. "
            f"Give every machine the same checkpoint, and install the same bonafide."
        )
    layers = tuple(each.config.layer for each in recipes)
    backbone = load_backbone(planned.config, folder, device=device, batch_seconds=batch_seconds, layers=layers)
    if planned.windows is not None:
        refuse_without_cells(backbone)
    return backbone


def _step(batch: pa.Table, row: int) -> int:
    """Return a number that grows with utterance and segment."""
    return int(batch["ordinal"][row].as_py()) * 10_000 + int(batch["segment"][row].as_py())
