"""Labelled embeddings: the rows of embedding tables that have a label, in memory or block by block.

What is held of a label is a digest of its id, its class, and numbers for its names: 21 bytes a row, whatever ids and
names look like. Texts are read again where somebody is to see them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from detector.errors import ConfigError, SchemaError
from detector.groups import Codes, Names, looked_up
from detector.logistic import Bools
from detector.schema import BONAFIDE, UNKNOWN
from detector.training.config import TrainingConfig
from detector.windows import COLUMNS as WINDOW_COLUMNS
from detector.windows import stored_windows
from jobs.inputs.labels import label_tables
from jobs.inputs.suffix_matches import match_by_suffix, suggestion
from jobs.inputs.utterance_ids import refuse_repeated
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker

log = logging.getLogger(__name__)

NAMES = ("system", "speaker", "source")
Digests = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Labels:
    """What a list says of utterances, in the order of the digests of their ids.

    Parameters
    ----------
    uri : str
        Where it stands.
    digest : uint64 array of shape (n,)
        First eight bytes of the SHA-256 of each id; rising, no two alike.
    is_bonafide : bool array of shape (n,)
    names : dict
        `system`, `speaker` and `source`.
    renamed : mapping
        Other ids that some ids have in the tables: see :func:`renamed_for`.
    """

    uri: str
    digest: Digests
    is_bonafide: Bools
    names: dict[str, Names]
    renamed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, uri: str, split: str | None = None, renamed: Mapping[str, str] | None = None) -> Labels:
        """Read a list; only the rows of a split, where one is given and the list knows splits at all.

        Raises
        ------
        SchemaError
            As :func:`jobs.inputs.lists.read_labels`.
        """
        digests, is_bonafide = [], []
        columns = {name: _Column() for name in (*NAMES, "split")}
        for table in label_tables(uri, renamed):
            digests.append(_digests(table["utterance_id"], uri))
            is_bonafide.append(pc.equal(table["label"], BONAFIDE).to_numpy(zero_copy_only=False).astype(bool))
            for name, column in columns.items():
                column.add(table[name])
        digest = _joined(digests)
        order = np.argsort(digest)
        digest = digest[order]
        _refuse_repeated(digest[1:][digest[1:] == digest[:-1]], uri, renamed)
        splits = columns.pop("split").names()
        if split is not None and len(splits.words):
            number = splits.words.index(split) if split in splits.words else -2
            kept = splits.code[order] == number
            digest, order = digest[kept], order[kept]
        del splits
        names = {name: column.names()[order] for name, column in columns.items()}
        return cls(uri, digest, _joined(is_bonafide)[order], names, renamed or {})

    def __len__(self) -> int:
        return len(self.digest)

    def __getitem__(self, rows: Bools) -> Labels:
        """Some of the rows."""
        names = {name: column[rows] for name, column in self.names.items()}
        return replace(self, digest=self.digest[rows], is_bonafide=self.is_bonafide[rows], names=names)

    def find(self, ids: pa.Array) -> Codes:
        """Where each id stands, -1 where it does not: int32 of shape (len(ids),)."""
        wanted = _digests(ids, self.uri)
        at = np.searchsorted(self.digest, wanted)
        there = at < len(self)
        there[there] = self.digest[at[there]] == wanted[there]
        return np.where(there, at, -1).astype(np.int32)

    def texts(self, places: Iterable[int]) -> list[dict[str, Any]]:
        """Read the list again for all that it says of some rows."""
        digests = [int(self.digest[place]) for place in places]
        found: dict[int, dict[str, Any]] = {}
        for table in label_tables(self.uri, self.renamed):
            here = np.flatnonzero(np.isin(_digests(table["utterance_id"], self.uri), digests))
            found |= {_digest(row["utterance_id"]): row for row in table.take(here).to_pylist()}
        return [found[digest] for digest in digests]

    def example(self) -> str:
        """How an id looks there, in quotes."""
        table = next((table for table in label_tables(self.uri) if len(table)), None)
        return "none" if table is None else repr(table["utterance_id"][0].as_py())


class Labelled:
    """Rows of tables to fit on: labelled, long and loud enough for a score. They are read anew for every pass.

    Their order is that of the digests of their ids, whatever shards they lie in. `seconds` has their lengths, float32
    of shape (n_rows,).

    Parameters
    ----------
    tables : sequence of Ledger
        Of one recipe, each under its output.
    labels : Labels
    config : TrainingConfig
        Rows shorter or quieter than it says have no score, so nothing is learnt from them.
    """

    def __init__(self, tables: Sequence[Ledger], labels: Labels, config: TrainingConfig) -> None:
        self._dim, self._example = 0, "none"
        self._shards = [(table, marker) for table in tables for marker in table.committed()]
        where = ", ".join(table.output for table in tables)
        if not self._shards:
            raise ConfigError(f"{where}: the embedding table has no rows.")
        _, first = self._shards[0]
        self.recipe: dict[str, Any] = first.detail["recipe"]
        self.model: str = first.detail["model"]
        # where each row of the tables stands among the labels; -1 where it does not, or is not usable
        found = [self._places_of(table, marker, labels, config) for table, marker in self._shards]
        self._places = [places for places, _ in found]
        here, n_found = np.zeros(len(labels), dtype=bool), 0
        for places in self._places:
            here[places[places >= 0]] = True
            n_found += int(np.count_nonzero(places >= 0))
        if not n_found:
            raise ConfigError(
                f"{where}: none of {len(labels)} labelled ids is among its usable embeddings "
                f"(labelled ids look like {labels.example()}, embedded ones like {self._example}). Ids must be spelt "
                f"alike; look at --split, too.{'' if labels.renamed else _suggestion(labels.uri, tables)}"
            )
        self.labels = labels
        if not here.all():
            among = np.append(np.cumsum(here, dtype=np.int32) - 1, np.int32(-1))
            self._places = [looked_up(among, places) for places in self._places]
            self.labels = labels[here]
        if n_found > len(self.labels):
            raise SchemaError(
                f"{where}: {n_found - len(self.labels)} labelled id(s) have more than one embedding in table "
                f"{tables[0].name}. Ids are unique: embed again into a new --output."
            )
        self.seconds = np.zeros(self.n_rows, dtype=np.float32)
        for places, (_, seconds) in zip(self._places, found, strict=True):
            self.seconds[places[places >= 0]] = seconds[places >= 0]
        log.info("%s: %d labelled rows, %d of them embedded and usable", tables[0].name, len(labels), self.n_rows)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""
        return self._dim

    @property
    def is_bonafide(self) -> Bools:
        """Bool array of shape (n_rows,)."""
        return self.labels.is_bonafide

    @property
    def names(self) -> dict[str, Names]:
        """`system`, `speaker` and `source` of the rows."""
        return self.labels.names

    @property
    def outputs(self) -> Names:
        """The output that each row is embedded in."""
        words = tuple(dict.fromkeys(table.output for table, _ in self._shards))
        code = np.zeros(self.n_rows, dtype=np.min_scalar_type(-1 - len(words)))
        for (table, _), places in zip(self._shards, self._places, strict=True):
            code[places[places >= 0]] = words.index(table.output)
        return Names(code, words)

    def blocks(self) -> Iterator[tuple[Codes, npt.NDArray[np.floating[Any]]]]:
        """Positions and embeddings, float32 of shape (n, dim), a row group at a time."""
        for (table, marker), places in zip(self._shards, self._places, strict=True):
            start = 0
            for batch in table.batches(marker, "embeddings", ["embedding"]):
                here = places[start : start + len(batch)]
                start += len(batch)
                chosen = batch.column(0).filter(pa.array(here >= 0))
                yield here[here >= 0], chosen.flatten().to_numpy().reshape(len(chosen), self._dim)

    def windows(self, silence_dbfs: float) -> Iterator[tuple[int, npt.NDArray[Any], npt.NDArray[Any]]]:
        """Yield position, embedding and windows, float64 of shape (n_windows, dim), of each row with windows.

        Windows as quiet as ``silence_dbfs`` or quieter are left out.
        """
        for (table, marker), places in zip(self._shards, self._places, strict=True):
            start = 0
            for batch in table.batches(marker, "embeddings", ["embedding", "seconds", *WINDOW_COLUMNS]):
                here = places[start : start + len(batch)]
                start += len(batch)
                for found in stored_windows(batch):
                    if here[found.row] >= 0:
                        embedding = batch["embedding"][found.row].values.to_numpy().astype(np.float64)
                        heard = found.vectors[found.levels > silence_dbfs].astype(np.float64)
                        yield int(here[found.row]), embedding, heard

    def _places_of(
        self, table: Ledger, marker: Marker, labels: Labels, config: TrainingConfig
    ) -> tuple[Codes, npt.NDArray[np.float32]]:
        """For every row of a shard, where its id stands among the labels, and how long it is.

        The place is -1 where the id does not stand there, or the row is not usable.
        """
        places, lengths = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.float32)]
        columns = ["utterance_id", "seconds", "rms_dbfs", "embedding"]
        for batch in table.batches(marker, "embeddings", columns):
            self._dim = batch.schema.field("embedding").type.list_size
            self._example = repr(batch["utterance_id"][0].as_py())
            seconds = batch["seconds"].to_numpy()
            usable = seconds >= config.min_seconds
            usable &= batch["rms_dbfs"].to_numpy() > config.silence_dbfs
            usable &= batch["embedding"].is_valid().to_numpy(zero_copy_only=False)
            places.append(np.where(usable, labels.find(batch["utterance_id"]), np.int32(-1)))
            lengths.append(seconds.astype(np.float32))
        return np.concatenate(places), np.concatenate(lengths)


def renamed_for(uri: str, tables: Sequence[Ledger], match: str) -> dict[str, str]:
    """Return the ids that labels are to have instead of their own: none, unless they are matched by suffix."""
    return match_by_suffix(_label_ids(uri), _ids_in(tables), uri) if match == "suffix" else {}


def _suggestion(uri: str, tables: Sequence[Ledger]) -> str:
    return suggestion(_label_ids(uri), _ids_in(tables))


def _label_ids(uri: str) -> Iterator[str]:
    return (name for table in label_tables(uri) for name in table["utterance_id"].drop_null().to_pylist())


def _ids_in(tables: Sequence[Ledger]) -> Iterator[str]:
    """Yield the ids of embeddings, and of failures, whose labels are those of no other recording."""
    for table in tables:
        for marker in table.committed():
            for name in marker.objects:
                for batch in table.batches(marker, name, ["utterance_id"]):
                    yield from batch["utterance_id"].to_pylist()


def refuse_shared_audio(
    tables: Sequence[Ledger], uri: str, split: str, renamed: Mapping[str, str] | None = None
) -> None:
    """Refuse recordings that stand under several ids, by the bytes: what is fitted on must not come back in a test.

    Parameters
    ----------
    tables : sequence of Ledger
    uri : str
        The list of labels.
    split : str
        The one to fit on.
    renamed : mapping, optional
        Of :func:`renamed_for`.

    Raises
    ------
    ConfigError
        Where the bytes of a recording of ``split`` stand in another split as well, or with the other label.
    """
    labels, fitted = Labels.read(uri, None, renamed), Labels.read(uri, split, renamed)
    is_fitted = np.isin(labels.digest, fitted.digest)
    digest, place = _audio_of(tables, labels)
    for values, what in ((labels.is_bonafide, "both labels"), (is_fitted, "several splits")):
        # the same bytes side by side, and the two kinds of them apart
        order = np.lexsort((values[place], digest))
        odd = (digest[order][1:] == digest[order][:-1]) & (values[place][order][1:] != values[place][order][:-1])
        if odd.any():
            first = int(np.flatnonzero(odd)[0])
            names = sorted(row["utterance_id"] for row in labels.texts(place[order][first : first + 2]))
            raise ConfigError(
                f"{np.count_nonzero(odd)} recording(s) stand in {what}, byte for byte, first {names[0]!r} and "
                f"{names[1]!r}. Keep one of each: else what is measured was learnt by heart."
            )


def _audio_of(tables: Sequence[Ledger], labels: Labels) -> tuple[Digests, Codes]:
    """What tells each labelled recording's bytes from others', and where it stands among the labels."""
    digests, places = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
    for table in tables:
        for marker in table.committed():
            for batch in table.batches(marker, "embeddings", ["utterance_id", "audio_sha256"]):
                place = labels.find(batch["utterance_id"])
                digests.append(_digests(batch["audio_sha256"].filter(pa.array(place >= 0)), table.output))
                places.append(place[place >= 0])
    return _joined(digests), _joined(places)


class _Column:
    """Names as they come, some rows at a time."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._codes: list[Codes] = []

    def add(self, texts: pa.ChunkedArray) -> None:
        """Number the names of more rows."""
        encoded = texts.combine_chunks().dictionary_encode()
        words = encoded.dictionary.to_pylist()
        numbers = [-1 if word in UNKNOWN else self._numbers.setdefault(word, len(self._numbers)) for word in words]
        narrow = np.min_scalar_type(-1 - len(self._numbers))
        self._codes.append(np.array([*numbers, -1], dtype=narrow)[encoded.indices.fill_null(-1).to_numpy()])

    def names(self) -> Names:
        """The column; what it was made of is forgotten."""
        return Names.in_order(_joined(self._codes), tuple(self._numbers))


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Arrays one after another; the list is emptied, so that they are not held twice for longer than it takes."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def _digests(ids: pa.Array | pa.ChunkedArray, where: str) -> Digests:
    if ids.null_count:
        raise SchemaError(f"{where}: {ids.null_count} labelled row(s) have no utterance_id. Drop them, or name them.")
    return np.fromiter((_digest(name) for name in ids.to_pylist()), np.uint64, len(ids))


def _refuse_repeated(digests: Digests, uri: str, renamed: Mapping[str, str] | None) -> None:
    """Raise where ids of the list have these digests: they stand twice, or else eight bytes are not enough."""
    if not len(digests):
        return
    ids = pa.chunked_array(
        [pa.array([], pa.string())]
        + [
            table["utterance_id"]
            .filter(pa.array(np.isin(_digests(table["utterance_id"], uri), digests)))
            .combine_chunks()
            for table in label_tables(uri, renamed)
        ]
    )
    refuse_repeated(ids, uri)
    raise SchemaError(f"{uri}: ids {ids.to_pylist()[:2]} have one digest of 64 bits between them. Rename one of them.")
