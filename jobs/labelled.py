"""Labelled embeddings: the rows of one embedding table that have a label, in memory or block by block."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detector.errors import ConfigError
from detector.groups import Texts
from detector.logistic import Bools, Indices
from detector.schema import BONAFIDE, UNKNOWN
from detector.training import TrainingConfig
from jobs.ledger import Ledger
from jobs.protocol import Marker

log = logging.getLogger(__name__)


class Labelled:
    """Rows of a table to fit on: labelled, long and loud enough for a score. They are read anew for every pass.

    Their order is that of the utterance ids, whatever shards they lie in.

    Parameters
    ----------
    table : Ledger
    labels : pyarrow.Table
        As :func:`jobs.lists.read_labels` gives it.
    config : TrainingConfig
        Rows shorter or quieter than it says have no score, so nothing is learnt from them.
    """

    def __init__(self, table: Ledger, labels: pa.Table, config: TrainingConfig) -> None:
        self._table, self._dim, self._example = table, 0, "none"
        self._markers = table.committed()
        if not self._markers:
            raise ConfigError(f"{table.output}: the embedding table has no rows.")
        self.recipe: dict[str, Any] = self._markers[0].detail["recipe"]
        self.model: str = self._markers[0].detail["model"]
        labels = labels.sort_by("utterance_id")
        places = [self._places(marker, labels["utterance_id"], config) for marker in self._markers]
        found = np.concatenate([each[each >= 0] for each in places])
        if not len(found):
            raise ConfigError(
                f"{table.output}: none of {len(labels)} labelled ids is among its usable embeddings "
                f"(labelled ids look like {labels['utterance_id'][0].as_py() if len(labels) else 'none'!r}, embedded "
                f"ones like {self._example}). Ids must be spelt alike; look at --split, too."
            )
        found.sort()
        # position among the labels that are here, for every row of the table
        position = np.full(len(labels) + 1, -1, dtype=np.int64)
        position[found] = np.arange(len(found))
        self._places_of = [position[each] for each in places]
        self.rows = labels.take(pa.array(found))
        self.n_rows = len(found)
        log.info("%s: %d labelled rows, %d of them embedded and usable", table.name, len(labels), self.n_rows)

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""
        return self._dim

    @property
    def is_bonafide(self) -> Bools:
        """Bool array of shape (n_rows,)."""
        return np.asarray(pc.equal(self.rows["label"], BONAFIDE).to_numpy(zero_copy_only=False), dtype=bool)

    def facts(self, *names: str) -> dict[str, Texts]:
        """Columns of the labels as object arrays of shape (n_rows,); null where not known."""
        return {name: _texts(self.rows[name]) for name in names}

    def ids(self) -> Iterator[str]:
        """Utterance ids."""
        for batch in self.rows.select(["utterance_id"]).to_batches(max_chunksize=10_000):
            yield from batch.column(0).to_pylist()

    def blocks(self) -> Iterator[tuple[Indices, npt.NDArray[np.floating[Any]]]]:
        """Positions and embeddings, float32 of shape (n, dim), a row group at a time."""
        for marker, places in zip(self._markers, self._places_of, strict=True):
            start = 0
            for batch in self._table.batches(marker, "embeddings", ["embedding"]):
                here = places[start : start + len(batch)]
                start += len(batch)
                chosen = batch.column(0).filter(pa.array(here >= 0))
                yield here[here >= 0], chosen.flatten().to_numpy().reshape(len(chosen), self._dim)

    def _places(self, marker: Marker, ids: pa.ChunkedArray, config: TrainingConfig) -> Indices:
        """For every row of a shard, where its id stands among the labels; -1 where not, or where it is not usable."""
        places = [np.empty(0, dtype=np.int64)]
        columns = ["utterance_id", "seconds", "rms_dbfs", "embedding"]
        for batch in self._table.batches(marker, "embeddings", columns):
            self._dim = batch.schema.field("embedding").type.list_size
            self._example = repr(batch["utterance_id"][0].as_py())
            at = pc.index_in(batch["utterance_id"], ids).fill_null(-1).to_numpy().astype(np.int64)
            usable = batch["seconds"].to_numpy() >= config.min_seconds
            usable &= batch["rms_dbfs"].to_numpy() > config.silence_dbfs
            usable &= batch["embedding"].is_valid().to_numpy(zero_copy_only=False)
            places.append(np.where(usable, at, -1))
        return np.concatenate(places)


def _texts(column: pa.ChunkedArray) -> Texts:
    """Texts as objects, of which each value is one object however often it stands there."""
    encoded = column.combine_chunks().dictionary_encode()
    values = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    values[[value in UNKNOWN for value in values]] = None
    return np.asarray(values[encoded.indices.fill_null(-1).to_numpy()], dtype=object)
