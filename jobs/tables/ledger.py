"""The ledger: what is planned and committed of one table under one output.

It carries the steps of :mod:`jobs.tables.protocol` out on a real store, by :mod:`jobs.tables.steps`.

```
embeddings/backbone=<slug>/<fingerprint>-<slot>.parquet   one object a table and shard, always under the same name
_plans/embeddings-<fingerprint>/000001.json               shards as they were planned, in order
_commits/embeddings-<fingerprint>/<slot>-000001.json      the marker, written last: the shard is complete
```
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.errors import RunAgain
from jobs.inputs.requests import answers
from jobs.storage import Stored
from jobs.tables.names import Names
from jobs.tables.parquet import (
    erased_bytes,
    erased_from,
    note_of,
    part_of,
    read_rows,
    row_batches,
    shard_part,
    whole_rows,
)
from jobs.tables.protocol import (
    Answer,
    Marker,
    Plan,
    PlanHistory,
    PlannedShard,
    Protocol,
    Steps,
)
from jobs.tables.row_digest import add
from jobs.tables.steps import carry_out, read
from jobs.tables.table_part import TablePart

PARTITIONED_BY = {"embeddings": "backbone", "scores": "run_date", "segments": "run_date", "failures": "run_date"}
"""The tables of an output, and what the folders of each are named by: the one list, from which all others are made."""

TABLES = tuple(PARTITIONED_BY)
KINDS = ("embeddings", "scores")  # of ledgers; the other tables are committed with one of these
EMPTY = "empty.parquet"  # an object without rows: jobs.tables.empty


@dataclass(frozen=True)
class Standing:
    """The rows of a slot that stand in a table.

    Parameters
    ----------
    name : str
        :attr:`~jobs.tables.protocol.PlannedShard.name` of the state that they are of.
    rows : pyarrow.Table
    sha256 : str
        Of their object.
    is_committed : bool
    note : dict, optional
        Of the run that wrote them.
    """

    name: str
    rows: pa.Table
    sha256: str
    is_committed: bool
    note: dict[str, Any] | None = None


class Ledger:
    """Plans and commits of one table under one output.

    Parameters
    ----------
    output : str
        Normal URI of the output.
    kind : str
        `embeddings` or `scores`.
    key : str
        Fingerprint or head id: each key has a ledger of its own.
    """

    def __init__(self, output: str, kind: str, key: str) -> None:
        self.output = output
        self.name = f"{kind}-{key}"
        self.key = key
        self.is_scores = kind == "scores"
        self._protocol = Protocol(self.name, part_of, self.output)

    def history(self, earlier: PlanHistory | None = None) -> PlanHistory:
        """Read all plans but those that are known."""
        return self._run(self._protocol.read(earlier))

    def first_plan(self) -> Plan:
        """Read the plan that the table was begun with: its detail says what the table is."""
        name = f"{self._protocol.plans_folder}/000001.json"
        return Plan.from_json(read(self.output, name), storage.join(self.output, name))

    def freeze(self, propose: Callable[[PlanHistory], Plan | None], earlier: PlanHistory | None = None) -> PlanHistory:
        """Plan what is new; see :meth:`jobs.tables.protocol.Protocol.freeze`."""
        return self._run(self._protocol.freeze(propose, earlier))

    def done(self, history: PlanHistory | None = None) -> Names:
        """Return the names of all committed shards, also of states that were replaced since.

        It costs one listing; with a history, only what no checkpoint knows: :meth:`jobs.tables.protocol.Protocol.done`.
        """
        return self._run(self._protocol.done(history))

    def fold(self, history: PlanHistory, done: Names) -> None:
        """Write a checkpoint if it saves the next run much; see :meth:`jobs.tables.protocol.Protocol.fold`."""
        self._run(self._protocol.fold(history, done))

    def lying_checkpoints(self, history: PlanHistory) -> list[str]:
        """Return the URIs of checkpoints that name markers which are not here."""
        return [storage.join(self.output, name) for name in self._run(self._protocol.lying(history))]

    def tags(self) -> dict[str, str]:
        """Return the ETags of all markers, by their shards, as `erase` rewrites markers. It costs one listing."""
        listed = storage.listing(storage.join(self.output, self._protocol.commits_folder)) or []
        named = {storage.name_of(stored.uri): stored.etag for stored in listed}
        return {name.removesuffix(".json"): tag for name, tag in named.items() if name.endswith(".json")}

    def commit(
        self,
        shard: PlannedShard,
        uri: str,
        tables: dict[str, tuple[str, pa.Table]],
        detail: dict[str, Any] | None = None,
        follows: Mapping[str, str] | None = None,
    ) -> Marker | None:
        """Write the tables of a shard, then its marker; return None if the shard was replaced meanwhile.

        Parameters
        ----------
        shard : PlannedShard
        uri : str
            Name of the shard in messages.
        tables : dict
            By table name: its folder below the output, and the rows. They are written in this order: a table whose
            rows may have stood in another one before comes first, so `failures` before `scores`.
        detail : dict, optional
            Stored in the marker, for later runs.
        follows : mapping, optional
            By table name: SHA-256 of the object whose rows were taken over, from :meth:`standing`. If another one
            stands there by now, the shard is not committed, and the answer is None.
        """
        parts = {}
        for table, (folder, rows) in tables.items():
            part = shard_part(table, self._object_name(folder, shard.slot), shard.name, rows)
            parts[table] = replace(part, follows=(follows or {}).get(table, ""))
        return self._run(self._protocol.commit(shard, uri, parts, detail or {}))

    def commit_dropped(
        self,
        shard: PlannedShard,
        before: str | None,
        tables: dict[str, tuple[str, pa.Table]],
        detail: dict[str, Any],
    ) -> Marker | None:
        """Commit a tombstone; see :meth:`jobs.tables.protocol.Protocol.commit_dropped`.

        Parameters
        ----------
        tables : dict
            By table name: its folder below the output, and no rows.
        """

        def relabel(table: str, part: TablePart) -> TablePart:
            return shard_part(table, part.name, shard.name, read_rows(part.content))

        empty = {
            table: shard_part(table, self._object_name(folder, shard.slot), shard.name, rows)
            for table, (folder, rows) in tables.items()
        }
        return self._run(self._protocol.commit_dropped(shard, before, empty, relabel, detail))

    def marker(self, name: str) -> Marker:
        """Read the marker of a committed shard, by its :attr:`jobs.tables.protocol.PlannedShard.name`.

        Raises
        ------
        RunAgain
            If it was replaced, and removed by `gc`, since it was listed.
        """
        uri = storage.join(self.output, self._protocol.marker_name(name))
        try:
            return Marker.from_json(storage.read_bytes(uri), uri)
        except storage.NotFoundError as error:
            raise _replaced(uri) from error

    def markers(self, names: Iterable[str]) -> Iterator[Marker]:
        """Yield what :meth:`marker` reads, in the order of the names; there may be millions, and few are held."""
        return answers(self.marker, names if isinstance(names, Names) else sorted(names))

    def committed(self) -> Iterator[Marker]:
        """Yield the markers of all shards that are committed in their current state."""
        return self.markers(self.history().names & self.done())

    def read_all(self, table: str) -> tuple[list[Marker], list[pa.Table]]:
        """Read all current markers, and the rows of one table of the shards that have any."""
        markers = list(self.committed())
        return markers, [rows for marker in markers if (rows := self.read(marker, table)) is not None]

    def read(self, marker: Marker, table: str) -> pa.Table | None:
        """Read the rows of one table of a committed shard; None if it has none.

        Raises
        ------
        RunAgain
            If rows of another state have replaced them since.
        SchemaError
            If it is damaged, or gone.
        """
        content = self._content(marker, table)
        return None if content is None else pq.read_table(content, partitioning=None).replace_schema_metadata()

    def standing(self, table: str, folder: str, slot: str) -> Standing | None:
        """Read the rows of a slot as they stand in a table, of whatever state; None if there is no object.

        Raises
        ------
        SchemaError
            If the object is damaged: it differs from its marker, or, if it was never committed, from its own footer.
        """
        name = self._object_name(folder, slot)
        content = read(self.output, name)
        if content is None:
            return None
        uri = storage.join(self.output, name)
        found = part_of(uri, content)
        rows = None if found is None else whole_rows(table, found)
        if found is None or rows is None:
            raise SchemaError(
                f"{uri}: is damaged, and rows of it are to be kept. `verify` says more. Restore it; or remove it, and "
                f"all recordings of its shard are done again as new ones."
            )
        text = read(self.output, self._protocol.marker_name(found.shard))
        marker = None if text is None else Marker.from_json(text, uri)
        if marker is not None and table in marker.sha256:
            self.recounted(marker, table, content)
        sha256 = hashlib.sha256(content).hexdigest()
        return Standing(found.shard, rows.replace_schema_metadata(), sha256, marker is not None, note_of(rows))

    def batches(self, marker: Marker, table: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield some columns of what :meth:`read` returns, a row group at a time, in the same order."""
        content = self._content(marker, table)
        if content is not None:
            yield from row_batches(pq.ParquetFile(content), columns)

    def content(self, marker: Marker, table: str) -> bytes:
        """Read the object of one table of a committed shard; its bytes are exactly those that the marker describes.

        Raises
        ------
        RunAgain
            If its rows were replaced or erased since.
        SchemaError
            If it is damaged, or gone.
        """
        content = self._object(marker, table)
        if self.recounted(marker, table, content) != marker:
            uri = storage.join(self.output, marker.objects[table])
            raise RunAgain(f"{uri}: rows were erased from it meanwhile; run the same command again.")
        return content

    @staticmethod
    def without(marker: Marker, table: str, rows: pa.Table) -> bytes:
        """Return the object of a committed shard with only these of its rows, marked as one with erased rows."""
        return erased_bytes(table, marker.name, rows, marker.sha256[table])

    def recounted(self, marker: Marker, table: str, content: bytes) -> Marker:
        """Return the marker of an object from which rows were erased; the same marker if none were.

        Bytes that differ from the marker count as erased only if the footer says so, the rows have the digest that it
        claims, and there are fewer of them. As many, of which a text was redacted, must follow the marker's object.

        Raises
        ------
        RunAgain
            If rows of another state have replaced them.
        SchemaError
            If the object is damaged.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 == marker.sha256[table]:
            return marker
        uri = storage.join(self.output, marker.objects[table])
        found = part_of(uri, content)
        if found and found.shard != marker.name:
            raise RunAgain(f"{uri}: its rows were replaced meanwhile; run the same command again.")
        n_erased = 0 if found is None else marker.rows[table] - found.rows
        before = None if found is None or n_erased < 0 else erased_from(table, found)
        if found is None or before is None or (n_erased == 0 and before != marker.sha256[table]):
            raise SchemaError(f"{uri}: is not what was committed. `verify` says more.")
        return replace(
            marker,
            sha256=marker.sha256 | {table: sha256},
            rows=marker.rows | {table: found.rows},
            digests=marker.digests | {table: found.digest},
            detail=marker.detail | {"erased": marker.detail.get("erased", 0) + n_erased},
        )

    @staticmethod
    def digest(markers: Iterable[Marker]) -> str:
        """Return the digest of all rows that the markers describe."""
        return add(digest for marker in markers for digest in marker.digests.values())

    def _object_name(self, folder: str, slot: str) -> str:
        return storage.join(folder, f"{self.key}-{slot}.parquet")

    def _content(self, marker: Marker, table: str) -> io.BytesIO | None:
        if not marker.rows.get(table):  # markers of runs without --segments do not name that table
            return None
        uri = storage.join(self.output, marker.objects[table])
        content = self._object(marker, table)
        found = part_of(uri, content)
        if found is None:
            raise SchemaError(f"{uri}: is damaged. `verify` says more.")
        if found.shard != marker.name:
            raise RunAgain(f"{uri}: its rows were replaced after the run began; run the same command again.")
        return io.BytesIO(content)

    def _object(self, marker: Marker, table: str) -> bytes:
        """Read an object; SchemaError if it is gone, and no later plan has replaced its shard."""
        uri = storage.join(self.output, marker.objects[table])
        try:
            return storage.read_bytes(uri)
        except storage.NotFoundError as error:
            if marker.name in self.history().names:
                raise SchemaError(f"{uri}: is gone; it was committed with {marker.rows[table]} rows.") from error
            raise _replaced(uri) from error

    def garbage(self, objects: Iterable[str], markers: Iterable[str], slot_of: Callable[[str], str]) -> list[str]:
        """Return which of these URIs, listed before, are garbage; see :meth:`jobs.tables.protocol.Protocol.garbage`."""
        base = f"{self.output}/"
        objects, markers = ([uri.removeprefix(base) for uri in uris] for uris in (objects, markers))
        return [base + name for name in self._run(self._protocol.garbage(objects, markers, slot_of))]

    def _run(self, steps: Steps[Answer]) -> Answer:
        return carry_out(self.output, steps)


def _replaced(uri: str) -> RunAgain:
    return RunAgain(f"{uri}: it was replaced after the run began; run the same command again.")


def keys(output: str, kind: str) -> list[str]:
    """Return the keys of the ledgers of ``kind`` under ``output``."""
    found = storage.listing(storage.join(output, "_plans")) or []
    folders = {storage.name_of(stored.uri.rsplit("/", 1)[0]) for stored in found}
    return sorted(folder.removeprefix(f"{kind}-") for folder in folders if folder.startswith(f"{kind}-"))


def ledgers(output: str) -> list[Ledger]:
    """Return all ledgers under ``output``."""
    return [Ledger(output, kind, key) for kind in KINDS for key in keys(output, kind)]


def table_objects(output: str, leave_out: Callable[[Stored], bool] = lambda _: False) -> list[Stored]:
    """List the objects of all tables under an output or a copy, but for the one without rows, and those left out."""

    def is_left_out(stored: Stored) -> bool:
        return storage.name_of(stored.uri) == EMPTY or leave_out(stored)

    folders = (storage.join(output, name) for name in TABLES)
    return [each for folder in folders for each in storage.listing(folder, leave_out=is_left_out) or []]


def only(output: str, kind: str, key: str | None, flag: str) -> Ledger:
    """Return the one ledger of ``kind`` under ``output``, or that of ``key`` if there are several.

    Raises
    ------
    ConfigError
        If there is none, or more than one and no key.
    """
    found = [each for each in keys(output, kind) if key in (None, each)]
    if len(found) != 1:
        raise ConfigError(
            f"{output}: {len(found)} tables of {kind} here ({', '.join(found) or 'none'}); expected one. Give the "
            f"--output of the run that wrote it, and {flag} where it holds several."
        )
    return Ledger(output, kind, found[0])
