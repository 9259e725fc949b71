"""The review queue: recordings of a run that a person should listen to, the most uncertain first.

Behind them stand recordings that pass for bona fide as a whole, and of which a part does not: by the head's rule, or,
without one, by their most suspicious window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector.head import Head
from detector.logistic import Bools
from detector.metrics import Floats
from detector.rejection import log_odds
from detector.schema import BONAFIDE
from jobs.reports.review.config import MAX_ROWS
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker

CANDIDATES_PER_ROW = 2  # rows that are held for each row of the queue, because similar ones are folded
SIMILAR_COSINE = 0.98
"""Cosine of standardised embeddings at which two recordings count as similar; measured in docs/nightly-report.md."""

BORDERLINE = 0.5  # share of the entropy at which the head rejects
PARTS_SHARE = 0.25  # of the queue, for recordings with a suspicious part
COLUMNS = (
    *("utterance_id", "uri", "member", "seconds", "score", "p_spoof", "label", "entropy_bits", "ood", "reject"),
    *("reject_reason", "head_id", "run_id", "start", "end", "channel", "nearest_system", "system_similarity"),
    "contains_score",
)
"""Columns of `scores` that the queue reads."""

Row = dict[str, Any]


@dataclass(frozen=True)
class ReviewQueue:
    """Rows to listen to.

    Parameters
    ----------
    rows : tuple of dict
        :data:`COLUMNS`; `why`: the reason for which the head rejects, `borderline` or `part`; and `alike`: ids of
        similar recordings that were folded into the row.
    n_rejected, n_borderline, n_parts : int
        How many rows of each kind the run has, in the queue or not.
    """

    rows: tuple[Row, ...]
    n_rejected: int
    n_borderline: int
    n_parts: int


@dataclass
class TopK:
    """The rows that rank first in a stream of batches.

    Parameters
    ----------
    size : int
    rank : callable
        Takes a batch of `scores`; returns a mask of the rows that qualify, and a rank of each row, the lowest first.
    """

    size: int
    rank: Callable[[pa.RecordBatch], tuple[Bools, Floats]]
    _held: list[tuple[float, str, int, Row]] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, shard: int) -> None:
        """Add the rows of a batch; ``shard`` is a number that comes back with each row."""
        qualifies, rank = self.rank(batch)
        if len(self._held) == self.size:
            qualifies = qualifies & (rank <= self._held[-1][0])
        places = np.flatnonzero(qualifies)
        ids = batch["utterance_id"].take(pa.array(places)).to_numpy(zero_copy_only=False).astype(str)
        places = places[np.lexsort((ids, rank[places]))[: self.size]]
        rows = batch.select(list(COLUMNS)).take(pa.array(places)).to_pylist()
        new = [(float(rank[place]), row["utterance_id"], shard, row) for place, row in zip(places, rows, strict=True)]
        self._held = sorted([*self._held, *new], key=lambda each: each[:2])[: self.size]

    def rows(self) -> list[tuple[int, Row]]:
        """Return the rows in order of rank, each with the number of its shard."""
        return [(shard, row) for _, _, shard, row in self._held]


class ReviewQueueBuilder:
    """Collects a :class:`ReviewQueue`: rejected rows first, then borderline ones, each by falling entropy.

    Entropy is highest at the threshold, so rows nearest to it come first. Rows without a score, too short or silent, do
    not qualify. Then come accepted recordings with a suspicious part, the most suspicious first, for which a share of
    the queue is kept.

    Parameters
    ----------
    head : Head
    prior : float
        Of the run.
    n_rows : int
        Of the queue, at most.
    """

    def __init__(self, head: Head, prior: float, n_rows: int = MAX_ROWS) -> None:
        self._head, self._n_rows, self._prior = head, n_rows, prior
        self._counts = np.zeros(3, dtype=np.int64)
        self._candidates = TopK(CANDIDATES_PER_ROW * n_rows, self._rank)
        self._lowest: Mapping[str, float] = {}
        self._parts = TopK(math.ceil(PARTS_SHARE * n_rows), self._rank_parts)

    def add(self, batch: pa.RecordBatch, shard: int, lowest: Mapping[str, float] | None = None) -> None:
        """Add rows of `scores`.

        Parameters
        ----------
        shard : int
            Place of the shard in the list that :meth:`queue` takes.
        lowest : mapping, optional
            By id, the lowest score of a window that the head takes for spoof: see :func:`lowest_windows`.
        """
        self._candidates.add(batch, shard)
        self._lowest = lowest or {}
        self._parts.add(batch, shard)

    def _kinds(self, batch: pa.RecordBatch) -> tuple[Bools, Bools, Floats]:
        """Return which rows are rejected and which are borderline, and their entropies."""
        entropy = float_column(batch, "entropy_bits")
        rejected = batch["reject"].to_numpy(zero_copy_only=False)
        scored = np.isfinite(entropy)
        return scored & rejected, scored & ~rejected & (entropy > BORDERLINE * self._head.max_entropy_bits), entropy

    def _rank(self, batch: pa.RecordBatch) -> tuple[Bools, Floats]:
        rejected, borderline, entropy = self._kinds(batch)
        self._counts[:2] += np.count_nonzero(rejected), np.count_nonzero(borderline)
        # entropy is at most 1 bit, so a borderline row never ranks before a rejected one
        return rejected | borderline, np.where(rejected, 0.0, 2.0) - np.nan_to_num(entropy)

    def _rank_parts(self, batch: pa.RecordBatch) -> tuple[Bools, Floats]:
        rejected, borderline, _ = self._kinds(batch)
        if self._head.contains_rule:
            found = float_column(batch, "contains_score")
        else:
            found = np.array([self._lowest.get(name, np.nan) for name in batch["utterance_id"].to_pylist()], np.float64)
        is_bonafide = pc.fill_null(pc.equal(batch["label"], BONAFIDE), False).to_numpy(zero_copy_only=False)
        qualifies = is_bonafide & ~rejected & ~borderline & (np.nan_to_num(found, nan=np.inf) < log_odds(self._prior))
        self._counts[2] += np.count_nonzero(qualifies)
        return qualifies, np.nan_to_num(found)

    @property
    def shards(self) -> dict[str, int]:
        """By id: the place of the shard of each row that may be in the queue."""
        return {row["utterance_id"]: shard for shard, row in [*self._candidates.rows(), *self._parts.rows()]}

    def queue(self, source: Ledger, embedded: Sequence[Marker]) -> ReviewQueue:
        """Fold similar rows and return the queue; this reads the embeddings of the shards that hold its rows.

        Parameters
        ----------
        source : Ledger
            The embedding table.
        embedded : sequence of Marker
            Markers of its shards, by the numbers that rows were added with.
        """
        candidates = self._candidates.rows()
        vectors = _unit_embeddings(self._head, source, embedded, candidates)
        rows = [row | {"why": row["reject_reason"] or "borderline"} for _, row in candidates]
        parts = [row | {"why": "part", "alike": []} for _, row in self._parts.rows()]
        kept = fold_similar(rows, vectors)[: self._n_rows - len(parts)]
        return ReviewQueue((*kept, *parts), *self._counts.tolist())


def lowest_windows(head: Head, table: Ledger, marker: Marker) -> dict[str, float]:
    """Return, by id, the lowest score of a window that the head takes for spoof, in a shard of scores.

    None are read for a head with a rule, which has judged the windows.
    """
    found: dict[str, float] = {}
    if head.contains_rule or not marker.rows.get("segments"):
        return found
    for batch in table.batches(marker, "segments", ["utterance_id", "score", "p_spoof", "reject"]):
        flagged = batch.filter(pc.and_(pc.greater(batch["p_spoof"], 0.5), pc.invert(batch["reject"])))
        for name, score in zip(flagged["utterance_id"].to_pylist(), flagged["score"].to_pylist(), strict=True):
            found[name] = min(score, found.get(name, score))
    return found


def float_column(batch: pa.RecordBatch, name: str) -> Floats:
    """Return a column as floats, NaN for null."""
    return np.asarray(batch[name].cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def fold_similar(rows: list[Row], vectors: dict[str, Floats], min_cosine: float = SIMILAR_COSINE) -> list[Row]:
    """Fold each row into the most similar row before it: its id is added to that row's `alike`.

    Parameters
    ----------
    rows : list of dict
        With `utterance_id`, in order of rank.
    vectors : dict
        Embeddings of length 1, by id. A row without one is never folded.
    min_cosine : float
        Cosine from which two rows are similar.

    Examples
    --------
    >>> rows = [{"utterance_id": name} for name in "abc"]
    >>> vectors = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0]), "c": np.array([1.0, 0.0])}
    >>> [(row["utterance_id"], row["alike"]) for row in fold_similar(rows, vectors)]
    [('a', ['c']), ('b', [])]
    """
    kept: list[Row] = []
    kept_vectors = np.zeros((0, len(next(iter(vectors.values()), ()))))
    owners: list[Row] = []  # of kept_vectors
    for row in rows:
        vector = vectors.get(row["utterance_id"])
        if vector is not None and len(owners):
            cosines = kept_vectors @ vector
            if cosines.max() >= min_cosine:
                owners[int(cosines.argmax())]["alike"].append(row["utterance_id"])
                continue
        kept.append({**row, "alike": []})
        if vector is not None:
            kept_vectors = np.vstack([kept_vectors, vector])
            owners.append(kept[-1])
    return kept


def _unit_embeddings(
    head: Head, source: Ledger, embedded: Sequence[Marker], candidates: Iterable[tuple[int, Row]]
) -> dict[str, Floats]:
    """Return the rows' standardised embeddings of length 1, by id; one shard is read at a time."""
    ids_by_shard: dict[int, list[str]] = {}
    for shard, row in candidates:
        ids_by_shard.setdefault(shard, []).append(row["utterance_id"])
    vectors = {}
    for shard, ids in ids_by_shard.items():
        for batch in source.batches(embedded[shard], "embeddings", ["utterance_id", "embedding"]):
            rows = batch.filter(pc.is_in(batch["utterance_id"], pa.array(ids))).to_pydict()
            for name, embedding in zip(rows["utterance_id"], rows["embedding"], strict=True):
                standard = (np.array(embedding) - np.array(head.mean)) / np.array(head.scale)
                if np.isfinite(standard).all():  # a cosine that is NaN would keep all later rows from being folded
                    vectors[name] = standard / max(float(np.linalg.norm(standard)), 1e-300)
    return vectors
