"""The review queue: what of a run a person should listen to, the most doubtful first, alike recordings folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector.head import Head
from detector.logistic import Bools
from detector.metrics import Floats
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker

MAX_ROWS = 200
SPARE = 2  # times as many are held, to have enough when alike ones are folded
ALIKE = 0.98
"""Cosine of standardised embeddings from which recordings are taken for one; figures are in docs/nightly-report.md."""

BORDERLINE = 0.5  # of the entropy at which the head rejects
COLUMNS = (
    *("utterance_id", "uri", "member", "seconds", "score", "p_spoof", "label", "entropy_bits", "ood", "reject"),
    *("reject_reason", "head_id", "run_id", "start", "end", "channel"),
)
"""What is read of `scores`."""

Row = dict[str, Any]


@dataclass(frozen=True)
class ReviewQueue:
    """Rows to listen to, and of how many.

    Parameters
    ----------
    rows : tuple of dict
        :data:`COLUMNS`, and `alike`: ids that were folded into the row.
    n_rejected, n_borderline : int
        How many there are of either kind, shown or not.
    """

    rows: tuple[Row, ...]
    n_rejected: int
    n_borderline: int


@dataclass
class TopK:
    """The rows that rank first of any number that go by.

    Parameters
    ----------
    size : int
    rank : callable
        Of a batch of `scores`: which rows count, and numbers to sort these by, the smallest first.
    """

    size: int
    rank: Callable[[pa.RecordBatch], tuple[Bools, Floats]]
    _held: list[tuple[float, str, int, Row]] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, shard: int) -> None:
        """Look at some rows of a shard."""
        chosen, rank = self.rank(batch)
        if len(self._held) == self.size:
            chosen = chosen & (rank <= self._held[-1][0])
        places = np.flatnonzero(chosen)
        ids = batch["utterance_id"].take(pa.array(places)).to_numpy(zero_copy_only=False).astype(str)
        places = places[np.lexsort((ids, rank[places]))[: self.size]]
        rows = batch.select(list(COLUMNS)).take(pa.array(places)).to_pylist()
        new = [(float(rank[place]), row["utterance_id"], shard, row) for place, row in zip(places, rows, strict=True)]
        self._held = sorted([*self._held, *new], key=lambda each: each[:2])[: self.size]

    def rows(self) -> list[tuple[int, Row]]:
        """What was found, in order, each with the number of its shard."""
        return [(shard, row) for _, _, shard, row in self._held]


class ReviewQueueBuilder:
    """Collects a :class:`Queue`: rejected rows that have a score, then the borderline ones, by falling entropy.

    The entropy is highest at the threshold, so this is the order of closeness to it. Rows without a score, too short or
    silent, are not for listening.
    """

    def __init__(self, head: Head, n_rows: int = MAX_ROWS) -> None:
        self._head, self._n_rows = head, n_rows
        self._counts = np.zeros(2, dtype=np.int64)
        self._best = TopK(SPARE * n_rows, self._rank)

    def add(self, batch: pa.RecordBatch, shard: int) -> None:
        """Look at some rows of a shard."""
        self._best.add(batch, shard)

    def _rank(self, batch: pa.RecordBatch) -> tuple[Bools, Floats]:
        entropy = numbers(batch, "entropy_bits")
        rejected = batch["reject"].to_numpy(zero_copy_only=False)
        scored = np.isfinite(entropy)
        borderline = scored & ~rejected & (entropy > BORDERLINE * self._head.max_entropy_bits)
        self._counts += np.count_nonzero(scored & rejected), np.count_nonzero(borderline)
        return (scored & rejected) | borderline, np.where(rejected, 0.0, 2.0) - np.nan_to_num(entropy)

    def queue(self, source: Ledger, embedded: list[Marker]) -> ReviewQueue:
        """The queue; reads the embeddings of the shards that its rows lie in.

        Parameters
        ----------
        source : Ledger
            The embedding table.
        embedded : list of Marker
            Its shards, by the numbers that rows came with.
        """
        found = self._best.rows()
        vectors = _embeddings(self._head, source, embedded, found)
        rows = [row for _, row in found]
        return ReviewQueue(tuple(folded(rows, vectors)[: self._n_rows]), *self._counts.tolist())


def numbers(batch: pa.RecordBatch, name: str) -> Floats:
    """A column of numbers, NaN where null."""
    return np.asarray(batch[name].cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def folded(rows: list[Row], vectors: dict[str, Floats], alike: float = ALIKE) -> list[Row]:
    """Fold each row into the first before it that is alike: its id goes into that one's `alike`.

    Parameters
    ----------
    rows : list of dict
        With `utterance_id`, the first in rank first.
    vectors : dict
        By id, of length 1. A row without one is alike to none.
    alike : float
        Cosine from which two are taken for one.

    Examples
    --------
    >>> rows = [{"utterance_id": name} for name in "abc"]
    >>> vectors = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0]), "c": np.array([1.0, 0.0])}
    >>> [(row["utterance_id"], row["alike"]) for row in folded(rows, vectors)]
    [('a', ['c']), ('b', [])]
    """
    kept: list[Row] = []
    first = np.zeros((0, len(next(iter(vectors.values()), ()))))
    owners: list[Row] = []
    for row in rows:
        vector = vectors.get(row["utterance_id"])
        if vector is not None and len(owners):
            cosines = first @ vector
            if cosines.max() >= alike:
                owners[int(cosines.argmax())]["alike"].append(row["utterance_id"])
                continue
        kept.append({**row, "alike": []})
        if vector is not None:
            first = np.vstack([first, vector])
            owners.append(kept[-1])
    return kept


def _embeddings(
    head: Head, source: Ledger, embedded: list[Marker], found: Iterable[tuple[int, Row]]
) -> dict[str, Floats]:
    """Standardised embeddings of length 1 by id; a shard at a time."""
    wanted: dict[int, list[str]] = {}
    for shard, row in found:
        wanted.setdefault(shard, []).append(row["utterance_id"])
    vectors = {}
    for shard, ids in wanted.items():
        for batch in source.batches(embedded[shard], "embeddings", ["utterance_id", "embedding"]):
            some = batch.filter(pc.is_in(batch["utterance_id"], pa.array(ids))).to_pydict()
            for name, embedding in zip(some["utterance_id"], some["embedding"], strict=True):
                standard = (np.array(embedding) - np.array(head.mean)) / np.array(head.scale)
                vectors[name] = standard / max(float(np.linalg.norm(standard)), 1e-300)
    return vectors
