"""Source index: what the plans of a ledger read, and which of it a listing finds as it was planned.

Of a million sources most are the same every night. A listing asks the index for each object that it finds; one that is
as it was planned is noted by a bit, and no object is kept of it. What is left, and the shards that it belongs to, are
planned anew by :func:`jobs.tables.plan.propose`.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from jobs.inputs.archive import Archive
from jobs.inputs.containers import container_kind
from jobs.inputs.shards import Shard, is_removed
from jobs.inputs.suffixes import kind_of_name
from jobs.inputs.utterance_ids import root_of
from jobs.storage import Stored, key_of
from jobs.tables.names import Names, as_names
from jobs.tables.plan_history import PlanHistory, Shards

KEY = os.urandom(16)  # of this process: nobody can name a file so that it is taken for another one
DIGEST_BYTES = 16


class _Digests:
    """Digests of texts, each with the row of its shard; 20 bytes for each."""

    def __init__(self) -> None:
        self._bytes, self._rows = bytearray(), array("i")

    def add(self, text: str, row: int) -> None:
        """Add a text."""
        self._bytes += _digest(text)
        self._rows.append(row)

    def sort(self) -> None:
        """Make what was added ready to be found."""
        halves = np.frombuffer(bytes(self._bytes), np.uint64).reshape(-1, 2)
        order = np.argsort(halves[:, 0], kind="stable")
        self._first = array("Q", halves[order, 0].tobytes())
        self._second = array("Q", halves[order, 1].tobytes())
        self.rows = np.array(self._rows, np.int32)[order]
        self._bytes, self._rows = bytearray(), array("i")

    def find(self, text: str) -> int | None:
        """Return the place of a text among the sorted ones; None if it is not there."""
        first, second = np.frombuffer(_digest(text), np.uint64).tolist()
        place = bisect_left(self._first, first)
        is_there = place < len(self._first) and self._first[place] == first and self._second[place] == second
        return place if is_there else None

    def repeated(self) -> npt.NDArray[np.int32]:
        """Return the rows of texts that begin with the same half of a digest, as equal ones do."""
        first = np.frombuffer(self._first, np.uint64)
        same = np.zeros(len(first) + 1, bool)
        same[1:-1] = first[1:] == first[:-1]
        return np.asarray(self.rows[same[1:] | same[:-1]])


class SourceIndex:
    """Sources of the current shards of a history, and what a listing found of them.

    Parameters
    ----------
    history : PlanHistory
    done : iterable of str
        Names of what is committed.
    relative : bool
        The ids of the archive are relative to an input.
    """

    def __init__(self, history: PlanHistory, done: Iterable[str], *, relative: bool) -> None:
        self._history = history
        self._current = history.current
        self._states, self._uris, self._ids = _Digests(), _Digests(), _Digests()
        n = len(self._current)
        self._is_group, is_plain = np.zeros(n, bool), np.zeros(n, bool)
        removed: list[str] = []
        for row, planned in enumerate(self._current.shards()):
            if not planned.entry.has_sources:
                continue
            shard = Shard.from_content(planned.entry.work)
            self._is_group[row] = shard.kind == "files"
            is_plain[row] = _is_plain(shard, relative=relative)
            for source in shard.sources:
                self._uris.add(source.uri, row)
                self._states.add(_state(source), row)
                if is_removed(source):
                    removed.append(_state(source))
            for _, name in shard.ids():
                self._ids.add(name, row)
        for digests in (self._states, self._uris, self._ids):
            digests.sort()
        self._may_settle = is_plain & as_names(done).holds(history.row_names[self._current.rows])
        self._may_settle[self._uris.repeated()] = False
        self._is_seen = bytearray(len(self._states.rows))
        for state in removed:
            self._is_seen[self._states.find(state) or 0] = True
        self._is_listed = bytearray(len(self._states.rows))

    def sees(self, stored: Stored) -> bool:
        """Note an object of a listing, if it is a source as planned of a committed shard; return whether it is."""
        place = self._states.find(_state(stored))
        if place is None or not self._may_settle[self._states.rows[place]]:
            return False
        self._is_seen[place] = self._is_listed[place] = True
        return True

    def has_seen(self, source: Stored) -> bool:
        """Return True if a listing found a source as it was planned."""
        place = self._states.find(_state(source))
        return place is not None and bool(self._is_listed[place])

    def is_recording(self, uri: str) -> bool:
        """Return True for a loose file that plans read."""
        place = self._uris.find(uri)
        return place is not None and bool(self._is_group[self._uris.rows[place]])

    def __iter__(self) -> Iterator[str]:
        """Yield the URIs of all sources; it reads all plans once more."""
        return (uri for planned in self._current.shards() for uri in planned.entry.source_uris)

    def owner_of(self, utterance_id: str) -> str | None:
        """Return the URI of a planned source that has an id; None if there is none."""
        place = self._ids.find(utterance_id)
        if place is None:
            return None
        planned = self._history.row(int(self._current.rows[self._ids.rows[place]]))
        owned = Shard.from_content(planned.entry.work).ids()
        return next((uri for uri, name in owned if name == utterance_id), None)

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
        settled[self._states.rows[np.frombuffer(self._is_seen, np.uint8) == 0]] = False
        found = (*(each.uri for each in archive.files), *(each.uri for each in archive.containers), *again)
        places = [place for uri in found if (place := self._uris.find(uri)) is not None]
        settled[self._uris.rows[places]] = False
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
        for planned in rest.shards():
            if not planned.entry.has_sources:
                continue
            shard = Shard.from_content(planned.entry.work)
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
    return f"{stored.size} {len(stored.etag)} {stored.etag}{stored.uri}"


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES, key=KEY).digest()
