"""Source index: what the plans of a ledger read, and which of it a listing finds as it was planned.

Of a million sources most are the same every night. A listing asks the index for each object that it finds; one that is
as it was planned is noted by a bit, and no object is kept of it. What is left, and the shards that it belongs to, are
planned anew by :func:`jobs.tables.plan.propose`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from jobs.inputs.archive import Archive
from jobs.inputs.containers import container_kind
from jobs.inputs.shards import SHARED, Shard, is_removed
from jobs.inputs.suffixes import kind_of_name
from jobs.inputs.utterance_ids import root_of
from jobs.storage import Stored, key_of, source_tag, without_ctime
from jobs.tables.digests import DigestMap, DigestSet
from jobs.tables.entries import Entry
from jobs.tables.moves import NO_MOVES, Moves
from jobs.tables.names import Names, as_names
from jobs.tables.plan_history import PlanHistory, Shards


class SourceIndex:
    """Sources of the current shards of a history, and what a listing found of them.

    Parameters
    ----------
    history : PlanHistory
    done : iterable of str
        Names of what is committed.
    relative : bool
        The ids of the archive are relative to an input.
    moves : Moves
        Sources that were moved are known at both places, and none of them is as it was planned.

    Attributes
    ----------
    ids : DigestSet
        Of the sources.
    new_slots : set of str
        Those that this run plans first.
    """

    def __init__(self, history: PlanHistory, done: Iterable[str], *, relative: bool, moves: Moves = NO_MOVES) -> None:
        self._history, self._moves = history, moves
        self._current = history.current
        self._sources = DigestMap()
        self.ids = DigestSet()
        self.new_slots: set[str] = set()
        n = len(self._current)
        self._is_group, is_plain, self._ends = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, np.int64)
        dates = [history.plans[number - 1].run_date for number in history.numbers[self._current.rows].tolist()]
        removed: list[Stored] = []
        for row, entry in enumerate(self._current.entries()):
            if not entry.has_sources:
                continue
            shard = Shard.from_content(entry.work).dated(dates[row])
            if shard.kind == SHARED and not shard.is_apart:
                continue  # it is heard by now, in another shard
            self._is_group[row] = shard.kind == "files"
            is_plain[row] = _is_plain(shard, relative=relative)
            self._ends[row] = min((tag.end for tag in map(source_tag, shard.sources) if tag and tag.date), default=0)
            for source in shard.sources:
                self._sources.add(source.uri, _state(source), row)
                if moves.covers(source.uri):
                    self._sources.add(moves.place_of(source.uri), _state(source), row)
                    is_plain[row] = False
                if is_removed(source):
                    removed.append(source)
            for _, name in shard.ids():
                self.ids.add(name)
        self._sources.sort()
        self.ids.sort()
        self._may_settle = is_plain & as_names(done).holds(history.row_names[self._current.rows])
        self._may_settle[self._sources.repeated()] = False
        self._is_seen = bytearray(len(self._sources.rows))
        for source in removed:
            if (place := self._place_of(source)) is not None:
                self._is_seen[place] = True
        self._is_listed = bytearray(len(self._sources.rows))
        self._more: Iterable[Entry] = ()

    @property
    def history(self) -> PlanHistory:
        """The plans that it is of."""
        return self._history

    def sees(self, stored: Stored) -> bool:
        """Note an object of a listing, if it is a source as planned of a committed shard; return whether it is."""
        place = self._place_of(stored)
        if place is None or not self._may_settle[self._sources.rows[place]]:
            return False
        self._is_seen[place] = self._is_listed[place] = True
        return True

    def has_seen(self, source: Stored) -> bool:
        """Return True if a listing found a source as it was planned."""
        place = self._place_of(source)
        return place is not None and bool(self._is_listed[place])

    def knows(self, uri: str) -> bool:
        """Return True for a source that plans read, in whatever state."""
        return self._sources.find(uri) is not None

    def is_recording(self, uri: str) -> bool:
        """Return True for a loose file that plans read."""
        place = self._sources.find(uri)
        return place is not None and bool(self._is_group[self._sources.rows[place]])

    def __contains__(self, uri: object) -> bool:
        return isinstance(uri, str) and self.knows(uri)

    def __iter__(self) -> Iterator[str]:
        """Yield the URIs of all sources, at both places of those that were moved; it reads all plans once more."""
        return (
            place
            for entry in self.entries()
            for uri in entry.source_uris
            for place in ([uri, self._moves.place_of(uri)] if self._moves.covers(uri) else [uri])
        )

    def entries(self) -> Iterator[Entry]:
        """Yield what is planned, and what was learnt; it reads all plans once more."""
        return chain(self._current.entries(), self._more)

    def learn(self, entries: Iterable[Entry], ids: DigestSet) -> None:
        """Take over the ids of what is new, and is to be planned."""
        self._more = entries
        self.ids.update(ids)
        self.ids.sort()

    def owners_of(self, names: Collection[str]) -> dict[str, str]:
        """Return the URIs of planned sources that have these ids, by id; if there are any, it reads all plans."""
        found = {name for name in names if name in self.ids}
        owned = (
            (name, uri)
            for entry in (self.entries() if found else ())
            if entry.has_sources
            for uri, name in self._moves.moved(Shard.from_content(entry.work)).ids()
        )
        return {name: uri for name, uri in owned if name in found}

    def _place_of(self, source: Stored) -> int | None:
        place, tag = self._sources.find(source.uri, _state(source)), source_tag(source)
        if place is not None or tag is None or tag.changed is None:
            return place
        place = self._sources.find(source.uri, _state(without_ctime(source)))  # as an earlier release planned it
        return place if place is not None and tag.changed < self._ends[self._sources.rows[place]] else None

    def settle(self, archive: Archive, again: Iterable[str], slots: Collection[str]) -> tuple[Archive, Shards, Names]:
        """Tell what is settled: shards of which every source is as it was planned, and none is asked for.

        Parameters
        ----------
        archive : Archive
            What the listing did not leave out.
        again : iterable of str
            URIs of sources to read again.
        slots : collection of str
            Slots to plan again.

        Returns
        -------
        Archive
            With the sources of all shards that are not settled.
        Shards
            The shards that are not settled.
        Names
            Slots of those that are.
        """
        settled = self._may_settle.copy()
        settled[self._sources.rows[np.frombuffer(self._is_seen, np.uint8) == 0]] = False
        found = (*(each.uri for each in archive.files), *(each.uri for each in archive.containers), *again)
        places = [place for uri in found if (place := self._sources.find(uri)) is not None]
        settled[self._sources.rows[places]] = False
        current = self._current.rows
        if slots:
            settled &= ~Names(slots).holds(self._history.slots[current])
        rest = Shards(self._history, current[~settled])
        return self._with_seen(archive, rest), rest, Names.of(self._history.slots[current[settled]])

    def _with_seen(self, archive: Archive, rest: Shards) -> Archive:
        """Return an archive with the sources that its listing left out, of shards that are not settled."""
        files = {each.uri: each for each in archive.files}
        containers = {each.uri: each for each in archive.containers}
        roots = dict(archive.id_roots or {})
        n_before = len(files) + len(containers)
        for planned in rest.values():
            if not planned.entry.has_sources:
                continue
            shard = planned.shard
            known = dict(shard.id_roots())
            for source in filter(self.has_seen, shard.sources):
                if shard.kind == "files":
                    files.setdefault(source.uri, source)
                else:
                    containers.setdefault(source.uri, shard)
                roots.setdefault(source.uri, known.get(source.uri, ""))
        if len(files) + len(containers) == n_before:
            return archive
        return replace(
            archive,
            files=tuple(files[uri] for uri in sorted(files)),
            containers=tuple(containers[uri] for uri in sorted(containers)),
            id_roots=None if archive.id_roots is None else roots,
        )


def _is_plain(shard: Shard, *, relative: bool) -> bool:
    """Return True for a shard that a listing would plan in the same way: all of its sources, with ids by the rule."""
    if shard.excerpts:
        return False
    if shard.kind != "files":
        return shard.names is None and (relative or not shard.root) and container_kind(shard.uri) == shard.kind
    names = dict(shard.names or ())
    return len(names) == len(shard.names or ()) == len(shard.sources) and all(
        source.uri in names and _is_by_rule(source.uri, names[source.uri], relative=relative)
        for source in shard.sources
    )


def _is_by_rule(uri: str, name: str, *, relative: bool) -> bool:
    by_rule = root_of(uri, name) is not None if relative else name == key_of(uri)
    return by_rule and container_kind(uri) is None and kind_of_name(uri) in ("audio", "unknown")


def _state(stored: Stored) -> str:
    tag = source_tag(stored)
    return f"{stored.size} {tag.modified if tag and tag.date else stored.etag}"
