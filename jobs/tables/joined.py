"""Joined tables: embeddings of the same recordings in several tables of an output, read side by side as one table.

```
table of layer 9    u1 [9 …]   u2 [9 …]  ─┐
                                          ├─ by utterance_id ─►  u1 [9 …, 12 …]   u2 [9 …, 12 …]
table of layer 12   u1 [12 …]  u2 [12 …] ─┘
```
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector.errors import ConfigError, SchemaError
from detector.windows import COLUMNS, stored_windows
from jobs.tables.ledger import Ledger
from jobs.tables.names import Names, texts
from jobs.tables.protocol import Marker, slot_of_shard

EMBED_TOGETHER = "Embed with the other encoder or layer, too; layers of one pass (--layers) are always together"


class JoinedTables(Ledger):
    """The first of several tables, whose rows are read with the embeddings of the others beside their own.

    Parameters
    ----------
    tables : sequence of Ledger
        Of one output: the first has plans and commits, and every shard of it stands in the others, too.
    fingerprint : str
        Of the joined embeddings.

    Raises
    ------
    ConfigError
        If a shard is not in all tables.
    """

    def __init__(self, tables: Sequence[Ledger], fingerprint: str) -> None:
        first, *self.others = tables
        super().__init__(first.output, "embeddings", first.key)
        self._fingerprint = fingerprint
        last = [each.history().last_committed(each.done()) for each in tables]
        self._names = [of_table.names for of_table in last[1:]]
        lacking = {slot for of_table in last[1:] for slot in last[0].slots - of_table.slots}
        if lacking:
            raise ConfigError(
                f"{self.output}: {len(lacking)} of {len(last[0])} shards are not in all {len(tables)} tables that the "
                f"head judges together. {EMBED_TOGETHER}. Loose files that were embedded on different days are "
                f"grouped differently: embed all layers again, into a new --output."
            )

    def read(self, marker: Marker, table: str) -> pa.Table | None:
        """Read embeddings side by side, and failures of any of the tables, each recording once."""
        found = super().read(marker, table)
        if table == "embeddings":
            return found if found is None else self._joined(found, marker)
        parts = [found, *(each.read(its, table) for each, its in self._of_others(marker))]
        failures = _without_repeated([part for part in parts if part is not None])
        return pa.concat_tables(failures) if failures else None

    def batches(self, marker: Marker, table: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield some columns of what :meth:`read` returns; a shard is read whole."""
        found = self.read(marker, table)
        yield from () if found is None else found.select(columns).combine_chunks().to_batches()

    def _joined(self, rows: pa.Table, marker: Marker) -> pa.Table:
        parts = []
        for table, its in self._of_others(marker):
            part, failures = table.read(its, "embeddings"), table.read(its, "failures")
            failed = [] if failures is None else failures["utterance_id"].to_pylist()
            rows = rows.filter(pc.invert(pc.is_in(rows["utterance_id"], pa.array(failed, pa.string()))))
            parts.append(rows.slice(0, 0) if part is None else part)
        return side_by_side([rows, *parts], self._fingerprint, self.output)

    def _of_others(self, marker: Marker) -> list[tuple[Ledger, Marker]]:
        """The same shard in the other tables."""
        slot = slot_of_shard(marker.name)
        return [
            (table, table.marker(_name_of(slot, names))) for table, names in zip(self.others, self._names, strict=True)
        ]


def _name_of(slot: str, names: Names) -> str:
    """Return the name of the shard of a slot, with which it begins; packed, a million of them can be sent to tasks."""
    place = int(np.searchsorted(names.values, np.bytes_(slot.encode())))
    name = next(texts(names.values[place : place + 1]), "")
    if slot_of_shard(name) != slot:
        raise KeyError(slot)
    return name


def side_by_side(tables: Sequence[pa.Table], fingerprint: str, where: str) -> pa.Table:
    """Return rows of the first table, with the embeddings of all; null where one of them has none.

    Parameters
    ----------
    tables : sequence of pyarrow.Table
        Rows of `embeddings` by recipe. The others may have more rows than the first.
    fingerprint : str
        Of the joined embeddings.
    where : str
        For error messages.

    Raises
    ------
    SchemaError
        If a recording is not in all tables, or was another one when it was embedded for one of them.
    """
    first, *others = tables
    ids = first["utterance_id"].combine_chunks()
    columns, aligned = [_matrix(first["embedding"])], []
    for other in others:
        place = pc.index_in(ids, other["utterance_id"].combine_chunks())
        if place.null_count:
            name = ids.filter(place.is_null())[0].as_py()
            raise SchemaError(f"{where}: {name!r} is embedded for one part of the head only. {EMBED_TOGETHER}.")
        beside = other.take(place)
        differ = pc.not_equal(first["audio_sha256"].combine_chunks(), beside["audio_sha256"].combine_chunks())
        if pc.any(differ).as_py():
            name = ids.filter(differ)[0].as_py()
            raise SchemaError(f"{where}: {name!r} has changed between its embeddings. {EMBED_TOGETHER}.")
        columns.append(_matrix(beside["embedding"]))
        aligned.append(beside)
    vectors = np.concatenate([vectors for vectors, _ in columns], axis=1)
    is_null = ~np.logical_and.reduce([valid for _, valid in columns])
    flat = pa.array(vectors.ravel(), pa.float32())
    joined = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=pa.array(is_null))
    rows = first.set_column(first.column_names.index("embedding"), "embedding", joined)
    if others and set(COLUMNS) <= set(rows.column_names):
        rows = _with_windows(rows, [first, *aligned])
    named = pa.array([fingerprint] * len(rows), pa.string())
    return rows.set_column(rows.column_names.index("fingerprint"), "fingerprint", named)


def _with_windows(rows: pa.Table, tables: Sequence[pa.Table]) -> pa.Table:
    """Return rows with the windows of tables in the same order side by side; null where they are not the same ones."""
    found = [{windows.row: windows for windows in stored_windows(table)} for table in tables]
    vectors: list[np.ndarray | None] = [None] * len(rows)
    for row in set(found[0]).intersection(*found[1:]):
        parts = [each[row] for each in found]
        if all(np.array_equal(part.end_seconds, parts[0].end_seconds) for part in parts):
            vectors[row] = np.concatenate([part.vectors for part in parts], axis=1).reshape(-1)
    is_null = pa.array([each is None for each in vectors], pa.bool_())
    for name in COLUMNS:
        field = rows.schema.field(name)
        values = pa.array(vectors, field.type) if name == COLUMNS[-1] else rows[name]
        kept = pc.if_else(is_null, pa.scalar(None, field.type), values)
        rows = rows.set_column(rows.schema.get_field_index(name), field, kept)
    return rows


def _matrix(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings as a float32 array of shape (n, dim), zeros for nulls; and a bool array that is False for nulls."""
    array = column.combine_chunks()
    valid = np.asarray(array.is_valid())
    vectors = np.zeros((len(array), array.type.list_size), dtype=np.float32)
    vectors[valid] = array.drop_null().flatten().to_numpy().reshape(-1, array.type.list_size)
    return vectors, valid


def _without_repeated(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Drop rows of recordings that an earlier table has."""
    seen: set[str] = set()
    kept = []
    for table in tables:
        ids = table["utterance_id"].to_pylist()
        kept.append(table.filter(pa.array([each not in seen for each in ids], pa.bool_())))
        seen.update(ids)
    return kept
