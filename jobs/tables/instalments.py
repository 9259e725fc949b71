"""Instalments: what a listing finds new is planned a part at a time, so that no night holds all of it in memory.

```
listing  ─► a.tar, b.wav, c.wav, …, 100,000 objects ─► entries, on the local disk ─┐
         ─► …                                       ─► entries                    ─┼─► plans, when the listing has ended
         ─► changed, unclear or few                 ─► jobs.tables.plan.propose   ─┘
```

Only what is plainly new is taken: an object of which no plan knows, and whose name, or first bytes, say that it is a
container or a recording. All else stays in the listing. A small archive is not thinned, and its listing keeps all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import chain

import numpy as np

from jobs import storage
from jobs.errors import RunAgain
from jobs.inputs.archive import Archive
from jobs.inputs.containers import container_kind
from jobs.inputs.contents import Contents
from jobs.inputs.passed_over import PassedOver
from jobs.inputs.shards import Selection, Shard, group_files
from jobs.inputs.suffixes import kind_of_name
from jobs.inputs.utterance_ids import utterance_id
from jobs.storage import Stored
from jobs.tables.digests import DigestSet, value_of
from jobs.tables.entries import Entries, EntriesWriter, packed
from jobs.tables.names import Names
from jobs.tables.plan import entry_of, in_free_slot
from jobs.tables.source_index import SourceIndex

PLAN_BYTES = 32 << 20
"""Text of the entries of a plan, from which on it is full: some 150,000 containers or recordings."""

LOOKED_INTO = ("parquet",)  # kinds of containers that may be something else


class Instalments:
    """The parts of a proposal that are planned while an archive is listed.

    Parameters
    ----------
    index : SourceIndex
        Of what is planned; at the end it knows the ids of the parts, too.
    contents : Contents
    group_seconds : callable
        Audio of a group of loose files, at most.
    relative : bool
        Ids are relative to the input.

    Attributes
    ----------
    parts : list of Entries
        Each for a plan of its own, in the order in which they are to be frozen.
    passed_over : PassedOver
        Objects that are neither recordings nor containers.
    roots : set of str
        Folders that ids are relative to.
    """

    def __init__(
        self, index: SourceIndex, contents: Contents, group_seconds: Callable[[], float], *, relative: bool
    ) -> None:
        self.parts: list[Entries] = []
        self.passed_over = PassedOver()
        self.roots: set[str] = set()
        self._index, self._contents, self._group_seconds, self._relative = index, contents, group_seconds, relative
        self._writer = EntriesWriter()
        self._uris, self._ids = DigestSet(), DigestSet()

    @property
    def has_any(self) -> bool:
        """True if anything is planned."""
        return bool(self.parts or self._writer.n_bytes)

    @property
    def slots(self) -> Names:
        """Slots of all that is planned."""
        return Names.of(np.concatenate([packed(()), *(part.slots for part in self.parts)]))

    def thinned(self, kept: list[Stored], root: str) -> list[Stored]:
        """Plan what is plainly new of what a listing keeps so far; return all else.

        Parameters
        ----------
        root : str
            The folder that is listed, with a slash at its end.
        """
        rest: list[Stored] = []
        files: list[Stored] = []
        unclear: list[Stored] = []
        id_root = root if self._relative else ""
        for stored in sorted(kept):
            kind = container_kind(stored.uri)
            is_plain = stored.etag != storage.DENIED and stored.uri.startswith(root)
            if not is_plain or kind in LOOKED_INTO or self._index.knows(stored.uri):
                rest.append(stored)
            elif kind is not None:
                self._plan(Shard(kind, (stored,), root=id_root))
            else:
                match kind_of_name(stored.uri):
                    case "audio":
                        files.append(stored)
                    case "unknown":
                        unclear.append(stored)
                    case "other":
                        self.passed_over.add(storage.key_of(stored.uri))
        recordings = self._contents.recordings(unclear)
        for stored in set(unclear).difference(recordings):
            self.passed_over.add(storage.key_of(stored.uri))

        def selections_of(uri: str) -> tuple[Selection, ...]:
            return (Selection(utterance_id(uri, None, root=id_root)),)

        groups = group_files(sorted([*files, *recordings]), selections_of, self._group_seconds())
        for group in groups[:-1]:
            self._plan(group)
        if self._relative and self.has_any:
            self.roots.add(root)
        return [*rest, *(source for group in groups[-1:] for source in group.sources)]  # others may join these

    def finish(self, found: Archive) -> Archive:
        """End the last part, once the listing has ended.

        Parameters
        ----------
        found : Archive
            What the listing went on with.

        Returns
        -------
        Archive
            The same, and those of the parts whose id another source has: :mod:`jobs.tables.shared_ids` tells of them.

        Raises
        ------
        RunAgain
            If the store has listed an object twice.
        """
        self._close()
        for digests in (self._uris, self._ids):
            digests.sort()
        if self._uris.repeated():
            raise RunAgain("an object was listed twice. Run the same command again.")
        shared = {value_of(name) for _, name in found.ids() if name in self._ids}
        if self._ids.repeated() or self._ids.meets(self._index.ids):
            shared |= self._ids.repeats_beside(self._index.ids)
        if shared:
            found = self._give_back(found, shared)
        self._index.learn(chain.from_iterable(self.parts), self._ids)
        return found

    def _plan(self, shard: Shard) -> None:
        self._writer.add(entry_of(in_free_slot(shard, self._index.history, self._index.new_slots)))
        for source in shard.sources:
            self._uris.add(source.uri)
        for _, name in shard.ids():
            self._ids.add(name)
        if self._writer.n_bytes >= PLAN_BYTES:
            self._close()

    def _close(self) -> None:
        if self._writer.n_bytes:
            self.parts.append(self._writer.written())
            self._writer = EntriesWriter()

    def _give_back(self, found: Archive, shared: Collection[int]) -> Archive:
        """Take the sources whose ids have these digests out of the parts, and put them into the archive."""
        parts, self.parts, self._ids = self.parts, [], DigestSet()
        self._index.new_slots.clear()
        containers: list[Shard] = []
        files: dict[str, Stored] = {}
        roots: dict[str, str] = {}
        for entry in chain.from_iterable(parts):
            shard = Shard.from_content(entry.work)
            taken = {uri for uri, name in shard.ids() if value_of(name) in shared}
            roots |= {uri: root for uri, root in shard.id_roots() if uri in taken}
            if shard.kind != "files":
                containers += [shard] if taken else []
            else:
                files |= {source.uri: source for source in shard.sources if source.uri in taken}
            if left := shard.without(taken):
                self._plan(left)
        self._close()
        self._ids.sort()
        return replace(
            found,
            containers=tuple(sorted([*found.containers, *containers], key=lambda each: each.uri)),
            files=tuple(sorted([*found.files, *files.values()])),
            id_roots=None if found.id_roots is None else found.id_roots | roots,
        )
