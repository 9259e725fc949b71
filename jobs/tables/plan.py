"""The plan: which shards of an archive are new beside what was planned before, such that no recording is done twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from detector.audio import WHOLE
from detector.config import digest_of
from detector.errors import ConfigError
from jobs import storage
from jobs.errors import StorageError
from jobs.inputs.archive import Archive
from jobs.inputs.shards import FOLDER, Selection, Shard, group_files
from jobs.storage import Stored
from jobs.tables.protocol import DROPPED, Entry, PlanHistory, PlannedShard

OTHERS = "others"
"""In the detail of a plan: digests of objects that were looked at and are no recordings; see `jobs.inputs.contents`."""


@dataclass(frozen=True)
class Proposal:
    """An archive beside the plans.

    Parameters
    ----------
    new : tuple of Entry
        Shards that no plan has in this state; and tombstones of those that were never read, and whose sources are gone.
    slots : frozenset of str
        Slots of all shards of the archive, planned before or new.
    """

    new: tuple[Entry, ...]
    slots: frozenset[str]


def propose(
    archive: Archive,
    history: PlanHistory,
    done: set[str],
    look: Callable[[str], Stored | None],
    again: Collection[str] = (),
) -> Proposal:
    """Plan an archive beside what earlier plans have grouped and committed.

    A container is always the same slot. Loose files stay in the group that they were first planned in, so that new
    files beside them make new groups and leave the old ones alone. A slot is planned again where a source of it
    changed: its new rows will stand where the old ones stood. An object that only a list names, and that is not there,
    leaves committed rows as they are: it may be a disk that was not mounted. A shard that was planned and never
    committed is dropped if the store has none of its sources any more; committed rows stay.

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
        Slots to plan again although no source of theirs changed.

    Raises
    ------
    ConfigError
        Where the archive names other members of a container than were planned, or two sources would share an id.
    """
    known = {
        slot: Shard.from_content(planned.entry.work)
        for slot, planned in history.current.items()
        if planned.entry.has_sources
    }
    _refuse_shared_ids(archive, known)
    committed = {slot for slot, planned in history.current.items() if planned.name in done}
    new = [
        _entry(each)
        for each in archive.containers
        if each.slot in again
        or (_is_new(each, known.get(each.slot)) and not (each.sources[0].is_absent and each.slot in committed))
    ]
    folders = [*archive.folders, *_listed_by_now(archive, known)]
    new += [_entry(each) for each in folders if each != known.get(each.slot)]
    slots = {each.slot for each in (*archive.containers, *folders)}
    loose = {stored.uri: stored for stored in archive.files}
    for slot, shard in known.items():
        here = [source.uri for source in shard.sources if source.uri in loose] if shard.kind == "files" else []
        if not here:
            continue
        slots.add(slot)
        planned = shard.selections() or {}
        for uri in here:
            _refuse_lost_excerpts(uri, planned[uri], archive.selections_of(uri))
        seen = [uri for uri in here if not (loose[uri].is_absent and slot in committed)]
        changed = any((loose[uri], archive.selections_of(uri)) != (shard.source(uri), planned[uri]) for uri in seen)
        if changed or slot in again or (len(here) < len(shard.sources) and slot not in committed):
            now = _as_it_is_now(shard, archive, loose, look)
            new += [] if now == shard and slot not in again else [_entry(now, slot)]
        for uri in here:
            del loose[uri]
    groups = [_entry(each) for each in group_files(sorted(loose.values()), archive.selections_of)]
    slots |= {each.slot for each in groups}
    missing = known.keys() - slots - committed
    gone = [slot for slot in sorted(missing) if _is_gone(known[slot], look)]
    return Proposal((*new, *groups, *tombstones(history, done, gone)), frozenset(slots))


def tombstones(history: PlanHistory, done: Collection[str], slots: Iterable[str]) -> tuple[Entry, ...]:
    """Return entries that take slots out of the work: their rows are those that were committed before, or none.

    Where a state was committed before, the tombstone has its state and sources, so a source that comes back in that
    state is not read again, and every other one is.
    """
    before = history.last_committed(done)
    entries = []
    for slot in slots:
        kept = before[slot].entry if slot in before else Entry(slot, "")
        entries.append(Entry(slot, kept.state, (kept.work or {}) | {DROPPED: True}))
    return tuple(entries)


def recordings_in(history: PlanHistory) -> set[str]:
    """Return the URIs of the loose files that plans read."""
    works = [planned.entry.work for planned in history.current.values() if planned.entry.has_sources]
    return {uri for work in works if work["kind"] == "files" for uri, *_ in work["sources"]}


def others_in(history: PlanHistory) -> set[str]:
    """Return the digests of objects that earlier runs looked at, and that are no recordings."""
    return {digest for plan in history.plans for digest in plan.detail.get(OTHERS, ())}


def _entry(shard: Shard, slot: str | None = None) -> Entry:
    return Entry(slot or shard.slot, shard.shard_id, shard.to_content())


def _is_new(container: Shard, before: Shard | None) -> bool:
    if before is not None and before.sources == container.sources and before != container:
        raise ConfigError(
            f"{container.uri}: its rows are in this output already, from another selection of its members (shard "
            f"{before.shard_id}, now {container.shard_id}). They would stand twice; use another --output."
        )
    return before != container


def _is_gone(shard: Shard, look: Callable[[str], Stored | None]) -> bool:
    """Return True if the store says that it has none of the sources; one that does not answer says nothing."""
    try:
        return all(look(source.uri) is None for source in shard.sources)
    except StorageError:
        return False


def _listed_by_now(archive: Archive, known: dict[str, Shard]) -> list[Shard]:
    """Folders that could not be listed when they were planned: without a source to fail on, they lose their row."""
    denied = {each.slot for each in archive.folders}
    return [
        replace(shard, sources=(Stored(shard.uri, 0, storage.ABSENT),))
        for slot, shard in known.items()
        if shard.kind == FOLDER and slot not in denied and archive.covers(shard.uri)
    ]


def _as_it_is_now(
    shard: Shard, archive: Archive, loose: dict[str, Stored], look: Callable[[str], Stored | None]
) -> Shard:
    """The same files as they are now; one that is gone keeps its place, and gets a row that says so."""
    now = []
    for source in shard.sources:
        found = loose.get(source.uri) or look(source.uri)
        now.append(found or Stored(source.uri, 0, storage.ABSENT))
    planned = shard.selections() or {}
    selections = {uri: archive.selections_of(uri) if uri in loose else planned[uri] for uri in planned}
    return Shard.selecting(shard.kind, now, [(uri, item) for uri, each in selections.items() for item in each])


def _refuse_lost_excerpts(uri: str, before: tuple[Selection, ...], now: tuple[Selection, ...]) -> None:
    """A list may add excerpts to those that are planned; rows of one that it leaves out would be lost."""
    if any(excerpt != WHOLE for _, excerpt in (*before, *now)) and not set(before) <= set(now):
        (name, _), *_ = sorted(set(before) - set(now))
        raise ConfigError(
            f"{uri}: {name!r} is in this output already, and is not among the excerpts that are named now: its rows "
            f"would be replaced. Name all excerpts of a recording, or use another --output."
        )


def _refuse_shared_ids(archive: Archive, known: dict[str, Shard]) -> None:
    """Ids leave the bucket out: the same key in another bucket cannot go into the same output."""
    owners: dict[str, str] = {}
    for shard in known.values():
        for uri, name in shard.ids():
            owners[name] = uri
    found = [pair for each in archive.containers for pair in each.ids()]
    loose = [(stored.uri, name) for stored in archive.files for name, _ in archive.selections_of(stored.uri)]
    for uri, name in (*found, *loose):
        if owners.get(name, uri) != uri:
            raise ConfigError(
                f"{owners[name]} and {uri} share the utterance id {name!r}, and the rows of the first are planned in "
                f"this output; use another --output."
            )


def propose_scores(embedded: Iterable[PlannedShard], history: PlanHistory) -> tuple[Entry, ...]:
    """Committed embeddings that no plan has scored yet, or only in an older state.

    Never in an older state than is planned: a run that was slow must not take back what a later one found.

    Parameters
    ----------
    embedded : iterable of PlannedShard
        Of the embedding table.
    history : PlanHistory
        Of the score table; the state of an entry is the name of the embeddings that it judges.
    """
    have = {slot: planned.entry.state for slot, planned in history.current.items()}
    return tuple(Entry(shard.slot, shard.name) for shard in embedded if have.get(shard.slot, "") < shard.name)


def left_behind(
    embedded: PlanHistory, scored: PlanHistory, done: Collection[str], asked: Collection[str]
) -> list[PlannedShard]:
    """Return shards of embeddings that a run planned to score and did not, or that were dropped after they were scored.

    Their sources may be gone, so that no archive names them. Without their scores the plan would never be done.

    Parameters
    ----------
    embedded, scored : PlanHistory
        Of the embedding table, and of the score table.
    done : collection of str
        Names of what is committed of the score table.
    asked : collection of str
        Slots that are scored anyway.
    """
    slots = (slot for slot in sorted(scored.current) if slot in embedded.current and slot not in asked)
    return [
        embedded.current[slot]
        for slot in slots
        if scored.current[slot].name not in done or embedded.current[slot].entry.is_dropped
    ]


def plan_id_of(entries: tuple[Entry, ...], n_before: int) -> str:
    """Eight hexadecimal digits that change with any shard of a plan, and with the plans before it."""
    return digest_of([n_before, *sorted((each.slot, each.state) for each in entries)])[:8]
