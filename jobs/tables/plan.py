"""The plan: which shards of an archive are new beside what was planned before, such that no recording is done twice."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from detector.config import digest_of
from jobs import storage
from jobs.inputs.archive import Archive
from jobs.inputs.shards import FOLDER, SHARED, Shard, group_files, is_removed
from jobs.storage import Stored
from jobs.tables.comparison import Comparison
from jobs.tables.entries import Entries
from jobs.tables.moves import MOVED, NO_MOVES, Moves, vacated
from jobs.tables.names import Names, as_names, texts
from jobs.tables.plan_history import Shards
from jobs.tables.protocol import DROPPED, Entry, PlanHistory, PlannedShard
from jobs.tables.removal import RemovalPolicy, find_gone, is_gone, too_many
from jobs.tables.shared_ids import NONE_UNHEARD, Unheard, forgotten_apart, heard_by_now, set_apart, strange_ids
from jobs.tables.source_index import SourceIndex

SEGMENTS = "segments"
"""In the detail of a plan: what its run asked for by `--segments`. As a name for `--redo`: what has no such windows."""

AGAIN, PRUNE = "again", "prune"
"""In the work of a shard: URIs of sources that are read again though they did not change; and, if rows of recordings
that are gone are to be taken out, True."""

TOUCHED = (
    "%d files have the size and the modification time that they were planned with, and were changed since: they are "
    "read again. Their owner, mode or links may have changed, or they were restored or copied, or replaced; first: %s"
)

log = logging.getLogger(__name__)

DEFAULT_POLICY = RemovalPolicy()
NO_NAMES = Names()


@dataclass(frozen=True)
class Proposal:
    """An archive beside the plans.

    Parameters
    ----------
    new : tuple of Entry
        Shards that no plan has in this state; and tombstones of those that were never read, and whose sources are gone.
    slots : set of str
        Slots of all shards of the archive, planned before or new.
    instalments : sequence of Entries
        New shards that go before, each part in a plan of its own.
    refused : str
        Why no source is taken for gone, although some are; empty if that is not so.
    unheard : Unheard
        Sources of the archive that are not heard, because another one has their id.
    """

    new: Sequence[Entry]
    slots: Set[str]
    instalments: Sequence[Entries] = ()
    refused: str = ""
    unheard: Unheard = NONE_UNHEARD

    @property
    def parts(self) -> tuple[Sequence[Entry], ...]:
        """All that is new, by plans."""
        return (*self.instalments, self.new) if self.new else tuple(self.instalments)


def propose(
    archive: Archive,
    history: PlanHistory,
    done: Set[str],
    look: Callable[[str], Stored | None],
    again: Collection[str] = (),
    policy: RemovalPolicy = DEFAULT_POLICY,
    index: SourceIndex | None = None,
    group_seconds: Callable[[], float] = lambda: math.inf,
    moves: Moves = NO_MOVES,
) -> Proposal:
    """Plan an archive beside what earlier plans have grouped and committed.

    A container is always the same slot. Loose files stay in the group that they were first planned in, so that new
    files beside them make new groups and leave the old ones alone. A slot is planned again where a source of it
    changed, or is gone (:mod:`jobs.tables.removal`): its new rows will stand where the old ones stood. Sources of it
    that this archive leaves out stay as they were. An object that only a list names, and that is not there, leaves
    committed rows as they are: it may be a disk that was not mounted. A shard that was planned and never committed is
    dropped if the store has none of its sources any more. A source that was moved stays in its slot
    (:mod:`jobs.tables.moves`).

    Parameters
    ----------
    archive : Archive
    history : PlanHistory
        Earlier plans.
    done : set of str
        Names of what is committed.
    look : callable
        What the store holds at a URI now: asked for sources of planned shards that the archive leaves out.
    again : collection of str
        URIs of sources to read again although nothing says that they changed.
    policy : RemovalPolicy
    index : SourceIndex, optional
        What the archive's listing left out, as it is as planned and committed. The result is the same as without.
    group_seconds : callable
        Audio of a group of loose files, at most; asked for only if new groups are made.
    moves : Moves
        Folders whose recordings lie in other folders now; ``index`` knows them, too.

    Raises
    ------
    ConfigError
        Where the archive names other members of a container than were planned, or where a list gives the id of another
        source.
    """
    settled = Names()
    rest: Mapping[str, PlannedShard] = history.current
    if index is not None:
        archive, rest, settled = _unsettled(archive, index, again, policy.slots)
    planned = {slot: each.shard for slot, each in rest.items() if each.entry.has_sources}
    moves.check(planned, archive)
    known = {slot: moves.moved(shard) for slot, shard in planned.items()}
    archive = archive.keeping_ids(known.values())
    before = history.last_committed(done)
    gone = find_gone(archive, known, look)
    read_before = (moves.moved(shard) for shard in _read_before(history, before))
    refused = too_many(archive, read_before, gone, policy.max_removed)
    gone = frozenset() if refused else gone
    by_id = vacated(archive, known, gone)
    known = {slot: shard.at(by_id) for slot, shard in known.items()}
    again = {*again, *map(moves.place_of, again), *by_id.values()}
    forgotten = forgotten_apart(archive, known, moves, look)
    archive, apart = set_apart(archive, {slot: each for slot, each in known.items() if slot not in forgotten}, index)
    committed = {slot for slot, each in rest.items() if each.name in done}
    compared = Comparison(archive, before, committed, gone, look)
    slots, new = _known_now(compared, planned, known, again, policy)
    if compared.touched:
        log.warning(TOUCHED, len(compared.touched), compared.touched[0])
    own = set() if index is None else index.new_slots
    denied = _in_own_slots(archive.folders, known, history, own)
    apart = _in_own_slots(apart, known, history, own)
    folders = [*denied, *apart, *_listed_by_now(archive, denied, known, moves)]
    folders += heard_by_now(archive, known, apart, forgotten)
    unheard = [each for each in folders if each != known.get(each.slot)]
    loose = sorted(compared.loose.values())
    groups = group_files(loose, archive.selections_of, group_seconds() if loose else 0.0)
    found = [in_free_slot(each, history, own) for each in (*compared.containers, *groups)]
    slots |= {each.slot for each in (*folders, *found)}
    missing = known.keys() - slots - committed
    dropped = [slot for slot in sorted(missing) if all(is_gone(each.uri, look) for each in known[slot].sources)]
    entries = Entries.of(chain(new, map(entry_of, chain(unheard, found)), tombstones(history, done, dropped)))
    return Proposal(entries, Names(slots) | settled, refused=refused, unheard=Unheard.of(apart, archive))


def _known_now(
    compared: Comparison,
    planned: Mapping[str, Shard],
    known: Mapping[str, Shard],
    again: Collection[str],
    policy: RemovalPolicy,
) -> tuple[set[str], list[Entry]]:
    """Return the slots of planned shards that the archive has, or that any run can commit; and those planned again.

    Parameters
    ----------
    planned, known : mapping of str to Shard
        By slot: as they were planned, and the same where their sources lie now.
    """
    slots: set[str] = set()
    new = []
    for slot, shard in known.items():
        if shard.kind in (FOLDER, SHARED):
            slots |= {slot} if _is_over(shard) else set()
            continue
        now, here = compared.now(slot, planned[slot], shard)
        if here or now != planned[slot] or slot in policy.slots or _is_all_removed(now):
            slots.add(slot)
        read_again = sorted(uri for uri in here if uri in again)
        if now != planned[slot] or read_again or slot in policy.slots:
            new.append(entry_of(now, slot, read_again, prune=policy.prune, moved=compared.moved.get(slot)))
    return slots, new


def _unsettled(
    archive: Archive, index: SourceIndex, again: Collection[str], slots: Collection[str]
) -> tuple[Archive, Shards, Names]:
    """Return :meth:`SourceIndex.settle`, where no shard is settled if another source has an id of it."""
    found, rest, settled = index.settle(archive, again, slots)
    if owners := index.owners_of(strange_ids(found, rest)):
        found, rest, settled = index.settle(archive, {*again, *owners.values()}, slots)
    return found, rest, settled


def in_free_slot(shard: Shard, history: PlanHistory, taken: set[str]) -> Shard:
    """Return a shard in a slot that no plan has, nor this one so far, and add that to those that are ``taken``.

    Its sources may lie where others were moved away; and whoever names two sources may choose names of one digest.
    """
    slot = shard.slot
    while slot in taken or ((planned := history.current.get(slot)) is not None and planned.entry.source_uris):
        shard = replace(shard, number=shard.number + 1)
        slot = shard.slot
    taken.add(slot)
    return shard


def _in_own_slots(
    shards: Iterable[Shard], known: Mapping[str, Shard], history: PlanHistory, taken: set[str]
) -> list[Shard]:
    """Return what is no recording in the slots in which it was planned before, or else in free ones."""
    before = (each for each in known.values() if each.kind in (FOLDER, SHARED) and each.sources)
    numbers = {(each.kind, each.uri): each.number for each in before}
    return [
        replace(each, number=numbers[place])
        if (place := (each.kind, each.uri)) in numbers
        else in_free_slot(each, history, taken)
        for each in shards
    ]


def _read_before(history: PlanHistory, before: Mapping[str, PlannedShard]) -> Iterator[Shard]:
    """Yield the shards, as they are planned, of slots that have been committed."""
    for planned in history.current.values():
        if planned.entry.has_sources and planned.slot in before:
            yield planned.shard


def tombstones(history: PlanHistory, done: Collection[str], slots: Iterable[str]) -> tuple[Entry, ...]:
    """Return entries that take slots out of the work: their rows are those that were committed before, or none.

    Where a state was committed before, the tombstone has its state and sources, so a source that comes back in that
    state is not read again, and every other one is.
    """
    slots = list(slots)
    before = history.last_committed(done) if slots else {}
    entries = []
    for slot in slots:
        kept = before[slot].entry if slot in before else Entry(slot, "")
        work = {name: value for name, value in (kept.work or {}).items() if name != MOVED}
        entries.append(Entry(slot, kept.state, work | {DROPPED: True}))
    return tuple(entries)


def entry_of(
    shard: Shard,
    slot: str | None = None,
    again: Sequence[str] = (),
    *,
    prune: bool = False,
    moved: Mapping[str, str] | None = None,
) -> Entry:
    """Return a shard as a plan lists it: in its own slot, or in that in which it was planned before."""
    asked: dict[str, Any] = {AGAIN: list(again)} if again else {}
    asked |= ({PRUNE: True} if prune else {}) | ({MOVED: dict(moved)} if moved else {})
    return Entry(slot or shard.slot, shard.shard_id, shard.to_content() | asked)


def _is_over(shard: Shard) -> bool:
    """Return True for what is no recording, and has lost its row: any run can commit that."""
    return all(source.is_absent for source in shard.sources)


def _is_all_removed(shard: Shard) -> bool:
    """Return True if nothing of a shard is left to read, so that any run can commit it."""
    return bool(shard.sources) and all(map(is_removed, shard.sources))


def _listed_by_now(archive: Archive, denied: list[Shard], known: Mapping[str, Shard], moves: Moves) -> list[Shard]:
    """Folders that could not be listed when they were planned: without a source to fail on, they lose their row."""
    slots = {each.slot for each in denied}
    return [
        replace(shard, sources=(Stored(shard.uri, 0, storage.ABSENT),))
        for slot, shard in known.items()
        if shard.kind == FOLDER and shard.sources and slot not in slots  # without a source: it was erased
        if archive.walks(shard.uri) or moves.covers(shard.uri)
    ]


def runs_with_segments(scored: PlanHistory) -> frozenset[str]:
    """Return the runs that asked for segments; a shard that one of them planned gets some, whichever run scores it."""
    return frozenset(plan.run_id for plan in scored.plans if SEGMENTS in plan.detail)


def without_segments(embedded: Shards, scored: PlanHistory) -> Names:
    """Return the slots of shards that were embedded with windows, and scored in this state, but without segments."""
    with_windows = embedded.where(np.isin(embedded.history.numbers[embedded.rows], _asking(embedded.history)))
    slots, names = with_windows.packed_slots, with_windows.packed_names
    planned = scored.current
    others = planned.where(~np.isin(scored.numbers[planned.rows], _asking(scored)))
    return Names.of(slots[others.states_of(slots) == names])


def _asking(history: PlanHistory) -> list[int]:
    """Return the numbers of the plans of runs that asked for segments."""
    return [number for number, plan in enumerate(history.plans, start=1) if SEGMENTS in plan.detail]


def propose_scores(embedded: Shards, history: PlanHistory, again: Names = NO_NAMES) -> Sequence[Entry]:
    """Committed embeddings that no plan has scored yet, or only in an older state.

    Never in an older state than is planned: a run that was slow must not take back what a later one found.

    Parameters
    ----------
    embedded : Shards
        Of the embedding table.
    history : PlanHistory
        Of the score table; the state of an entry is the name of the embeddings that it judges.
    again : Names
        Slots that are planned again although they are planned in this very state.
    """
    slots, names = embedded.packed_slots, embedded.packed_names
    is_new = (history.current.states_of(slots) < names) | again.holds(slots)
    return Entries.of(map(Entry, texts(slots[is_new]), texts(names[is_new])))


def left_behind(embedded: PlanHistory, scored: PlanHistory, done: Iterable[str], asked: Iterable[str]) -> Shards:
    """Return shards of embeddings that a run planned to score and did not, or that were dropped after they were scored.

    Their sources may be gone, so that no archive names them. Without their scores the plan would never be done.

    Parameters
    ----------
    embedded, scored : PlanHistory
        Of the embedding table, and of the score table.
    done : iterable of str
        Names of what is committed of the score table.
    asked : iterable of str
        Slots that are scored anyway.
    """
    others = embedded.current.having(scored.current.slots - as_names(asked))
    is_waiting = scored.current.lacking(done).slots.holds(others.packed_slots)
    return others.where(is_waiting | others.is_dropped).ordered()


def plan_id_of(entries: Iterable[Entry], n_before: int) -> str:
    """Eight hexadecimal digits that change with any shard of a plan, and with the plans before it."""
    found = entries if isinstance(entries, Entries) else Entries.of(entries)
    return digest_of([n_before, *sorted(zip(texts(found.slots), texts(found.states), strict=True))])[:8]
