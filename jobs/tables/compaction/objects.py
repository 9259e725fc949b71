"""Compacted objects: Parquet objects that hold the rows of many shards, and list these shards in their footer.

```
embeddings/backbone=<slug>/<fingerprint>-000001.parquet            rows of many shards, in the order of their plans
_compacted/embeddings/backbone=<slug>/<fingerprint>-000001.json    its manifest, written when the object was read back
```

Rows and footer change in one PUT, so they never contradict each other. An object is written once; the rows of a later
run go into a new one. It is rewritten only if rows of its shards were replaced or erased.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import SchemaError
from jobs import storage
from jobs.storage import ABSENT, Stored
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.format import FORMAT, NEW_COPY, check_format
from jobs.tables.protocol import slot_of_shard
from jobs.tables.row_digest import add, rows_digest

FOLDER = "_compacted"
FOOTER_KEY = b"bonafide.fold"
REMEDY = "Remove it; `compact` then makes anew what is missing."
DAMAGED = (pa.ArrowException, OSError, KeyError, ValueError)  # what Arrow raises for a damaged object


@dataclass(frozen=True)
class RowRange:
    """The rows of one shard within a compacted object.

    Parameters
    ----------
    shard : str
        :attr:`jobs.tables.protocol.PlannedShard.name`.
    sha256 : str
        Of the shard's own object, from its marker.
    rows : int
    digest : str
        Order-free digest of the rows: :mod:`jobs.tables.row_digest`.
    """

    shard: str
    sha256: str
    rows: int
    digest: str

    @property
    def slot(self) -> str:
        """Slot of the shard, the same for all of its states."""
        return slot_of_shard(self.shard)


@dataclass(frozen=True)
class CompactedObject:
    """The intended content of one object of a copy.

    Parameters
    ----------
    name : str
        Name of the object below the copy.
    output : str
        URI of the output that is copied.
    ledger : str
        `embeddings-<fingerprint>` or `scores-<head_id>`.
    table : str
        `embeddings`, `scores` or `failures`.
    ranges : tuple of RowRange
        In the order of their rows.
    """

    name: str
    output: str
    ledger: str
    table: str
    ranges: tuple[RowRange, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(each.rows for each in self.ranges)

    @property
    def digest(self) -> str:
        """Digest of all rows."""
        return add(each.digest for each in self.ranges)

    def to_content(self) -> dict[str, Any]:
        """Return what footer and manifest store."""
        shares = [[each.shard, each.sha256, each.rows, each.digest] for each in self.ranges]
        names = {"name": self.name, "output": self.output, "ledger": self.ledger, "table": self.table}
        return {"format": FORMAT, **names, "shares": shares}

    @classmethod
    def from_content(cls, content: dict[str, Any], where: str) -> CompactedObject:
        """Return the object that :meth:`to_content` stored; SchemaError if it is of another format."""
        check_format(content, where, NEW_COPY)
        fields = {name: content[name] for name in ("name", "output", "ledger", "table")}
        return cls(**fields, ranges=tuple(RowRange(*each) for each in content["shares"]))


@dataclass(frozen=True)
class Manifest:
    """The record of a compacted object that was read back: its exact bytes, and that they hold the rows of its shards.

    Parameters
    ----------
    compacted : CompactedObject
    etag, size : str, int
        ETag and bytes of the object in the store.
    sha256 : str
        Of the object's bytes.
    tag : str
        ETag of the manifest itself, if it was read from a store.
    """

    compacted: CompactedObject
    etag: str
    size: int
    sha256: str
    tag: str = ABSENT

    def to_json(self) -> bytes:
        """Return the manifest as it is stored."""
        about = {"etag": self.etag, "bytes": self.size, "sha256": self.sha256}
        return dump_checksummed(self.compacted.to_content() | about)

    @classmethod
    def read(cls, stored: Stored) -> Manifest:
        """Read the manifest that :meth:`to_json` stored; SchemaError if it is damaged."""
        content = load_checksummed(storage.read_bytes(stored.uri), stored.uri)
        compacted = CompactedObject.from_content(content, stored.uri)
        return cls(compacted, content["etag"], content["bytes"], content["sha256"], stored.etag)


@dataclass(frozen=True)
class CopiedObject:
    """An object as it is in a copy, with the SHA-256 from its manifest if it was read back since it was written."""

    compacted: CompactedObject
    stored: Stored
    sha256: str = ""

    @property
    def proven(self) -> bool:
        """True if all of its rows were read back and were right."""
        return bool(self.sha256)


def manifest_name(name: str) -> str:
    """Return the name of an object's manifest, below the copy.

    Examples
    --------
    >>> manifest_name("scores/run_date=2026-11-22/ab-000001.parquet")
    '_compacted/scores/run_date=2026-11-22/ab-000001.json'
    """
    return f"{FOLDER}/{name.removesuffix('.parquet')}.json"


def read_footer(file: Any, name: str) -> CompactedObject | None:
    """Return what an object says of itself in its footer; None if `compact` did not write it, or it is damaged.

    Arrow raises OSError both for a damaged footer and for an error of the file. So a caller that passes a
    :class:`jobs.storage.StoredFile` must call its `raise_trouble` afterwards.

    Raises
    ------
    SchemaError
        If the object is of another format version; it is not damaged.
    """
    try:
        content = load_checksummed(pq.read_metadata(file).metadata[FOOTER_KEY], name)
    except (*DAMAGED, SchemaError, TypeError):
        return None
    return CompactedObject.from_content(content, name)


def difference(expected: CompactedObject, content: bytes) -> str | None:
    """Return how the bytes of an object differ from what was expected; None if they don't."""
    found = read_footer(io.BytesIO(content), expected.name)
    if found is None:
        return "is damaged: its footer cannot be read"
    if found != expected:
        return "holds other shards than was expected"
    try:
        file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
        groups = (file.read_row_group(number) for number in range(file.num_row_groups))
        digest = add(rows_digest(expected.table, rows) for rows in groups)
    except DAMAGED as error:
        return f"is damaged: {error}"
    if digest != expected.digest:
        return f"the digest of its rows is {digest}, that of its shards {expected.digest}"
    return None


def repeated_rows(objects: list[CompactedObject]) -> list[str]:
    """Return a message for each shard of a ledger whose rows are in more than one object of a table.

    Ledgers share slots, as these follow from the names of the sources alone: every head scores the same shards.
    """
    places: dict[tuple[str, str, str], list[str]] = {}
    for each in objects:
        for row_range in each.ranges:
            places.setdefault((each.ledger, each.table, row_range.slot), []).append(each.name)
    return [
        f"{names[0]}: rows of shard {slot} of {ledger} are in {names[1]}, too"
        for (ledger, _, slot), names in places.items()
        if names[1:]
    ]
