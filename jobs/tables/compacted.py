"""The compacted copy: what stands in it, and whose rows each of its objects holds.

```
embeddings/backbone=<slug>/<fingerprint>-000001.parquet            a fold: rows of many shards, in their plans' order
_compacted/embeddings/backbone=<slug>/<fingerprint>-000001.json    its manifest, written when it was read back
```

A fold says in its footer which shards it holds, so rows and what is known of them change in one PUT. It is written
once: a later night's rows make a new one. Only where rows of its shards were replaced or erased is it written anew.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import SchemaError
from jobs import storage
from jobs.errors import RunAgain
from jobs.storage import ABSENT, NotFoundError, Stored
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.ledger import READERS
from jobs.tables.row_digest import add, rows_digest
from jobs.telemetry.progress import progress
from jobs.verbs.gc import TABLES

FOLDER = "_compacted"
FOLD = b"bonafide.fold"
REMEDY = "Remove it; `compact` then makes anew what is missing."
AGAIN = "run `compact` again"
DAMAGED = (pa.ArrowException, OSError, KeyError, ValueError)  # what reading such an object ends with


@dataclass(frozen=True)
class RowRange:
    """The rows of one shard in a fold.

    Parameters
    ----------
    shard : str
        :attr:`jobs.tables.protocol.PlannedShard.name`.
    sha256 : str
        Of the shard's own object, by its marker.
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
        """Of the shard, in whatever state."""
        return self.shard.rpartition("-")[0]


@dataclass(frozen=True)
class CompactedObject:
    """One object of a copy, as it is meant to be.

    Parameters
    ----------
    name : str
        Of the object, below the copy.
    output : str
        Whose copy it is.
    ledger : str
        `embeddings-<fingerprint>` or `scores-<head_id>`.
    table : str
        `embeddings`, `scores` or `failures`.
    shares : tuple of Share
        In the order of their rows.
    """

    name: str
    output: str
    ledger: str
    table: str
    shares: tuple[RowRange, ...]

    @property
    def rows(self) -> int:
        """How many it holds."""
        return sum(share.rows for share in self.shares)

    @property
    def digest(self) -> str:
        """Of all its rows."""
        return add(share.digest for share in self.shares)

    def to_content(self) -> dict[str, Any]:
        """As footer and manifest have it."""
        shares = [[each.shard, each.sha256, each.rows, each.digest] for each in self.shares]
        return {"name": self.name, "output": self.output, "ledger": self.ledger, "table": self.table, "shares": shares}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> CompactedObject:
        """The fold that :meth:`to_content` wrote."""
        known = {name: content[name] for name in ("name", "output", "ledger", "table")}
        return cls(**known, shares=tuple(RowRange(*each) for each in content["shares"]))


@dataclass(frozen=True)
class ProvenObject:
    """A fold as it stands; with the SHA-256 of its manifest, where it was read back since it was written."""

    fold: CompactedObject
    stored: Stored
    sha256: str = ""

    @property
    def proven(self) -> bool:
        """Whether all of its rows were read back, and were right."""
        return bool(self.sha256)


@dataclass(frozen=True)
class Manifest:
    """What was read back of a fold: the very bytes, and that they hold the rows of its shards.

    Parameters
    ----------
    fold : CompactedObject
    etag, size : str, int
        Of the object, by the store.
    sha256 : str
        Of its bytes.
    tag : str
        Of the manifest itself, where it was read from a store.
    """

    fold: CompactedObject
    etag: str
    size: int
    sha256: str
    tag: str = ABSENT

    def to_json(self) -> bytes:
        """As it is stored."""
        return dump_checksummed(self.fold.to_content() | {"etag": self.etag, "bytes": self.size, "sha256": self.sha256})

    @classmethod
    def read(cls, stored: Stored) -> Manifest:
        """The manifest that :meth:`to_json` wrote; SchemaError where it is damaged."""
        content = load_checksummed(storage.read_bytes(stored.uri), stored.uri)
        return cls(
            CompactedObject.from_content(content), content["etag"], content["bytes"], content["sha256"], stored.etag
        )


