"""Markers of an output as a copy remembers them, so that the next `compact` reads only those that are new or changed.

```
_compacted/markers-<ledger>/<digest>.parquet     name and ETag of each marker, and what it says of the shard's objects
```

It is a cache: it may be deleted at any time. A marker counts only if the output lists it with the same ETag. It names
neither recordings nor their sources.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import storage
from jobs.storage import ABSENT
from jobs.tables.compaction.objects import DAMAGED, FOLDER
from jobs.tables.entries import packed
from jobs.tables.names import Packed, place_of, texts
from jobs.tables.protocol import Marker, slot_of_shard

SUFFIX = ".parquet"
WORTH = 1_000  # markers that are not remembered, from which on they are written anew
AT_ONCE = 1_024

_PARTS = pa.list_(
    pa.struct(
        {"table": pa.string(), "object": pa.string(), "sha256": pa.string(), "rows": pa.int64(), "digest": pa.string()}
    )
)
SCHEMA = pa.schema({"name": pa.string(), "tag": pa.string(), "parts": _PARTS})


class Markers(Mapping[str, Marker]):
    """Markers by slot, as a table in memory; each is made when it is asked for, and says nothing but of its objects.

    Parameters
    ----------
    table : pyarrow.Table
        Of :data:`SCHEMA`.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()

    @classmethod
    def of(cls, markers: Iterable[Marker], tags: Mapping[str, str]) -> Markers:
        """Return some markers, with the ETags that they were listed with."""
        batches, rows = [], []
        for marker in markers:
            rows.append({"name": marker.name, "tag": tags[marker.name], "parts": _parts_of(marker)})
            if len(rows) == AT_ONCE:
                batches.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
                rows = []
        return cls(pa.Table.from_batches([*batches, pa.RecordBatch.from_pylist(rows, SCHEMA)], SCHEMA))

    def __getitem__(self, slot: str) -> Marker:
        return _marker_of(self.table.slice(place_of(slot, self._slots, self._order), 1).to_pylist()[0])

    def __iter__(self) -> Iterator[str]:
        return texts(self._slots)

    def __len__(self) -> int:
        return len(self.table)

    def all(self) -> Iterator[Marker]:
        """Yield them, each made anew."""
        for batch in self.table.to_batches(AT_ONCE):
            yield from map(_marker_of, batch.to_pylist())

    def by_plan(self) -> Iterator[Marker]:
        """Yield them in the order of their plans, and of their slots within one, each made anew."""
        numbers = packed(name.rpartition("-")[2] for name in self.names)
        order = np.lexsort((self._slots, numbers))
        for start in range(0, len(order), AT_ONCE):
            yield from map(_marker_of, self.table.take(order[start : start + AT_ONCE]).to_pylist())

    def with_others(self, others: Markers) -> Markers:
        """Return these and others."""
        return Markers(pa.concat_tables([self.table, others.table]))

    def listed(self, tags: Mapping[str, str], names: Iterable[str]) -> Markers:
        """Return those of some names that are listed with the same ETag."""
        wanted = set(names)
        pairs = zip(self.table["name"].to_pylist(), self.table["tag"].to_pylist(), strict=True)
        same = [name in wanted and tags.get(name) == tag for name, tag in pairs]
        return Markers(self.table.filter(pa.array(same, pa.bool_())))

    @cached_property
    def names(self) -> list[str]:
        """Names of the shards."""
        return self.table["name"].to_pylist()  # type: ignore[no-any-return]

    @cached_property
    def _slots(self) -> Packed:
        return packed(map(slot_of_shard, self.names))

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._slots)


def remembered(place: str, ledger: str) -> Markers:
    """Return the markers that a copy remembers of a ledger; none if their object is damaged."""
    for stored in storage.listing(_folder(place, ledger)) or []:
        content = storage.read_bytes(stored.uri)
        if storage.name_of(stored.uri) == _name(content):
            try:
                return Markers(pq.read_table(io.BytesIO(content), schema=SCHEMA))
            except DAMAGED:
                continue
    return Markers(SCHEMA.empty_table())


def remember(place: str, ledger: str, markers: Markers) -> None:
    """Write the markers that a copy is to remember of a ledger, in place of those before."""
    before = storage.listing(_folder(place, ledger)) or []
    buffer = io.BytesIO()
    pq.write_table(markers.table, buffer, compression="zstd")
    content = buffer.getvalue()
    storage.put(storage.join(_folder(place, ledger), _name(content)), content, ABSENT)
    for stored in before:
        if storage.name_of(stored.uri) != _name(content):
            storage.remove(stored.uri)


def is_memory(name: str) -> bool:
    """Return True for the name, below a copy, of an object with markers that it remembers.

    Examples
    --------
    >>> is_memory("_compacted/markers-scores-0123456789abcdef/0123456789abcdef.parquet"), is_memory("_compacted/a.json")
    (True, False)
    """
    return name.startswith(f"{FOLDER}/markers-") and name.endswith(SUFFIX)


def _folder(place: str, ledger: str) -> str:
    return storage.join(place, FOLDER, f"markers-{ledger}")


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16] + SUFFIX


def _parts_of(marker: Marker) -> list[dict[str, object]]:
    return [
        {
            "table": table,
            "object": marker.objects.get(table),
            "sha256": marker.sha256.get(table),
            "rows": rows,
            "digest": marker.digests.get(table),
        }
        for table, rows in marker.rows.items()
    ]


def _marker_of(row: dict[str, object]) -> Marker:
    parts: list[dict[str, object]] = row["parts"]  # type: ignore[assignment]
    objects, sha256, digests = (
        {str(each["table"]): str(each[name]) for each in parts if each["object"] is not None}
        for name in ("object", "sha256", "digest")
    )
    rows = {str(each["table"]): int(str(each["rows"])) for each in parts}
    return Marker(str(row["name"]), "", objects, sha256, rows, digests)
