"""Take-over: what a shard that is planned again keeps of the rows that stand in its slot, and what it has to read.

```
planned before    a  b  c  d          rows of a … d stand
planned now       a  B  ·  d          B was replaced, c is gone
                  │  │  │  │
                  │  │  └──┼── rows stay, with `removed_at`
                  │  └─────┼── read, decoded, embedded
                  └────────┴── rows are taken over
```

It follows from the plans and from what stands, not from who did it: a run that finds half of its own shard, written by
one that was killed, takes that over, too. Nothing is held between the beginning of a run and the commit of the shard.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector.schema import FAILURES, embeddings_schema
from jobs.errors import SourceChangedError
from jobs.inputs.containers.parquet import NO_COLUMN
from jobs.inputs.shards import CHANGED, Selection, Shard, is_removed
from jobs.storage import Stored, is_same
from jobs.tables.ledger import Ledger
from jobs.tables.moves import steps_between
from jobs.tables.parquet import with_note
from jobs.tables.plan import AGAIN, PRUNE
from jobs.tables.protocol import PlannedShard
from jobs.tables.removal import PRUNED_ROWS
from jobs.tables.row_history import Night, completed, is_here, removed_on, with_history

Tables = tuple[pa.Table, pa.Table]
"""Rows of `embeddings` and of `failures`."""


@dataclass(frozen=True)
class Former:
    """The rows that stand in a slot of one table.

    Parameters
    ----------
    name : str
        Of the shard that they were written for; and the shard itself.
    shard : Shard
    rows : pyarrow.Table
    sha256 : str
        Of their object; empty if there is none.
    n_pruned : int
        Rows that the run that wrote these took out.
    moved : frozenset of str
        Sources, where they lie now, that were moved since these were written.
    """

    name: str
    shard: Shard
    rows: pa.Table
    sha256: str
    n_pruned: int = 0
    moved: frozenset[str] = frozenset()

    def at(self, places: Mapping[str, str]) -> Former:
        """Return the same after sources were moved: rows have the new places."""
        old, new = (pa.array(each, pa.string()) for each in (list(places), list(places.values())))
        uris = self.rows["uri"].cast(pa.string()).combine_chunks()
        now = pc.coalesce(new.take(pc.index_in(uris, old)), uris)
        column = self.rows.schema.get_field_index("uri")
        rows = self.rows.set_column(column, self.rows.schema.field(column), now)
        moved = {places.get(uri, uri) for uri in self.moved}.union(places.values())
        return replace(self, shard=self.shard.at(places), rows=rows, moved=frozenset(moved))

    @cached_property
    def uris(self) -> frozenset[str]:
        """URIs of sources that have rows here."""
        return frozenset(self.rows["uri"].unique().to_pylist())

    @cached_property
    def changed(self) -> frozenset[str]:
        """URIs of sources that changed while they were read: what they hold now has no row."""
        if "error" not in self.rows.column_names:
            return frozenset()
        return frozenset(self.rows.filter(pc.equal(self.rows["error"], CHANGED))["uri"].to_pylist())

    @cached_property
    def sources(self) -> dict[str, tuple[Stored, tuple[Selection, ...] | None]]:
        """By URI: the source as it was, and what was read of it."""
        return sources_of(self.shard)

    def has_read(self, source: Stored, items: tuple[Selection, ...] | None) -> bool:
        """Return True if a source was read in this state of it, with these selections."""
        before = self.sources.get(source.uri)
        return before is not None and is_same(before[0], source) and before[1] == items


def sources_of(shard: Shard) -> dict[str, tuple[Stored, tuple[Selection, ...] | None]]:
    """Return the sources of a shard by URI, each with what to read of it; None is all."""
    selections = shard.selections()
    if shard.kind != "files" and selections is not None:
        everything = tuple(item for each in selections.values() for item in each)
        return {source.uri: (source, everything) for source in shard.sources}
    return {source.uri: (source, (selections or {}).get(source.uri)) for source in shard.sources}


class TakeOver:
    """What a planned shard keeps, and what it has to read.

    Parameters
    ----------
    planned : PlannedShard
    embeddings, failures : Former or None
        Rows that stand in its slot; None if nothing can be taken over from the table.
    """

    def __init__(self, planned: PlannedShard, embeddings: Former | None, failures: Former | None) -> None:
        self.shard = planned.shard
        self._night = Night(planned.run_id, planned.planned_on or planned.run_date, planned.run_date)
        self._again: Collection[str] = planned.entry.work.get(AGAIN, ())
        self._is_pruned = planned.entry.work.get(PRUNE, False)
        self._name = planned.name
        self._embeddings, self._failures = embeddings, failures
        self._changed = frozenset() if failures is None else failures.changed
        sources = sources_of(self.shard)
        self._gone = {uri for uri, (source, _) in sources.items() if is_removed(source)}
        self._taken = {uri for uri, (source, items) in sources.items() if self._is_taken(source, items)}
        self.n_unchanged = len(self._taken)

    @classmethod
    def of(
        cls, table: Ledger, by_name: Mapping[str, PlannedShard], folders: dict[str, str], planned: PlannedShard
    ) -> TakeOver:
        """Return what a planned shard takes over of what stands now.

        Parameters
        ----------
        by_name : mapping
            All that plans made of its slot, by :attr:`jobs.tables.protocol.PlannedShard.name`.
        folders : dict
            By table name: its folder below the output.

        Raises
        ------
        SchemaError
            If what stands is damaged.
        """
        if not planned.replaces:
            return cls(planned, None, None)
        found = {name: table.standing(name, folder, planned.slot) for name, folder in folders.items()}
        formers: dict[str, Former | None] = dict.fromkeys(folders)
        for name, stands in found.items():
            before = None if stands is None else by_name.get(stands.name)
            if stands is not None and before is not None and before.entry.has_sources:
                n_pruned = (stands.note or {}).get(PRUNED_ROWS, 0)
                former = Former(stands.name, before.shard, stands.rows, stands.sha256, n_pruned)
                works = {each.number: each.entry.work for each in (*by_name.values(), planned)}
                for places in steps_between(works, before.number, planned.number):
                    former = former.at(places)
                formers[name] = former
        embeddings, failures = formers["embeddings"], formers["failures"]
        # a table without rows has no object; failures are written first, so embeddings may be still to come
        if found["failures"] is None and embeddings is not None:
            failures = replace(embeddings, rows=FAILURES.empty_table(), sha256="")
        elif found["embeddings"] is None and failures is not None and found["failures"].is_committed:  # type: ignore[union-attr]
            embeddings = replace(failures, rows=embeddings_schema(1).empty_table(), sha256="")
        return cls(planned, embeddings, failures)

    @cached_property
    def to_read(self) -> Shard | None:
        """The part of the shard that has to be read; None if there is none."""
        left = tuple(each for each in self.shard.sources if each.uri not in self._taken | self._gone)
        if len(left) == len(self.shard.sources):
            return self.shard
        if not left:
            return None
        uris = {each.uri for each in left}
        names = tuple((uri, name) for uri, name in self.shard.names or () if uri in uris)
        kept = {name for _, name in names}
        excerpts = tuple(each for each in self.shard.excerpts if each[0] in kept)
        return replace(self.shard, sources=left, names=names, excerpts=excerpts)

    @property
    def replaced(self) -> frozenset[str]:
        """URIs of sources that are read again: rows of them stand, of another state."""
        standing = self._standing_uris()
        return frozenset(each.uri for each in (self.to_read.sources if self.to_read else ()) if each.uri in standing)

    @property
    def n_removed(self) -> int:
        """Number of rows whose recordings are gone, and were there when the rows were written."""
        if self._embeddings is None:
            return 0
        rows = self._embeddings.rows.filter(is_here(self._embeddings.rows))
        return len(rows.filter(_is_in(rows["uri"], self._gone)))

    def _standing_uris(self) -> frozenset[str]:
        return frozenset().union(*(each.uris for each in (self._embeddings, self._failures) if each is not None))

    @property
    def follows(self) -> dict[str, str]:
        """SHA-256 of the objects whose rows are taken over, by table."""
        formers = {"embeddings": self._embeddings, "failures": self._failures}
        return {name: former.sha256 for name, former in formers.items() if former is not None and former.sha256}

    def tables(self, embeddings: pa.Table, failures: pa.Table, shard: Shard | None) -> Tables:
        """Return all rows of the shard, in the order of its sources; a note of `embeddings` counts what was taken out.

        Parameters
        ----------
        embeddings, failures : pyarrow.Table
            Rows of what was read.
        shard : Shard or None
            What was read.

        Raises
        ------
        SourceChangedError
            If more has to be read: other rows stand by now than when the run began.
        """
        read = {each.uri for each in (shard.sources if shard else ())}
        taken_over = self._taken - read
        if {each.uri for each in self.shard.sources} - taken_over - self._gone - read:
            raise SourceChangedError(f"{self.shard.uri}: its former rows were replaced meanwhile. Run again.")
        no_rows = embeddings_schema(1).empty_table()
        standing = completed(no_rows if self._embeddings is None else self._embeddings.rows, self._night.partition)
        failed = FAILURES.empty_table() if self._failures is None else self._failures.rows
        new = with_history(embeddings, standing, self._night, self._again)
        ids = pa.chunked_array([*embeddings["utterance_id"].chunks, *failures["utterance_id"].chunks], pa.string())
        is_missed = pc.and_(
            _is_in(standing["uri"], read), pc.invert(pc.is_in(standing["utterance_id"], ids.combine_chunks()))
        )
        is_unread = pc.and_(standing["member"].is_valid(), _is_in(standing["uri"], _broken(failures)))
        taken = standing.filter(pc.or_(_is_in(standing["uri"], taken_over), pc.and_(is_missed, is_unread)))
        removed = standing.filter(pc.or_(pc.and_(is_missed, pc.invert(is_unread)), _is_in(standing["uri"], self._gone)))
        rows = self._in_order(_joined([new, taken, removed_on(removed, self._night.date)]))
        if self._is_pruned:
            rows = self._pruned(rows)
        kept = failed.filter(_is_in(failed["uri"], taken_over))
        return rows, self._in_order(_joined([failures, kept]))

    def _pruned(self, rows: pa.Table) -> pa.Table:
        """Take out the rows of recordings that are gone, and note how many they and those of a killed attempt are."""
        here = rows.filter(is_here(rows))
        former = self._embeddings
        n_before = former.n_pruned if former is not None and former.name == self._name else 0
        n_pruned = n_before + len(rows) - len(here)
        return with_note(here, {PRUNED_ROWS: n_pruned}) if n_pruned else here

    def _is_taken(self, source: Stored, items: tuple[Selection, ...] | None) -> bool:
        """Return True if the rows of a source stand, of this state of it."""
        if self._embeddings is None or self._failures is None or is_removed(source):
            return False
        formers = (self._embeddings, self._failures)
        is_own = all(former.name == self._name for former in formers)
        if source.uri in self._again and not is_own:
            return False
        if source.uri in self._changed and not is_own:
            return False
        if source.uri in self._failures.moved & self._failures.uris:
            return False  # what a failure says is of the old place
        # every source that was read has a row
        has_rows = any(source.uri in former.uris for former in formers)
        return has_rows and all(former.has_read(source, items) for former in formers)

    def _in_order(self, rows: pa.Table) -> pa.Table:
        place = {source.uri: number for number, source in enumerate(self.shard.sources)}
        places = np.array([place.get(uri, 0) for uri in rows["uri"].to_pylist()], dtype=np.int64)
        if (np.diff(places) >= 0).all():
            return rows
        return rows.take(np.argsort(places, kind="stable"))


def _broken(failures: pa.Table) -> set[str]:
    """Return the URIs of containers that were not read to their end: what of them was not found may still be there."""
    is_whole = pc.starts_with(failures["message"], NO_COLUMN)  # a table that was read, and has none any more
    return set(failures.filter(pc.and_not(failures["member"].is_null(), is_whole))["uri"].to_pylist())


def _is_in(column: pa.ChunkedArray, uris: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(column, pa.array(sorted(uris), pa.string()))


def _joined(parts: list[pa.Table]) -> pa.Table:
    """Return the rows of tables of one kind, with the columns of now; those of earlier versions lack some."""
    schema = FAILURES
    if "embedding" in parts[0].column_names:
        # a table of which no row has an embedding may state a dimension of 1
        schema = embeddings_schema(max(part.schema.field("embedding").type.list_size for part in parts))
    with_rows = [part for part in parts if len(part)] or parts[:1]
    return pa.concat_tables([_conformed(part, schema) for part in with_rows])


def _conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    if rows.schema.equals(schema, check_metadata=True):
        return rows

    def column(field: pa.Field) -> pa.ChunkedArray:
        found = rows[field.name] if field.name in rows.column_names else None
        if found is not None and found.type == field.type:
            return found
        if found is None or found.null_count == len(rows):
            return pa.chunked_array([pa.nulls(len(rows), field.type)])
        return found.cast(field.type)

    return pa.table([column(field) for field in schema], schema=schema)
