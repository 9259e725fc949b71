"""Gathering: embedded pieces, in whatever order they come, back into whole shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from detector.config import Recipe
from detector.embedding import join_segments
from detector.schema import FAILURES, embeddings_schema


@dataclass
class ShardRows:
    """Everything that has arrived of one shard."""

    shard_id: str
    n_utterances: int | None = None
    outcomes: dict[int, dict[str, Any]] = field(default_factory=dict)
    segments: dict[int, dict[int, tuple[npt.NDArray[np.float32], int]]] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every utterance and every segment is there."""
        return len(self.outcomes) == self.n_utterances and not self.lacking

    @property
    def lacking(self) -> list[int]:
        """Utterances whose outcome is known, but of which segments are missing."""
        return [
            ordinal
            for ordinal, found in sorted(self.outcomes.items())
            if found["error"] is None and len(self.segments.get(ordinal, ())) != found["n_segments"]
        ]

    @property
    def seconds(self) -> float:
        """Decoded audio of its utterances."""
        return float(sum(found["seconds"] or 0.0 for found in self.outcomes.values()))

    def tables(self, recipe: Recipe, run_id: str, layers: tuple[int, ...] | None = None) -> tuple[pa.Table, pa.Table]:
        """Rows of `embeddings` and of `failures` of one layer, in the order of the shard.

        Parameters
        ----------
        recipe : Recipe
        run_id : str
        layers : tuple of int, optional
            Whose vectors lie side by side in the segments; the recipe's alone where it is left out.
        """
        embeddings, failures = [], []
        layer, fingerprint = recipe.config.layer, recipe.fingerprint
        layers = layers or (layer,)
        width = next((len(vector) for parts in self.segments.values() for vector, _ in parts.values()), len(layers))
        dim = width // len(layers)
        own = slice(layers.index(layer) * dim, (layers.index(layer) + 1) * dim)
        for ordinal, found in sorted(self.outcomes.items()):
            if found["error"] is None:
                embedding = self._joined(ordinal, own, recipe.config.pooling)
                if embedding is None or np.isfinite(embedding).all():
                    same = {"layer": layer, "fingerprint": fingerprint, "run_id": run_id}
                    embeddings.append({**found, "embedding": embedding, **same})
                    continue
                found = failed_to_embed(found, "nonfinite", "NaN or infinity from the encoder")
            failures.append({"attempts": 1, **found, "run_id": run_id})
        return (
            pa.Table.from_pylist(embeddings, schema=embeddings_schema(dim)),
            pa.Table.from_pylist(failures, schema=FAILURES),
        )

    def _joined(self, ordinal: int, own: slice, pooling: str) -> npt.NDArray[np.float32] | None:
        parts = [part for _, part in sorted(self.segments[ordinal].items())]
        vectors, n_frames = np.stack([part[0][own] for part in parts]), np.array([part[1] for part in parts])
        return join_segments(vectors, n_frames, pooling)


class ShardAssembler:
    """Collects pieces; gives a shard out once, when it is whole."""

    def __init__(self) -> None:
        self._open: dict[str, ShardRows] = {}
        self._given: set[str] = set()

    def add(self, table: pa.Table) -> Iterator[ShardRows]:
        """Take a table of :data:`jobs.inputs.pieces.EMBEDDED`; yield the shards that it completes."""
        touched = set()
        for row in _rows(table):
            shard_id = row["shard_id"]
            if shard_id in self._given:
                continue  # a piece that a retried task delivered again
            touched.add(shard_id)
            rows = self._open.setdefault(shard_id, ShardRows(shard_id))
            if row["n_utterances"] is not None:
                rows.n_utterances = row["n_utterances"]
            elif row["outcome"] is not None:
                rows.outcomes[row["ordinal"]] = row["outcome"]
            else:
                rows.segments.setdefault(row["ordinal"], {})[row["segment"]] = (row["embedding"], row["n_frames"])
        for shard_id in sorted(touched):
            if (whole := self.close(shard_id)) is not None:
                yield whole

    def rows(self, shard_id: str) -> ShardRows:
        """What has come of an unfinished shard so far."""
        return self._open.setdefault(shard_id, ShardRows(shard_id))

    def forget(self, shard_id: str) -> None:
        """Drop what has come of a shard: it was made of bytes that were not the source's."""
        self._open.pop(shard_id, None)

    def close(self, shard_id: str) -> ShardRows | None:
        """Give a shard out that became whole without a piece; None where it is not."""
        if not self._open[shard_id].whole:
            return None
        self._given.add(shard_id)
        return self._open.pop(shard_id)


def failed_to_embed(found: dict[str, Any], error: str, message: str, attempts: int = 1) -> dict[str, Any]:
    """An utterance's outcome, where its recording was decoded and has no embedding all the same."""
    return {**found, "stage": "embed", "error": error, "message": message, "attempts": attempts}


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries, embeddings as arrays rather than lists of Python numbers."""
    vectors = table["embedding"]
    for index, row in enumerate(table.drop_columns(["embedding"]).to_pylist()):
        if row["segment"] is not None:
            row["embedding"] = vectors[index].values.to_numpy().copy()
        yield row
