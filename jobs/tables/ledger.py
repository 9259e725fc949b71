"""The ledger: what is planned and done of one table under one output; :mod:`jobs.tables.protocol` on a real store.

```
embeddings/backbone=<slug>/<fingerprint>-<slot>.parquet   one object a table and shard, always under the same name
_plans/embeddings-<fingerprint>/000001.json               shards as they were planned, in order
_commits/embeddings-<fingerprint>/<slot>-000001.json      the marker, written last: the shard is whole
```
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.errors import RunAgain
from jobs.tables.protocol import (
    Answer,
    Get,
    List,
    Marker,
    Plan,
    PlanHistory,
    PlannedShard,
    Protocol,
    Put,
    Steps,
    TablePart,
)
from jobs.tables.row_digest import add, rows_digest

KINDS = ("embeddings", "scores")
ROW_GROUP_ROWS = 4_096
READERS = 16  # small objects are fetched side by side; the store's latency is what counts
OF, DIGEST = b"bonafide.of", b"bonafide.digest"
ERASED = b"bonafide.erased"  # rows were taken out after the commit


class Ledger:
    """Plans and commits of one kind under one output.

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
        self.name = f"{kind}-{key}"
        self.key = key
        self._protocol = Protocol(self.name, part_of)

    def history(self) -> PlanHistory:
        """All plans."""
        return self._run(self._protocol.read())

    def freeze(self, propose: Callable[[PlanHistory], Plan | None]) -> PlanHistory:
        """Plan what is new; see :meth:`jobs.tables.protocol.Protocol.freeze`."""
        return self._run(self._protocol.freeze(propose))

    def done(self) -> set[str]:
        """Names of what is committed, also of states that were replaced since. One listing."""
        return self._run(self._protocol.done())

    def tags(self) -> dict[str, str]:
        """Tags of the markers of what is :meth:`done`, by its names: `erase` writes markers anew. One listing."""
        listed = storage.listing(storage.join(self.output, self._protocol.commits_folder)) or []
        named = {storage.name_of(stored.uri): stored.etag for stored in listed}
        return {name.removesuffix(".json"): tag for name, tag in named.items() if name.endswith(".json")}

    def commit(
        self,
        shard: PlannedShard,
        uri: str,
        tables: dict[str, tuple[str, pa.Table]],
        detail: dict[str, Any] | None = None,
    ) -> Marker | None:
        """Write the tables of a shard, then its marker; None where the shard was replaced meanwhile.

        Parameters
        ----------
        shard : PlannedShard
        uri : str
            What people call the shard.
        tables : dict
            By table name: its folder below the output, and the rows. What is written first is what may vanish
            from the other tables: `failures` before `scores`.
        detail : dict, optional
            Whatever the run wants to find in the marker again.
        """
        parts = {}
        for table, (folder, rows) in tables.items():
            digest = rows_digest(table, rows)
            name = storage.join(folder, f"{self.key}-{shard.slot}.parquet")
            content = parquet_bytes(rows, {OF: shard.name.encode(), DIGEST: digest.encode()})
            parts[table] = TablePart(name, content, len(rows), digest, shard.name)
        return self._run(self._protocol.commit(shard, uri, parts, detail or {}))

    def markers(self, names: Iterable[str]) -> list[Marker]:
        """Read the markers of committed shards, by :attr:`jobs.tables.protocol.PlannedShard.name`.

        Raises
        ------
        RunAgain
            Where one was replaced, and collected, since it was listed.
        """
        uris = [storage.join(self.output, self._protocol.marker_name(name)) for name in sorted(names)]
        with ThreadPoolExecutor(READERS) as pool:
            return [Marker.from_json(text, uri) for text, uri in zip(pool.map(_read_current, uris), uris, strict=True)]

    def committed(self) -> list[Marker]:
        """Markers of every shard that is committed in its current state."""
        return self.markers(self.history().names & self.done())

    def read_all(self, table: str) -> tuple[list[Marker], list[pa.Table]]:
        """All current markers, and the rows of one table of the shards that have any."""
        markers = self.committed()
        return markers, [rows for marker in markers if (rows := self.read(marker, table)) is not None]

    def read(self, marker: Marker, table: str) -> pa.Table | None:
        """The rows of one table of a committed shard; None where it has none.

        Raises
        ------
        RunAgain
            Where rows of another state have taken their place since.
        """
        content = self._content(marker, table)
        return None if content is None else pq.read_table(content, partitioning=None).replace_schema_metadata()

    def batches(self, marker: Marker, table: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of what :meth:`read` gives, a row group at a time, in the same order."""
        content = self._content(marker, table)
        if content is not None:
            yield from pq.ParquetFile(content).iter_batches(ROW_GROUP_ROWS, columns=columns)

    def content(self, marker: Marker, table: str) -> bytes:
        """The object of one table of a committed shard, to the byte as its marker counts it.

        Raises
        ------
        RunAgain
            Where its rows were replaced or erased since.
        SchemaError
            Where it is damaged, or gone.
        """
        content = self._object(marker, table)
        if self.recounted(marker, table, content) != marker:
            uri = storage.join(self.output, marker.objects[table])
            raise RunAgain(f"{uri}: rows were erased from it meanwhile; run the same command again.")
        return content

    @staticmethod
    def without(marker: Marker, table: str, rows: pa.Table) -> bytes:
        """The object of a committed shard with only these of its rows, which says that it lacks some."""
        about = {OF: marker.name.encode(), DIGEST: rows_digest(table, rows).encode(), ERASED: b"yes"}
        return parquet_bytes(rows, about)

    def recounted(self, marker: Marker, table: str, content: bytes) -> Marker:
        """A marker that says what an object holds since rows were erased from it; the same where none were.

        Bytes that are not those of the marker are taken for an erasure's only where it can have been one: they say so,
        they have fewer rows, and these are the very rows that they say they have.

        Raises
        ------
        RunAgain
            Where rows of another state have taken their place.
        SchemaError
            Where the object is damaged.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 == marker.sha256[table]:
            return marker
        uri = storage.join(self.output, marker.objects[table])
        stands = part_of(uri, content)
        if stands and stands.of != marker.name:
            raise RunAgain(f"{uri}: its rows were replaced meanwhile; run the same command again.")
        n_erased = 0 if stands is None else marker.rows[table] - stands.rows
        if stands is None or n_erased <= 0 or not _is_erased(table, stands):
            raise SchemaError(f"{uri}: is not what was committed. `verify` says more.")
        return replace(
            marker,
            sha256=marker.sha256 | {table: sha256},
            rows=marker.rows | {table: stands.rows},
            digests=marker.digests | {table: stands.digest},
            detail=marker.detail | {"erased": marker.detail.get("erased", 0) + n_erased},
        )

    @staticmethod
    def digest(markers: Iterable[Marker]) -> str:
        """Digest of all rows that markers count."""
        return add(digest for marker in markers for digest in marker.digests.values())

    def _content(self, marker: Marker, table: str) -> io.BytesIO | None:
        if not marker.rows[table]:
            return None
        uri = storage.join(self.output, marker.objects[table])
        content = self._object(marker, table)
        stands = part_of(uri, content)
        if stands is None or stands.of != marker.name:
            raise RunAgain(f"{uri}: its rows were replaced after the run began; run the same command again.")
        return io.BytesIO(content)

    def _object(self, marker: Marker, table: str) -> bytes:
        """The bytes of an object; SchemaError where it is gone, and no later plan has replaced its shard."""
        uri = storage.join(self.output, marker.objects[table])
        try:
            return storage.read_bytes(uri)
        except storage.NotFoundError as error:
            if marker.name in self.history().names:
                raise SchemaError(f"{uri}: is gone; it was committed with {marker.rows[table]} rows.") from error
            raise _replaced(uri) from error

    def _get(self, name: str) -> bytes | None:
        try:
            return storage.read_bytes(storage.join(self.output, name))
        except storage.NotFoundError:
            return None

    def garbage(self, objects: Iterable[str], markers: Iterable[str], slot_of: Callable[[str], str]) -> list[str]:
        """What of URIs listed before is garbage; see :meth:`jobs.tables.protocol.Protocol.garbage`."""
        base = f"{self.output}/"
        objects, markers = ([uri.removeprefix(base) for uri in uris] for uris in (objects, markers))
        return [base + name for name in self._run(self._protocol.garbage(objects, markers, slot_of))]

    def _run(self, steps: Steps[Answer]) -> Answer:
        """Carry the steps out, one request after another."""
        answer: Any = None
        while True:
            try:
                asked = steps.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            match asked:
                case Put(name, content, expected):
                    answer = storage.put(storage.join(self.output, name), content, expected)
                case Get(name):
                    answer = self._get(name)
                case List(folder):
                    place = storage.join(self.output, folder)
                    answer = [f"{folder}/{storage.name_of(found.uri)}" for found in storage.listing(place) or []]


def _read_current(uri: str) -> bytes:
    """Read what was listed as current; where it is gone, it was replaced since."""
    try:
        return storage.read_bytes(uri)
    except storage.NotFoundError as error:
        raise _replaced(uri) from error


def _replaced(uri: str) -> RunAgain:
    return RunAgain(f"{uri}: it was replaced after the run began; run the same command again.")


def keys(output: str, kind: str) -> list[str]:
    """Keys of the ledgers of ``kind`` under ``output``."""
    found = storage.listing(storage.join(output, "_plans")) or []
    folders = {storage.name_of(stored.uri.rsplit("/", 1)[0]) for stored in found}
    return sorted(folder.removeprefix(f"{kind}-") for folder in folders if folder.startswith(f"{kind}-"))


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


def parquet_bytes(rows: pa.Table, about: dict[bytes, bytes] | None = None) -> bytes:
    """A Parquet object that SQL engines read; the same rows give the same bytes.

    Parameters
    ----------
    about : dict, optional
        What the object says of itself, in its footer.
    """
    file = io.BytesIO()
    about_rows = rows.replace_schema_metadata(about)
    pq.write_table(about_rows, file, row_group_size=ROW_GROUP_ROWS, **parquet_options(rows.schema))
    return file.getvalue()


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How our Parquet objects are written."""
    return {
        "compression": "zstd",
        "use_dictionary": [field.name for field in schema if field.type == pa.string()],
        "write_statistics": [field.name for field in schema if not pa.types.is_nested(field.type)],
        "write_page_checksum": True,
    }


def part_of(name: str, content: bytes) -> TablePart | None:
    """What an object says of itself; None where it is no whole Parquet object of ours."""
    try:
        footer = pq.read_metadata(io.BytesIO(content))
        about = footer.metadata or {}
        return TablePart(name, content, footer.num_rows, about[DIGEST].decode(), about[OF].decode())
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError):
        return None


def _is_erased(table: str, part: TablePart) -> bool:
    """Whether an object says that rows were erased from it, and holds the rows that it then was left."""
    try:
        rows = pq.read_table(io.BytesIO(part.content), partitioning=None, page_checksum_verification=True)
        return ERASED in (rows.schema.metadata or {}) and rows_digest(table, rows) == part.digest
    except (pa.ArrowException, OSError, KeyError):
        return False
