"""Assembly: embedded pieces, which arrive in any order, become whole shards again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from detector.config import Recipe
from detector.embedding import join_segments
from detector.schema import FAILURES, embeddings_schema
from detector.windows import COLUMNS, CellPart
from jobs.inputs.id_spelling import CHANNEL_END
from jobs.inputs.pieces import CELLS, cells_in, is_changed

MAX_CELL_BYTES = 1 << 30
"""Of one shard: 145 hours at 1,024 numbers every 2 s. Its windows take as much again while they are written."""

NO_WINDOWS: dict[str, Any] = dict.fromkeys(COLUMNS)


@dataclass
class ShardRows:
    """All pieces of one shard that have arrived.

    Attributes
    ----------
    begun : float
        When the first piece arrived, by `time.monotonic`.
    n_utterances : int or None
        Utterances of the shard, once its end has arrived.
    ordinals : list of int or None
        Theirs, once the end has arrived, if they are not those from 0 on.
    portion : str
        What was read, as :meth:`jobs.inputs.shards.Portion.to_json` writes it, once the end has arrived.
    outcomes : dict of int
        By ordinal: an utterance's facts, or why it failed.
    repeated : set of int
        Ordinals of utterances whose id an earlier one has.
    segments : dict of int
        By ordinal and segment: a vector with its number of frames.
    cells : dict of int
        By ordinal and segment: the cells of windows, if any are asked for. A shard of which they take more than
        :data:`MAX_CELL_BYTES` keeps none, so that its recordings have no windows.
    cell_bytes : int
        What the cells take, also once they are dropped.
    passed_over : dict
        Members that are no recordings, as :meth:`jobs.inputs.passed_over.PassedOver.to_content` counts them.
    """

    shard_id: str
    begun: float = field(default_factory=time.monotonic)
    n_utterances: int | None = None
    ordinals: list[int] | None = None
    portion: str = ""
    outcomes: dict[int, dict[str, Any]] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)
    segments: dict[int, dict[int, tuple[npt.NDArray[np.float32], int]]] = field(default_factory=dict)
    cells: dict[int, dict[int, CellPart]] = field(default_factory=dict)
    cell_bytes: int = 0
    passed_over: dict[str, Any] = field(default_factory=dict)

    def take(self, ordinal: int, outcome: dict[str, Any]) -> None:
        """Keep the outcome of an utterance; pieces come in any order, and that its source changed says the most."""
        if not is_changed(self.outcomes.get(ordinal)):
            self.outcomes[ordinal] = outcome

    def add_cells(self, ordinal: int, segment: int, part: CellPart) -> None:
        """Keep the cells of a segment, once, unless all that have arrived take too much."""
        is_new = segment not in self.cells.get(ordinal, ())
        self.cell_bytes += part.vectors.nbytes if is_new and self.cell_bytes <= MAX_CELL_BYTES else 0
        if self.cell_bytes > MAX_CELL_BYTES:
            self.cells = {}
        else:
            self.cells.setdefault(ordinal, {})[segment] = part

    @property
    def whole(self) -> bool:
        """True if every utterance and every segment has arrived."""
        return len(self.outcomes) == self.n_utterances and not self.missing

    @property
    def missing(self) -> list[int]:
        """Ordinals of utterances of which something has not arrived: their outcome, or one of their segments."""
        ordinals = range(self.n_utterances or 0) if self.ordinals is None else self.ordinals
        expected = {*ordinals, *self.outcomes}
        return [ordinal for ordinal in sorted(expected) if not self._has(ordinal)]

    def _has(self, ordinal: int) -> bool:
        outcome = self.outcomes.get(ordinal)
        if outcome is None:
            return False
        return outcome["error"] is not None or len(self.segments.get(ordinal, ())) == outcome["n_segments"]

    def refuse_repeated(self) -> None:
        """Take no utterance whose id another one has, nor a channel of it; one failure stands for all of them."""
        first = {self.outcomes[ordinal]["utterance_id"]: ordinal for ordinal in sorted(self.repeated, reverse=True)}
        self.repeated = set(first.values())
        for ordinal, found in list(self.outcomes.items()) if first else ():
            names = {found["utterance_id"], CHANNEL_END.sub("", found["utterance_id"])}
            if ordinal not in self.repeated and not names.isdisjoint(first):
                del self.outcomes[ordinal]
                self.segments.pop(ordinal, None)

    @property
    def seconds(self) -> float:
        """Decoded audio of all utterances, in seconds."""
        return float(sum(outcome["seconds"] or 0.0 for outcome in self.outcomes.values()))

    def tables(self, recipe: Recipe, run_id: str, layers: tuple[int, ...] | None = None) -> tuple[pa.Table, pa.Table]:
        """Return the rows of `embeddings` and of `failures` for one layer, in the order of the shard.

        Parameters
        ----------
        recipe : Recipe
        run_id : str
        layers : tuple of int, optional
            Layers whose vectors are concatenated in the segments [default: the recipe's layer alone].
        """
        embeddings, failures = [], []
        layer, fingerprint = recipe.config.layer, recipe.fingerprint
        layers = layers or (layer,)
        width = next((len(vector) for parts in self.segments.values() for vector, _ in parts.values()), len(layers))
        dim = width // len(layers)
        own = slice(layers.index(layer) * dim, (layers.index(layer) + 1) * dim)
        for ordinal, outcome in sorted(self.outcomes.items()):
            if outcome["error"] is None:
                embedding = self._joined(ordinal, own, recipe.config.pooling)
                if embedding is None or np.isfinite(embedding).all():
                    origin = {"layer": layer, "fingerprint": fingerprint, "run_id": run_id}
                    windows = self._windows(ordinal, own, recipe)
                    embeddings.append({**outcome, "embedding": embedding, **origin, **windows})
                    continue
                outcome = failed_to_embed(outcome, "nonfinite", "NaN or infinity from the encoder")
            failures.append({"attempts": 1, **outcome, "run_id": run_id})
        return (
            pa.Table.from_pylist(embeddings, schema=embeddings_schema(dim)),
            pa.Table.from_pylist(failures, schema=FAILURES),
        )

    def _joined(self, ordinal: int, own: slice, pooling: str) -> npt.NDArray[np.float32] | None:
        parts = [part for _, part in sorted(self.segments[ordinal].items())]
        vectors, n_frames = np.stack([part[0][own] for part in parts]), np.array([part[1] for part in parts])
        return join_segments(vectors, n_frames, pooling)

    def _windows(self, ordinal: int, own: slice, recipe: Recipe) -> dict[str, Any]:
        """Return columns of the windows of an utterance; all of them null if it has none."""
        parts = [
            part._replace(vectors=part.vectors[:, own])
            for _, part in sorted(self.cells.get(ordinal, {}).items())
            if part.n_frames.any()
        ]
        windows = recipe.windows
        if windows is None or not parts:
            return NO_WINDOWS
        vectors = windows.joined(parts, self.outcomes[ordinal]["seconds"], recipe.config.pooling)
        lengths = {"window_seconds": windows.window_seconds, "hop_seconds": windows.hop_seconds}
        return {**lengths, "window_embeddings": vectors.reshape(-1)}


class ShardAssembler:
    """Collects pieces, and yields each shard once, when it is whole."""

    def __init__(self) -> None:
        self._open: dict[str, ShardRows] = {}
        self._done: set[str] = set()

    def add(self, table: pa.Table) -> Iterator[ShardRows]:
        """Add a table of :data:`jobs.inputs.pieces.EMBEDDED`; yield the shards that it completes."""
        touched = set()
        for row in _rows(table):
            shard_id = row["shard_id"]
            if shard_id in self._done:
                continue  # a task that was retried delivers its pieces again
            touched.add(shard_id)
            rows = self._open.setdefault(shard_id, ShardRows(shard_id))
            if row["n_utterances"] is not None:
                rows.n_utterances, rows.portion = row["n_utterances"], row["portion"] or ""
                rows.ordinals = row["ordinals"]
                rows.passed_over = json.loads(row["passed_over"] or "{}")
            elif row["outcome"] is not None:
                rows.take(row["ordinal"], row["outcome"])
                if row["is_repeated"]:
                    rows.repeated.add(row["ordinal"])
            else:
                rows.segments.setdefault(row["ordinal"], {})[row["segment"]] = (row["embedding"], row["n_frames"])
                if row["cells"] is not None:
                    rows.add_cells(row["ordinal"], row["segment"], row["cells"])
        for shard_id in sorted(touched):
            if (whole := self.close(shard_id)) is not None:
                yield whole

    def has(self, shard_id: str, ordinal: int, segment: int) -> bool:
        """Return True if a segment has arrived."""
        if shard_id in self._done:
            return True
        rows = self._open.get(shard_id)
        return rows is not None and segment in rows.segments.get(ordinal, ())

    @property
    def open(self) -> dict[str, ShardRows]:
        """The pieces of shards that are not whole, by their ids."""
        return self._open

    def forget(self, shard_id: str) -> None:
        """Drop the pieces of a shard, which were made of corrupt bytes."""
        self._open.pop(shard_id, None)

    def close(self, shard_id: str) -> ShardRows | None:
        """Return a shard if it is whole, which it may become without a new piece; else None."""
        if shard_id not in self._open or not self._open[shard_id].whole:
            return None
        self._done.add(shard_id)
        rows = self._open.pop(shard_id)
        rows.refuse_repeated()
        return rows


def failed_to_embed(outcome: dict[str, Any], error: str, message: str, attempts: int = 1) -> dict[str, Any]:
    """Return the outcome of an utterance that was decoded, but could not be embedded."""
    return {**outcome, "stage": "embed", "error": error, "message": message, "attempts": attempts}


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield rows as dictionaries, with embeddings as arrays rather than lists of Python numbers."""
    vectors = table["embedding"]
    for index, row in enumerate(table.drop_columns(["embedding", *CELLS]).to_pylist()):
        if row["segment"] is not None:
            row["embedding"], row["cells"] = vectors[index].values.to_numpy().copy(), cells_in(table, index)
        yield row
