"""compact: keep a copy of the tables in few large objects, in a place of its own, and prove that the rows are the same.

A store cannot rename, and a reader may glob at any time: so no object of the output is touched, and none of the copy is
written over to make room for more rows (a query that had opened it would read a mixture of both). New shards go into
new objects. What makes two commands at once safe is that the next object is created by who is first, and that a
rewritten one takes the place of the one that was looked at before the markers were read. Rows that go from the output
while they are copied are found by the tags of their markers, at the end.
"""

from __future__ import annotations

import hashlib
import io
import logging
import posixpath
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import ConfigError, SchemaError
from detector.schema import FAILURES, SCORES, embeddings_schema
from jobs import storage
from jobs.errors import RunAgain
from jobs.storage import ABSENT, StoredFile
from jobs.tables import compacted, ledger
from jobs.tables.checksummed_json import dump_checksummed
from jobs.tables.compacted import AGAIN, DAMAGED, FOLD, REMEDY, CompactedCopy, CompactedObject, ProvenObject, RowRange
from jobs.tables.ledger import KINDS, READERS, ROW_GROUP_ROWS, Ledger, parquet_options
from jobs.tables.protocol import Marker
from jobs.tables.row_digest import add
from jobs.telemetry.progress import Progress, progress
from jobs.verbs.gc import TABLES

