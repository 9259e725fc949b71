"""The ledger: which shards of a table are done, and how a shard becomes so.

Under one output:

```
embeddings/backbone=<slug>/<fingerprint>-<shard_id>.parquet   one object a table and shard, named by what is in it
_commits/embeddings-<fingerprint>/<shard_id>.json             the marker, written last: the shard is whole
_plans/<plan_id>.json                                         shards as they were first planned
```

Doing a shard again writes the same bytes to the same names. Readers that must not see a shard before its marker
follow the markers; the names keep a shard from standing twice in a glob.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detector.config import digest_of
from detector.errors import ConfigError
from jobs import storage
from jobs.archive import Shard
from jobs.digest import add, rows_digest

ROW_GROUP_ROWS = 4_096
READERS = 16  # small objects are fetched side by side; the store's latency is what counts


@dataclass(frozen=True)
class Marker:
    """What was committed of one shard: objects by table, rows by table, digest over all rows."""

    shard_id: str
    uri: str
    objects: dict[str, str]
    sha256: dict[str, str]
    rows: dict[str, int]
    digest: str
    detail: dict[str, Any]


class Ledger:
    """Commits of one kind under one output.

    Parameters
    ----------
    output : str
        Normal URI of the output.
    kind : str
        `embeddings` or `scores`.
    key : str
        Fingerprint or head id: commits of another key are another ledger.
    """

    def __init__(self, output: str, kind: str, key: str) -> None:
        self.output = output
        self._key = key
        self._folder = storage.join(output, "_commits", f"{kind}-{key}")

    def done(self) -> set[str]:
        """Ids of the shards that are whole. One listing."""
        names = (storage.name_of(stored.uri) for stored in storage.listing(self._folder) or [])
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}

    def commit(
        self,
        shard_id: str,
        uri: str,
        tables: dict[str, tuple[str, pa.Table]],
        detail: dict[str, Any] | None = None,
    ) -> Marker:
        """Write the tables of a shard, then its marker.

        Parameters
        ----------
        shard_id, uri : str
            Of the shard.
        tables : dict
            By table name: its folder below the output, and the rows; a table without rows writes no object.
        detail : dict, optional
            Whatever the run wants to find in the marker again.
        """
        written = {name: (folder, rows) for name, (folder, rows) in tables.items() if len(rows)}
        objects, sha256 = {}, {}
        for name, (folder, rows) in written.items():
            objects[name] = storage.join(folder, f"{self._key}-{shard_id}.parquet")
            content = parquet_bytes(rows)
            sha256[name] = hashlib.sha256(content).hexdigest()
            storage.write_bytes(storage.join(self.output, objects[name]), content)
        marker = Marker(
            shard_id=shard_id,
            uri=uri,
            objects=objects,
            sha256=sha256,
            rows={name: len(rows) for name, (_, rows) in tables.items()},
            digest=add(rows_digest(name, rows) for name, (_, rows) in written.items()),
            detail=detail or {},
        )
        # the marker goes last: where it exists, the shard is whole
        storage.write_bytes(self._marker_uri(shard_id), json.dumps(vars(marker), indent=1, sort_keys=True).encode())
        return marker

    def markers(self, shard_ids: Iterable[str]) -> list[Marker]:
        """Read the markers of committed shards."""
        with ThreadPoolExecutor(READERS) as pool:
            texts = pool.map(storage.read_bytes, map(self._marker_uri, sorted(shard_ids)))
            return [Marker(**json.loads(text)) for text in texts]

    def read_all(self, table: str) -> tuple[list[Marker], list[pa.Table]]:
        """All markers, and the rows of one table of the shards that have any."""
        markers = self.markers(self.done())
        return markers, [rows for marker in markers if (rows := self.read(marker, table)) is not None]

    def read(self, marker: Marker, table: str) -> pa.Table | None:
        """The rows of one table of a committed shard; None where it has none."""
        if table not in marker.objects:
            return None
        return pq.read_table(
            io.BytesIO(storage.read_bytes(storage.join(self.output, marker.objects[table]))), partitioning=None
        )

    def _marker_uri(self, shard_id: str) -> str:
        return storage.join(self._folder, f"{shard_id}.json")


def keys(output: str, kind: str) -> list[str]:
    """Keys of the ledgers of ``kind`` under ``output``."""
    folders = (storage.name_of(stored.uri.rsplit("/", 1)[0]) for stored in _below(output, "_commits"))
    return sorted({folder.removeprefix(f"{kind}-") for folder in folders if folder.startswith(f"{kind}-")})


def only(output: str, kind: str, key: str | None, flag: str) -> Ledger:
    """The one ledger of ``kind`` under ``output``, or that of ``key`` where it holds several.

    Raises
    ------
    ConfigError
        Where there is none, or more than one and no key.
    """
    found = [each for each in keys(output, kind) if key in (None, each)]
    if len(found) != 1:
        raise ConfigError(
            f"{output}: {len(found)} tables of {kind} here ({', '.join(found) or 'none'}); expected one. Give the "
            f"--output of the run that wrote it, and {flag} where it holds several."
        )
    return Ledger(output, kind, found[0])


def known_shards(output: str) -> dict[str, Shard]:
    """Shards of all earlier plans under ``output``, by id."""
    with ThreadPoolExecutor(READERS) as pool:
        texts = pool.map(storage.read_bytes, (stored.uri for stored in _below(output, "_plans")))
        shards = (Shard.from_json(json.dumps(content)) for text in texts for content in json.loads(text))
        return {shard.shard_id: shard for shard in shards}


def remember(output: str, shards: list[Shard]) -> None:
    """Freeze shards that no earlier plan has, before any of them is worked on."""
    if shards:
        content = [json.loads(shard.to_json()) for shard in shards]
        name = f"{digest_of(content)}.json"
        storage.write_bytes(storage.join(output, "_plans", name), json.dumps(content, indent=1).encode())


def parquet_bytes(rows: pa.Table) -> bytes:
    """A Parquet object that SQL engines read; the same rows give the same bytes."""
    file = io.BytesIO()
    text = [field.name for field in rows.schema if field.type == pa.string()]
    pq.write_table(
        rows,
        file,
        compression="zstd",
        use_dictionary=text,
        write_statistics=[field.name for field in rows.schema if not pa.types.is_nested(field.type)],
        row_group_size=ROW_GROUP_ROWS,
    )
    return file.getvalue()


def _below(output: str, folder: str) -> Iterator[storage.Stored]:
    return iter(storage.listing(storage.join(output, folder)) or [])
