"""Removal: the sources that were in an archive and are gone, and how many of them a run accepts.

A source is gone if the run lists its place, the listing does not have it, and the store says that nothing is there. An
object that only a list names may be on a disk that is not mounted; it is never taken for gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from functools import partial

from jobs.errors import StorageError
from jobs.inputs.archive import Archive
from jobs.inputs.requests import answers
from jobs.inputs.shards import FOLDER, SHARED, Shard, is_removed
from jobs.storage import Stored
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PlanHistory, slot_of_shard

REMOVED_ROWS = "removed"
"""In the detail of a marker: how many rows of the shard have `removed_at`, if any."""

PRUNED_ROWS = "pruned"
"""In the detail of a marker, and in the note of its rows: how many rows were taken out of the shard, if any."""

SHARE = 0.2
SMALL = 20
"""Of fewer sources in one place, any number may go but not all: a share of them would say little."""

Look = Callable[[str], Stored | None]


@dataclass(frozen=True)
class RemovalPolicy:
    """How a run deals with what is gone.

    Parameters
    ----------
    max_removed : float
        Share of the sources of a place that may be gone since the last run.
    prune : bool
        True if rows of recordings that are gone are taken out of the tables.
    slots : frozenset of str
        Slots that have such rows, to be pruned.
    """

    max_removed: float = SHARE
    prune: bool = False
    slots: frozenset[str] = frozenset()


def slots_to_prune(table: Ledger, history: PlanHistory, done: Set[str]) -> frozenset[str]:
    """Return the slots of committed shards with rows of recordings that are gone; it reads all markers."""
    markers = table.markers(history.names & done)
    return frozenset(slot_of_shard(each.name) for each in markers if each.detail.get(REMOVED_ROWS))


def find_gone(archive: Archive, known: Mapping[str, Shard], look: Look) -> frozenset[str]:
    """Return the URIs of planned sources that are gone, without those that were gone before.

    Parameters
    ----------
    archive : Archive
    known : mapping of str to Shard
        By slot.
    look : callable
        What the store holds at a URI now. It is asked for each source that the listing lacks: one that links lead to,
        or in a folder that may not be listed any more, is there all the same.
    """
    sources = (*archive.files, *(each.sources[0] for each in archive.containers))
    here = {source.uri for source in sources if not source.is_absent}
    missing = [
        source.uri
        for shard in known.values()
        if shard.kind not in (FOLDER, SHARED)
        for source in shard.sources
        if source.uri not in here and _was_there(source) and archive.place_of(source.uri) is not None
    ]

    found = answers(partial(is_gone, look=look), missing)
    return frozenset(uri for uri, has_gone in zip(missing, found, strict=True) if has_gone)


def is_gone(uri: str, look: Look) -> bool:
    """Return True if the store says that nothing is there; one that does not answer says nothing."""
    try:
        return look(uri) is None
    except StorageError:
        return False


def too_many(archive: Archive, shards: Iterable[Shard], gone: Collection[str], max_removed: float) -> str:
    """Return what to say of a place that has lost too much at once; nothing if none has.

    It may not be mounted, or not be synchronised: nothing of the archive is to be taken for gone then.

    Parameters
    ----------
    shards : iterable of Shard
        Those that have been committed. They are asked for only if a source is gone.
    max_removed : float
        Share of the sources in a place that may be gone; of fewer than :data:`SMALL`, all but one may.
    """
    if not gone or max_removed >= 1.0:
        return ""
    n_before: Counter[str] = Counter()
    n_gone: Counter[str] = Counter()
    for source in (source for shard in shards for source in shard.sources if _was_there(source)):
        place = archive.place_of(source.uri)
        if place is not None:
            n_before[place.uri] += 1
            n_gone[place.uri] += source.uri in gone
    for where, n in n_before.items():
        if n_gone[where] > max_removed * n and (n >= SMALL or n_gone[where] == n):
            return (
                f"{where}: {n_gone[where]:,} of the {n:,} stored objects that it had are gone, more than --max-removed "
                f"{max_removed:g} allows. All else is done, and none of them counts as gone. Check that it is mounted "
                f"and complete; if they are in another folder now, give --moved OLD=NEW; if they are meant to be gone, "
                f"give --max-removed 1. Their rows stay, with `removed_at`."
            )
    return ""


def _was_there(source: Stored) -> bool:
    return not source.is_absent and not is_removed(source)