class CompactedCopy:
    """The folds in one place.

    Parameters
    ----------
    place : str
        Normal URI of the copy.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._tags: dict[str, str] = {}  # of manifests, by the name of their fold

    def look(self) -> dict[str, ProvenObject]:
        """Folds that stand, by name. Manifests are read, and the footers of those that no manifest is right about.

        Raises
        ------
        SchemaError
            Where an object among the tables is no fold, or a manifest is damaged.
        """
        objects = objects_in(self.place)
        listed = storage.listing(storage.join(self.place, FOLDER)) or []
        with ThreadPoolExecutor(READERS) as pool:
            manifests = {each.fold.name: each for each in pool.map(Manifest.read, listed)}
            self._tags = {name: each.tag for name, each in manifests.items()}
            found = list(pool.map(lambda stored: self._standing(stored, manifests), objects))
        return {each.fold.name: each for each in found}

    def still(self, standing: dict[str, ProvenObject]) -> bool:
        """Whether these folds, and no others, stand as they were seen. A listing for each table."""
        return sorted(each.stored for each in standing.values()) == sorted(objects_in(self.place))

    def forget(self, standing: dict[str, ProvenObject]) -> None:
        """Remove manifests without an object; to be asked once all rows are proven to stand elsewhere."""
        lost = {
            storage.join(self.place, manifest_name(name)): tag
            for name, tag in self._tags.items()
            if name not in standing
        }
        for stored in storage.listing(storage.join(self.place, FOLDER)) or [] if lost else []:
            if lost.get(stored.uri) == stored.etag:  # or somebody has put new rows there
                storage.remove(stored.uri)

    def prove(self, fold: CompactedObject, sha256: str | None = None, seen: Stored | None = None) -> ProvenObject:
        """Read a fold back, hold all of its rows against the digests of its shards, and write its manifest.

        Parameters
        ----------
        fold : CompactedObject
        sha256 : str, optional
            Of the bytes that were sent, where that was just now.
        seen : Stored, optional
            The object of which the fold was read, where that was before.

        Raises
        ------
        SchemaError
            Where other rows stand there.
        RunAgain
            Where somebody writes there at the same time.
        """
        uri = storage.join(self.place, fold.name)
        before = storage.stat(uri)
        if seen is not None and before != seen:
            raise RunAgain(f"{uri}: another command wrote it; run the same command again.")
        content = b"" if before is None else storage.read_bytes(uri)
        found = hashlib.sha256(content).hexdigest()
        if before is None or before != storage.stat(uri) or sha256 not in (None, found):
            raise RunAgain(f"{uri}: another command writes it; run the same command again.")
        if wrong := difference(fold, content):
            raise SchemaError(f"{uri}: {wrong}. {REMEDY}")
        proof = Manifest(fold, before.etag, before.size, found)
        uri = storage.join(self.place, manifest_name(fold.name))
        if storage.put(uri, proof.to_json(), self._tags.get(fold.name, ABSENT)) is not None:
            raise RunAgain(f"{uri}: another command writes it; run the same command again.")
        return ProvenObject(fold, before, found)

    def _standing(self, stored: Stored, manifests: dict[str, Manifest]) -> ProvenObject:
        name = stored.uri.removeprefix(f"{self.place}/")
        if name in manifests and manifests[name].etag == stored.etag:
            return ProvenObject(manifests[name].fold, stored, manifests[name].sha256)
        with storage.opened(stored) as file:
            fold = compacted_object_of(file)
            file.raise_trouble()
        if fold is None or fold.name != name:
            raise SchemaError(f"{stored.uri}: is damaged, or was not put there by `compact`. {REMEDY}")
        return ProvenObject(fold, stored)


def manifest_name(fold: str) -> str:
    """Where the manifest of a fold stands, below the copy.

    Examples
    --------
    >>> manifest_name("scores/run_date=2026-11-22/ab-000001.parquet")
    '_compacted/scores/run_date=2026-11-22/ab-000001.json'
    """
    return f"{FOLDER}/{fold.removesuffix('.parquet')}.json"


def compacted_object_of(file: Any) -> CompactedObject | None:
    """What an object says of itself in its footer; None where it is none of ours.

    Arrow says OSError of a damaged footer, too: whoever gives a file of a store then asks it for its own troubles.
    """
    try:
        return CompactedObject.from_content(load_checksummed(pq.read_metadata(file).metadata[FOLD], "footer"))
    except (*DAMAGED, SchemaError, TypeError):
        return None


def difference(fold: CompactedObject, content: bytes) -> str | None:
    """How the bytes of an object are not the fold that they should be; None where they are."""
    found = compacted_object_of(io.BytesIO(content))
    if found is None:
        return "is damaged: its footer cannot be read"
    if found != fold:
        return "holds other shards than was expected"
    try:
        file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
        groups = (file.read_row_group(number) for number in range(file.num_row_groups))
        digest = add(rows_digest(fold.table, rows) for rows in groups)
    except DAMAGED as error:
        return f"is damaged: {error}"
    if digest != fold.digest:
        return f"the digest of its rows is {digest}, that of its shards {fold.digest}"
    return None


def is_copy(place: str) -> bool:
    """Whether ``place`` holds a compacted copy."""
    return bool(storage.listing(storage.join(place, FOLDER)))


def copied(place: str) -> str:
    """Whose copy stands in ``place``, by its manifests: its objects may be gone."""
    manifests = map(Manifest.read, storage.listing(storage.join(place, FOLDER)) or [])
    return next((each.fold.output for each in manifests), "an output")


def check(place: str) -> tuple[list[Manifest], list[str]]:
    """Hold a whole copy against its manifests; return these, and what differs."""
    manifests = [Manifest.read(stored) for stored in storage.listing(storage.join(place, FOLDER)) or []]
    wrong = []
    with progress("verify the copy", len(manifests)) as shown:
        for manifest in manifests:
            wrong += _differs(storage.join(place, manifest.fold.name), manifest)
            shown.shard(manifest.fold.rows)
    known = {storage.join(place, manifest.fold.name) for manifest in manifests}
    wrong += [
        f"{each.uri}: stands, and no manifest knows it; {AGAIN}" for each in objects_in(place) if each.uri not in known
    ]
    return manifests, wrong + repeated_rows(manifest.fold for manifest in manifests)


def repeated_rows(folds: Iterable[CompactedObject]) -> list[str]:
    """Shards whose rows stand in more than one fold of a table."""
    places: dict[tuple[str, str], list[str]] = {}
    for fold in folds:
        for share in fold.shares:
            places.setdefault((fold.table, share.slot), []).append(fold.name)
    return [
        f"{names[0]}: rows of shard {slot} stand in {names[1]}, too" for (_, slot), names in places.items() if names[1:]
    ]


def objects_in(place: str) -> list[Stored]:
    """All that a glob over the tables finds."""
    return [each for name in TABLES for each in storage.listing(storage.join(place, name)) or []]


def _differs(uri: str, manifest: Manifest) -> list[str]:
    try:
        content = storage.read_bytes(uri)
    except NotFoundError:
        return [f"{uri}: is gone; it held {manifest.fold.rows} rows; {AGAIN}"]
    sha256 = hashlib.sha256(content).hexdigest()
    wrong = difference(manifest.fold, content)
    if sha256 != manifest.sha256:
        return [f"{uri}: SHA-256 {sha256}, in its manifest {manifest.sha256}; it {wrong or 'has the same rows'}"]
    return [f"{uri}: {wrong}"] if wrong else []
