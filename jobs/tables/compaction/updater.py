"""The updater of a copy: it writes new objects, and rewrites those that hold replaced or erased rows."""

from __future__ import annotations

import hashlib
import io
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import SchemaError
from jobs import storage
from jobs.errors import RunAgain
from jobs.storage import ABSENT, StoredFile
from jobs.tables.compaction.copy import CompactedCopy
from jobs.tables.compaction.objects import DAMAGED, REMEDY, CompactedObject, CopiedObject, RowRange
from jobs.tables.compaction.source import Backlog, Rewrite, Source
from jobs.tables.compaction.writer import MIB, CompactedObjectWriter, RowReader
from jobs.tables.ledger import table_objects
from jobs.tables.parquet import batches_of, row_batches
from jobs.tables.protocol import Marker
from jobs.tables.steps import READERS
from jobs.telemetry.progress import Progress, progress

AHEAD_BYTES = 64 * MIB  # of objects that are fetched before they are needed


class CopyUpdater:
    """Writes the objects of a copy, and keeps track of what stands there.

    Parameters
    ----------
    copy : CompactedCopy
    output : str
    limit : int
        Bytes of an object.
    standing : dict
        Objects by name, as :meth:`CompactedCopy.look` returned them; kept up to date.
    """

    def __init__(self, copy: CompactedCopy, output: str, limit: int, standing: dict[str, CopiedObject]) -> None:
        self.standing = dict(standing)
        self.written: Counter[str] = Counter()
        self.rewritten: Counter[str] = Counter()
        self.stored = {each.uri: each for each in table_objects(output)}
        self._copy, self._output, self._limit = copy, output, limit

    def update(self, source: Source, backlog: Backlog) -> None:
        """Bring the objects of a ledger up to date; first those that hold rows that should be gone."""
        with progress(f"compact {source.table.name}", backlog.n_shards) as shown:
            for rewrite in backlog.rewrites:
                self._rewrite(source, rewrite, shown)
            for each in backlog.unproven:
                self.standing[each.compacted.name] = self._copy.prove(each.compacted, seen=each.stored)
            for (table, folder), slots in backlog.new.items():
                self._append(source, table, folder, slots, shown)

    def _append(self, source: Source, table: str, folder: str, slots: list[str], shown: Progress) -> None:
        writer: CompactedObjectWriter | None = None
        for marker, content in self._contents(source, table, (source.markers[slot] for slot in slots)):
            if writer is not None and not writer.has_room(len(content), self._limit):
                self._commit(writer, source, self._next_name(folder, source.table.key), ABSENT)
                writer = None
            writer = writer or CompactedObjectWriter(table, pq.read_schema(io.BytesIO(content)))
            writer.add(_row_range(marker, table), batches_of(content), len(content))
            shown.shard(marker.rows[table])
        if writer is not None:
            self._commit(writer, source, self._next_name(folder, source.table.key), ABSENT)

    def _rewrite(self, source: Source, rewrite: Rewrite, shown: Progress) -> None:
        """Write an object again: rows that stay come from the object itself, rows that changed from the output."""
        compacted, stored = rewrite.standing.compacted, rewrite.standing.stored
        changed = [each for each in rewrite.replacements if isinstance(each, Marker)]
        contents = self._contents(source, compacted.table, changed)
        with storage.opened(stored) as opened:
            file = pq.ParquetFile(opened, page_checksum_verification=True)
            writer = CompactedObjectWriter(compacted.table, file.schema_arrow)
            standing_rows = RowReader(_undamaged_batches(file, opened, stored.uri))
            for row_range, replacement in zip(compacted.ranges, rewrite.replacements, strict=True):
                rows = standing_rows.read(row_range.rows)
                if isinstance(replacement, RowRange):
                    writer.add(replacement, rows)
                elif isinstance(replacement, Marker):
                    marker, content = next(contents)
                    writer.add(_row_range(marker, compacted.table), batches_of(content))
                shown.shard(row_range.rows)
            opened.raise_trouble()
        self._commit(writer, source, compacted.name, stored.etag)

    def _commit(self, writer: CompactedObjectWriter, source: Source, name: str, expected: str) -> None:
        compacted = CompactedObject(name, self._output, source.table.name, writer.table, tuple(writer.ranges))
        uri = storage.join(self._copy.place, name)
        content = writer.close(compacted)
        if storage.put(uri, content, expected) is not None:
            raise RunAgain(f"{uri}: another command wrote it; run the same command again.")
        sha256 = hashlib.sha256(content).hexdigest()
        del content  # proving it reads it once more: two of these need not be in memory
        self.standing[name] = self._copy.prove(compacted, sha256)
        (self.written if expected == ABSENT else self.rewritten)[compacted.table] += 1

    def _next_name(self, folder: str, key: str) -> str:
        """Return the name of the next object of a folder: one number above the highest."""
        taken = [name for name in self.standing if name.startswith(f"{folder}/{key}-")]
        number = max((int(name.removesuffix(".parquet").rpartition("-")[2]) for name in taken), default=0) + 1
        return f"{folder}/{key}-{number:06d}.parquet"

    def _contents(self, source: Source, table: str, markers: Iterable[Marker]) -> Iterator[tuple[Marker, bytes]]:
        """Yield the objects of shards, in order; fetched in parallel, as far ahead as memory allows."""
        ahead = deque[tuple[Marker, int, Future[bytes]]]()
        n_bytes = 0
        with ThreadPoolExecutor(READERS) as pool:
            for marker in markers:
                size = self._size_of(storage.join(source.table.output, marker.objects[table]))
                while len(ahead) == READERS or (ahead and n_bytes + size > AHEAD_BYTES):
                    first, its_size, content = ahead.popleft()
                    n_bytes -= its_size
                    yield first, content.result()
                n_bytes += size
                ahead.append((marker, size, pool.submit(source.table.content, marker, table)))
            yield from ((each, content.result()) for each, _, content in ahead)

    def _size_of(self, uri: str) -> int:
        return self.stored[uri].size if uri in self.stored else 0


def _row_range(marker: Marker, table: str) -> RowRange:
    return RowRange(marker.name, marker.sha256[table], marker.rows[table], marker.digests[table])


def _undamaged_batches(file: pq.ParquetFile, opened: StoredFile, uri: str) -> Iterator[pa.RecordBatch]:
    """Yield all rows of an object; SchemaError if it is damaged."""
    try:
        yield from row_batches(file)
    except DAMAGED as error:
        opened.raise_trouble()
        raise SchemaError(f"{uri}: is damaged: {error}. {REMEDY}") from error