MIB = 1 << 20
GROUP_BYTES = 32 * MIB  # of rows in memory that become one row group
AHEAD_BYTES = 64 * MIB  # of objects that are fetched before they are needed
SHARE_BYTES, CHUNK_BYTES = 200, 300  # of a footer: for each shard, and for each column of a row group
MOST_MIB = 4_096  # S3 takes 5 GiB in one PUT

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Keep a copy of the tables in few large objects, in a place of its own; run again, it takes what is new."""

    output: Annotated[str, "folder or prefix that holds the tables"] = field(metadata={"positional": True})
    to: Annotated[str, "folder or prefix that holds, or gets, the copy; apart from the output"]
    object_mib: Annotated[float, "size of an object of the copy at most, unless one shard alone has more; MiB"] = 256.0
    dry_run: Annotated[bool, "only say what would be written"] = False

    def __post_init__(self) -> None:
        if not 0 < self.object_mib <= MOST_MIB:
            raise ConfigError(f"object_mib {self.object_mib}; expected more than 0, at most {MOST_MIB}.")
        output, to = (f"{storage.normal(place).rstrip('/')}/" for place in (self.output, self.to))
        if output.startswith(to) or to.startswith(output):
            raise ConfigError(
                f"--to {self.to}: lies within the output, or the output in it. A copy needs a place of its own, or "
                "readers would see every row twice."
            )


def run(settings: Settings) -> int:
    """Bring the copy up to date, read back what was written, and say how it went; return the exit code.

    Raises
    ------
    ConfigError
        Where there is nothing to copy, or the place holds something else.
    SchemaError
        Where an object is not what its marker or manifest says, or the copy's rows are not those of the output.
    RunAgain
        Where another command writes into either meanwhile.
    """
    started = time.time()
    output, place = (storage.normal(each).rstrip("/") for each in (settings.output, settings.to))
    copy = CompactedCopy(place)
    _refuse_tables(place)
    # the copy is looked at first: who has read older markers than another command finds that its PUT is refused
    standing = copy.look()
    sources = [Source.read(Ledger(output, kind, key), standing) for kind in KINDS for key in ledger.keys(output, kind)]
    if not sources:
        raise ConfigError(f"{output}: no tables of ours here. Give the --output of a run.")
    _refuse_another(output, place, standing)
    work = Work(copy, output, round(settings.object_mib * MIB), standing)
    todo = {source.table.name: source.todo(standing) for source in sources}
    if settings.dry_run:
        _say(todo)
    else:
        for source in sources:
            work.do(source, todo[source.table.name])
        storage.abandon_uploads(place, started)  # drafts of who was killed may hold what was erased since
        _prove(copy, work, sources)
        copy.forget(work.standing)
    for source in sources:
        if source.waiting:
            print(f"{source.table.name}: {len(source.waiting)} shards are planned and not done; they wait")
    return 0


def _refuse_tables(place: str) -> None:
    if any(ledger.keys(place, kind) for kind in KINDS):
        raise ConfigError(f"{place}: is the output of a run. Give a copy a place of its own.")


def _refuse_another(output: str, place: str, standing: dict[str, ProvenObject]) -> None:
    for each in standing.values():
        if each.fold.output != output:
            raise ConfigError(f"{place}: is a copy of {each.fold.output}, not of {output}. Give another --to.")
    if wrong := compacted.repeated_rows(each.fold for each in standing.values()):
        raise SchemaError(
            f"{storage.join(place, wrong[0])}. Remove the first; `compact` then makes anew what is missing."
        )


@dataclass(frozen=True)
class Rewrite:
    """A fold that holds what it should not; for each of its shares: itself, the marker of its new rows, or None."""

    standing: ProvenObject
    now: list[RowRange | Marker | None]


@dataclass(frozen=True)
class Todo:
    """What a copy lacks of one ledger.

    Parameters
    ----------
    rewrites : list of Rewrite
    new : dict
        Markers of shards that no fold has, by table and folder, in the order of their plans.
    unproven : list of Standing
        Written, and not read back since: whoever wrote them was stopped.
    """

    rewrites: list[Rewrite]
    new: dict[tuple[str, str], list[Marker]]
    unproven: list[ProvenObject]

    @property
    def n_shards(self) -> int:
        """Times that rows of a shard are to be copied."""
        return sum(map(len, self.new.values())) + sum(len(each.now) for each in self.rewrites)


@dataclass(frozen=True)
class Source:
    """One ledger of the output.

    Parameters
    ----------
    table : Ledger
    markers : dict
        By slot. Of one that waits, and whose rows the copy has: its last marker, since rows may have been erased by it.
    waiting : set of str
        Slots that are planned and not done.
    lost : set of str
        Those of them whose rows the copy has, and of which no marker is left to hold these against.
    tags : dict
        Name and tag of the last marker of each slot, as they were before any was read.
    """

    table: Ledger
    markers: dict[str, Marker]
    waiting: set[str]
    lost: set[str]
    tags: dict[str, tuple[str, str]]

    @classmethod
    def read(cls, table: Ledger, standing: dict[str, ProvenObject]) -> Source:
        """As it stands now."""
        history, done = table.history(), table.tags()
        waiting = {slot for slot, each in history.current.items() if each.name not in done}
        folds = [each.fold for each in standing.values() if each.fold.ledger == table.name]
        held = {share.slot for fold in folds for share in fold.shares} & waiting
        last = {_slot(name): name for name in sorted(done) if _slot(name) in held}
        names = {*(history.names & done.keys()), *last.values()}
        markers = {_slot(marker.name): marker for marker in table.markers(names)}
        return cls(table, markers, waiting, held - last.keys(), _last(done))

    def still(self) -> bool:
        """Whether the markers that were read are still the last ones of their slots, and say what they said."""
        now = _last(self.table.tags())
        return all(now.get(slot) == self.tags[slot] for slot in self.markers)

    def todo(self, standing: dict[str, ProvenObject]) -> Todo:
        """Compare with what stands in the copy."""
        mine = [each for each in standing.values() if each.fold.ledger == self.table.name]
        rewrites = [Rewrite(each, now) for each in mine if (now := self._now(each)) != [*each.fold.shares]]
        held = {(each.fold.table, share.slot) for each in mine for share in each.fold.shares}
        new: dict[tuple[str, str], list[Marker]] = {}
        for slot, marker in sorted(self.markers.items(), key=lambda item: (item[1].name.rpartition("-")[2], item[0])):
            for name, place in marker.objects.items():
                if marker.rows[name] and (name, slot) not in held:
                    new.setdefault((name, posixpath.dirname(place)), []).append(marker)
        again = {each.standing.fold.name for each in rewrites}
        return Todo(rewrites, new, [each for each in mine if not each.proven and each.fold.name not in again])

    def _now(self, standing: ProvenObject) -> list[RowRange | Marker | None]:
        """What is to stand in the place of each share of a fold, by the markers."""
        name = standing.fold.table
        now: list[RowRange | Marker | None] = []
        for share in standing.fold.shares:
            marker = self.markers.get(share.slot)
            if marker is None and share.slot not in self.waiting:
                raise SchemaError(
                    f"{standing.stored.uri}: holds shard {share.shard}, which {self.table.output} does not know. "
                    "Give another --to."
                )
            if marker is None or (marker.name, marker.sha256.get(name)) == (share.shard, share.sha256):
                now.append(share)
            else:
                now.append(marker if marker.rows[name] else None)
        return now


class Work:
    """Writes folds, and knows what stands then.

    Parameters
    ----------
    copy : Copy
    output : str
    limit : int
        Bytes of an object.
    standing : dict
        By name, as :meth:`Copy.look` found it.
    """

    def __init__(self, copy: CompactedCopy, output: str, limit: int, standing: dict[str, ProvenObject]) -> None:
        self.standing = dict(standing)
        self.written: Counter[str] = Counter()
        self.rewritten: Counter[str] = Counter()
        self.stored = {each.uri: each for each in compacted.objects_in(output)}
        self._copy, self._output, self._limit = copy, output, limit

    def do(self, source: Source, todo: Todo) -> None:
        """Bring the folds of a ledger up to date: those first that hold what should be gone."""
        with progress(f"compact {source.table.name}", todo.n_shards) as shown:
            for rewrite in todo.rewrites:
                self._rewrite(source, rewrite, shown)
            for each in todo.unproven:
                self.standing[each.fold.name] = self._copy.prove(each.fold, seen=each.stored)
            for (name, folder), markers in todo.new.items():
                self._append(source, name, folder, markers, shown)

    def _append(self, source: Source, name: str, folder: str, markers: list[Marker], shown: Progress) -> None:
        draft: Draft | None = None
        for marker, content in self._contents(source, name, markers):
            if draft is not None and not draft.takes(len(content), self._limit):
                self._commit(draft, source, self._next(folder, source.table.key), ABSENT)
                draft = None
            draft = draft or Draft(name, pq.read_schema(io.BytesIO(content)))
            draft.add(share_of(marker, name), batches_of(content), len(content))
            shown.shard(marker.rows[name])
        if draft is not None:
            self._commit(draft, source, self._next(folder, source.table.key), ABSENT)

    def _rewrite(self, source: Source, rewrite: Rewrite, shown: Progress) -> None:
        """Write a fold anew: what stays comes from the fold itself, what changed from the output."""
        fold, stored = rewrite.standing.fold, rewrite.standing.stored
        changed = self._contents(source, fold.table, [each for each in rewrite.now if isinstance(each, Marker)])
        with storage.opened(stored) as opened:
            file = pq.ParquetFile(opened, page_checksum_verification=True)
            draft, before = Draft(fold.table, file.schema_arrow), Rows(_intact(file, opened, stored.uri))
            for share, now in zip(fold.shares, rewrite.now, strict=True):
                rows = before.next(share.rows)
                if isinstance(now, RowRange):
                    draft.add(now, rows)
                elif isinstance(now, Marker):
                    marker, content = next(changed)
                    draft.add(share_of(marker, fold.table), batches_of(content))
                shown.shard(share.rows)
            opened.raise_trouble()
        self._commit(draft, source, fold.name, stored.etag)

    def _commit(self, draft: Draft, source: Source, name: str, expected: str) -> None:
        fold = CompactedObject(name, self._output, source.table.name, draft.table, tuple(draft.shares))
        uri = storage.join(self._copy.place, name)
        content = draft.close(fold)
        if storage.put(uri, content, expected) is not None:
            raise RunAgain(f"{uri}: another command wrote it; run the same command again.")
        sha256 = hashlib.sha256(content).hexdigest()
        del content
        self.standing[name] = self._copy.prove(fold, sha256)
        (self.written if expected == ABSENT else self.rewritten)[fold.table] += 1

    def _next(self, folder: str, key: str) -> str:
        """Name of the next fold: numbers go on from the highest."""
        taken = [name for name in self.standing if name.startswith(f"{folder}/{key}-")]
        number = max((int(name.removesuffix(".parquet").rpartition("-")[2]) for name in taken), default=0) + 1
        return f"{folder}/{key}-{number:06d}.parquet"

    def _contents(self, source: Source, name: str, markers: list[Marker]) -> Iterator[tuple[Marker, bytes]]:
        """Objects of shards, in order; fetched side by side, as far ahead as memory allows."""
        uris = {marker.name: storage.join(source.table.output, marker.objects[name]) for marker in markers}
        sizes = {shard: self.stored[uri].size if uri in self.stored else 0 for shard, uri in uris.items()}
        left, ahead = deque(markers), deque[tuple[Marker, Future[bytes]]]()
        n_bytes = 0
        with ThreadPoolExecutor(READERS) as pool:
            while left or ahead:
                while left and len(ahead) < READERS and (not ahead or n_bytes < AHEAD_BYTES):
                    n_bytes += sizes[left[0].name]
                    ahead.append((left[0], pool.submit(source.table.content, left.popleft(), name)))
                marker, content = ahead.popleft()
                n_bytes -= sizes[marker.name]
                yield marker, content.result()


class Draft:
    """A fold in the making: batches of rows go in, the bytes of an object come out.

    Parameters
    ----------
    table : str
    schema : pa.Schema
        Of any of its shards: columns are those of :mod:`detector.schema`, and null where an earlier version had none.
    """

    def __init__(self, table: str, schema: pa.Schema) -> None:
        self.table = table
        self.shares: list[RowRange] = []
        self._schema, self._known = declared(table, schema), schema
        self._file = io.BytesIO()
        self._writer = pq.ParquetWriter(self._file, self._schema, **parquet_options(self._schema))
        self._rows: list[pa.RecordBatch] = []
        self._n_groups = 0
        self._n_bytes = 0  # of these in memory
        self._at_most = 0  # of these, as they were stored: small objects are mostly footer

    def add(self, share: RowRange, batches: Iterable[pa.RecordBatch], n_bytes: int = 0) -> None:
        """Take the rows of a shard; ``n_bytes`` is the size of its object."""
        self.shares.append(share)
        self._at_most += n_bytes
        for batch in batches:
            if batch.schema != self._known:  # of every shard, or what only a later one has would be lost
                if declared(self.table, batch.schema) != self._schema:
                    raise SchemaError(f"{self.table}: shard {share.shard} has embeddings of another size than others.")
                self._known = batch.schema
            self._rows.append(_as_declared(batch, self._schema))
            self._n_bytes += self._rows[-1].nbytes
            if self._n_bytes >= GROUP_BYTES:
                self._flush()

    def takes(self, n_bytes: int, limit: int) -> bool:
        """Whether there is room for a shard whose object has so many bytes, in an object of ``limit`` bytes."""
        if self._at_least() + self._at_most + n_bytes > limit:
            self._flush()  # now the size is known, not guessed
        return self._at_least() + n_bytes <= limit

    def _at_least(self) -> int:
        """Bytes so far, with what the footer takes."""
        chunks = (self._n_groups + 1) * len(self._schema)
        return int(self._file.tell()) + SHARE_BYTES * len(self.shares) + CHUNK_BYTES * chunks

    def close(self, fold: CompactedObject) -> bytes:
        """The object, with the fold in its footer."""
        self._flush()
        self._writer.add_key_value_metadata({FOLD: dump_checksummed(fold.to_content())})
        self._writer.close()
        content = self._file.getvalue()
        del self._writer, self._file  # or the object would be held until the next is begun
        return content

    def _flush(self) -> None:
        """Make a row group of what there is."""
        if any(map(len, self._rows)):
            rows = pa.Table.from_batches(self._rows, self._schema)
            self._writer.write_table(rows, row_group_size=len(rows))
            self._n_groups += 1
        self._rows, self._n_bytes, self._at_most = [], 0, 0


def _intact(file: pq.ParquetFile, opened: StoredFile, uri: str) -> Iterator[pa.RecordBatch]:
    """All rows of a fold; SchemaError where it is damaged."""
    try:
        yield from file.iter_batches(ROW_GROUP_ROWS)
    except DAMAGED as error:
        opened.raise_trouble()
        raise SchemaError(f"{uri}: is damaged: {error}. {REMEDY}") from error


class Rows:
    """Rows of an object from front to back, so many at a time."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._left: pa.RecordBatch | None = None

    def next(self, count: int) -> list[pa.RecordBatch]:
        """The next ``count`` rows; fewer where there are no more."""
        found = []
        while count and (batch := self._left if self._left is not None else next(self._batches, None)) is not None:
            found.append(batch.slice(0, count))
            self._left = batch.slice(count) if len(batch) > count else None
            count -= len(found[-1])
        return found


