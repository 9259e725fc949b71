"""Compacting: bring a copy up to date with its output, read back what was written, and prove that the rows are equal.

A store cannot rename objects, and a reader may list them at any time. So no object of the output is touched, and no
object of the copy is overwritten to make room for more rows: a query that had opened it would read a mixture of both.
The rows of new shards go into new objects.

Two commands at once are safe: a new object is created only if none has its name yet, and a rewritten one replaces
only the object that was looked at before the markers were read. Rows that go from the output while they are copied are
found at the end, by the ETags of their markers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.errors import RunAgain
from jobs.tables.compaction.copy import AGAIN, CompactedCopy
from jobs.tables.compaction.objects import CopiedObject, repeated_rows
from jobs.tables.compaction.source import Backlog, Source
from jobs.tables.compaction.updater import CopyUpdater
from jobs.tables.garbage import remove_drafts
from jobs.tables.ledger import TABLES, ledgers
from jobs.tables.row_digest import add
from jobs.telemetry.names import say


def compact(output: str, place: str, object_bytes: int, *, dry_run: bool) -> None:
    """Bring the copy of ``output`` in ``place`` up to date, and print how it went.

    Raises
    ------
    ConfigError
        If there is nothing to copy, or the place holds something else.
    SchemaError
        If an object differs from its marker or manifest, or the copy's rows differ from those of the output.
    RunAgain
        If another command writes into either of them meanwhile.
    """
    started = time.time()
    copy = CompactedCopy(place)
    _refuse_tables(place)
    # the copy is looked at before the markers are read: a command with older markers than another finds its PUT refused
    standing, drafts = copy.look(), storage.drafts(place)
    sources = [Source.read(table, place, standing) for table in ledgers(output)]
    if not sources:
        raise ConfigError(f"{output}: no tables of ours here. Give the --output of a run.")
    _refuse_another(output, place, standing, {source.table.name for source in sources})
    updater = CopyUpdater(copy, output, object_bytes, standing)
    backlogs = {source.table.name: source.backlog(standing) for source in sources}
    if dry_run:
        _print_backlogs(sources, backlogs)
    else:
        for source in sources:
            updater.update(source, backlogs[source.table.name])
        storage.abandon_uploads(place, started)  # drafts of a killed command may hold rows that were erased since
        remove_drafts(place, drafts)
        _prove(copy, updater, sources)
        copy.remove_stale_manifests(updater.standing)
        for source in sources:
            source.remember(place)
        _print_others(copy, updater.standing)
    for source in sources:
        if source.waiting:
            say(f"{source.table.name}: {len(source.waiting)} shards are planned and not done; they wait")


def _refuse_tables(place: str) -> None:
    if ledgers(place):
        raise ConfigError(f"{place}: is the output of a run. Give a copy a place of its own.")


def _refuse_another(output: str, place: str, standing: dict[str, CopiedObject], known: set[str]) -> None:
    """Refuse a copy of something else, and rows of a ledger that is unknown: no marker would prove or erase these."""
    for each in standing.values():
        if each.compacted.output != output:
            raise ConfigError(f"{place}: is a copy of {each.compacted.output}, not of {output}. Give another --to.")
        if each.compacted.ledger not in known:
            raise SchemaError(
                f"{each.stored.uri}: holds rows of {each.compacted.ledger}, of which {output} has no plan. Restore its "
                "plans and markers, or remove the object."
            )
    if wrong := repeated_rows([each.compacted for each in standing.values()]):
        raise SchemaError(
            f"{storage.join(place, wrong[0])}. Remove the first; `compact` then makes anew what is missing."
        )


def _prove(copy: CompactedCopy, updater: CopyUpdater, sources: list[Source]) -> None:
    """Compare everything in the copy with the markers, and print how large it is.

    Every object was read back when it was written; here the sum of their digests is compared, table by table.
    """
    if not copy.unchanged(updater.standing):
        raise RunAgain(f"{copy.place}: another command writes into it; run the same command again.")
    for source in sources:
        if not source.unchanged():
            raise RunAgain(
                f"{source.table.output}: shards were replaced, or rows erased, meanwhile; run the same command again."
            )
        if source.lost:
            raise RunAgain(
                f"{copy.place}: rows of {len(source.lost)} shards cannot be compared with the output: they are planned "
                f"again and not done, and no earlier marker exists. Run the command that planned them, then {AGAIN}."
            )
    for table in TABLES:
        _prove_table(table, copy, updater, sources)


def _prove_table(table: str, copy: CompactedCopy, updater: CopyUpdater, sources: list[Source]) -> None:
    copied = [each for each in updater.standing.values() if each.compacted.table == table]
    if not copied and not any(table in marker.rows for source in sources for marker in source.markers.all()):
        return  # no run has asked for segments
    digests, n_rows, uris = [], 0, []
    for source in sources:
        mine = [each.compacted for each in copied if each.compacted.ledger == source.table.name]
        objects: list[str] = []
        expected = add(_digests(source, table, objects))
        if (found := add(compacted.digest for compacted in mine)) != expected:
            raise SchemaError(f"{copy.place}: {table} of {source.table.name}: digest {found}, committed {expected}.")
        digests.append(found)
        n_rows += sum(compacted.rows for compacted in mine)
        uris += objects
    sizes = [updater.stored[uri].size for uri in uris if uri in updater.stored]
    say(
        f"{table}: {len(uris)} objects → {len(copied)}, {_mb(sizes)} → {_mb(each.stored.size for each in copied)}, "
        f"{n_rows} rows, digest {add(digests)[:16]} as committed; "
        f"{updater.written[table]} written, {updater.rewritten[table]} rewritten"
    )


def _digests(source: Source, table: str, objects: list[str]) -> Iterator[str]:
    """Yield the digest of each object of a table, and note its URI."""
    for marker in source.markers.all():
        if table in marker.objects:
            objects.append(storage.join(source.table.output, marker.objects[table]))
            yield marker.digests[table]


def _print_others(copy: CompactedCopy, standing: dict[str, CopiedObject]) -> None:
    """Name what else lies in the copy: rows in it would outlive an erasure."""
    if others := copy.others(standing):
        say(
            f"{others[0]}: is not of the copy, so nobody has looked whether it holds rows that were erased; this is so "
            f"for {len(others)} objects. Remove them."
        )


def _mb(sizes: Iterable[int]) -> str:
    return f"{sum(sizes) / 1e6:.1f} MB"


def _print_backlogs(sources: list[Source], backlogs: dict[str, Backlog]) -> None:
    """Print what a run without `--dry-run` would write."""
    markers = {source.table.name: source.markers for source in sources}
    for name, backlog in backlogs.items():
        for (table, folder), slots in backlog.new.items():
            n_rows = sum(markers[name][slot].rows[table] for slot in slots)
            say(f"{name}: {len(slots)} shards with {n_rows} rows are new in {folder}")
        for rewrite in backlog.rewrites:
            say(f"{name}: {rewrite.standing.stored.uri} would be written anew")
        if not backlog.rewrites and not backlog.new:
            say(f"{name}: nothing new")