def batches_of(content: bytes) -> Iterator[pa.RecordBatch]:
    """All rows of an object, a few thousand at a time."""
    file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
    return file.iter_batches(ROW_GROUP_ROWS)  # type: ignore[no-any-return]


def _slot(name: str) -> str:
    """Of a shard, by its name."""
    return name.rpartition("-")[0]


def _last(tags: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Of each slot, name and tag of its last marker."""
    return {_slot(name): (name, tag) for name, tag in sorted(tags.items())}


def share_of(marker: Marker, table: str) -> RowRange:
    """What a fold is to say of a shard."""
    return RowRange(marker.name, marker.sha256[table], marker.rows[table], marker.digests[table])


def declared(table: str, schema: pa.Schema) -> pa.Schema:
    """Columns of a table as this version writes them, for an object that may lack some.

    Raises
    ------
    SchemaError
        Where it has columns or types that this version does not know.
    """
    wanted = {"scores": SCORES, "failures": FAILURES}.get(table)
    if wanted is None:
        kind = schema.field("embedding").type
        if not pa.types.is_fixed_size_list(kind):
            raise SchemaError(f"{table}: embedding of {kind}; expected a fixed-size list.")
        wanted = embeddings_schema(kind.list_size)
    for each in schema:
        if each.name not in wanted.names or wanted.field(each.name).type != each.type:
            raise SchemaError(f"{table}: column {each.name} of {each.type}, which this version does not write. Update.")
    return wanted


def _as_declared(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    names = batch.schema.names
    columns = [batch[each.name] if each.name in names else pa.nulls(len(batch), each.type) for each in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _prove(copy: CompactedCopy, work: Work, sources: list[Source]) -> None:
    """Hold all that stands in the copy against the markers, and say how large it is.

    Every fold was read back when it was written; here their sum is compared, table by table.
    """
    if not copy.still(work.standing):
        raise RunAgain(f"{copy.place}: another command writes into it; run the same command again.")
    for source in sources:
        if not source.still():
            raise RunAgain(
                f"{source.table.output}: shards were replaced, or rows erased, meanwhile; run the same command again."
            )
        if source.lost:
            raise RunAgain(
                f"{copy.place}: rows of {len(source.lost)} shards cannot be held against the output: these are planned "
                f"again and not done, and no earlier marker is left. Run the command that planned them, then {AGAIN}."
            )
    for name in TABLES:
        folds = [each for each in work.standing.values() if each.fold.table == name]
        digests, n_rows, objects = [], 0, []
        for source in sources:
            mine = [each.fold for each in folds if each.fold.ledger == source.table.name]
            markers = [marker for marker in source.markers.values() if name in marker.objects]
            expected = add(marker.digests[name] for marker in markers)
            if (found := add(fold.digest for fold in mine)) != expected:
                raise SchemaError(f"{copy.place}: {name} of {source.table.name}: digest {found}, committed {expected}.")
            digests.append(found)
            n_rows += sum(fold.rows for fold in mine)
            objects += [storage.join(source.table.output, marker.objects[name]) for marker in markers]
        sizes = [work.stored[uri].size for uri in objects if uri in work.stored]
        print(
            f"{name}: {len(objects)} objects → {len(folds)}, {_mb(sizes)} → {_mb(each.stored.size for each in folds)}, "
            f"{n_rows} rows, digest {add(digests)[:16]} as committed; "
            f"{work.written[name]} written, {work.rewritten[name]} rewritten"
        )


def _mb(sizes: Iterable[int]) -> str:
    return f"{sum(sizes) / 1e6:.1f} MB"


def _say(todo: dict[str, Todo]) -> None:
    """What a dry run prints."""
    for name, each in todo.items():
        for (table, folder), markers in each.new.items():
            n_rows = sum(marker.rows[table] for marker in markers)
            print(f"{name}: {len(markers)} shards with {n_rows} rows are new in {folder}")
        for rewrite in each.rewrites:
            print(f"{name}: {rewrite.standing.stored.uri} would be written anew")
        if not each.rewrites and not each.new:
            print(f"{name}: nothing new")
