"""Shared ids: sources that would have one id, of which none is heard, or only the one that had it first.

```
x.wav of --input a, planned before          keeps its id and its rows
x.wav of --input b, new                     a row `bad_name` under its whole URI, which names a/x.wav
x.wav of --input a, x.wav of --input b      both new: a row `bad_name` for each, and nobody has the id
```

Ids leave out the bucket or, where they are relative, the folder of an input. Whoever may write into one input could
else stop a night, or take the place of a recording of another one. Such a source is a shard of its own, as a folder is
that may not be listed. It is heard by the first run that finds no other with its id, and every run until then says so.

Who has an id keeps it, also where a run does not list its place: the disk may not be mounted. It has none any more once
it was found to be gone, or moved (:mod:`jobs.tables.moves`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.inputs.archive import Archive
from jobs.inputs.id_spelling import spelt_in_id
from jobs.inputs.requests import answers
from jobs.inputs.shards import SHARED, Shard
from jobs.inputs.utterance_ids import ways_out
from jobs.storage import Stored
from jobs.tables.moves import Moves, suggestion
from jobs.tables.protocol import PlannedShard
from jobs.tables.removal import Look, is_gone
from jobs.tables.repeated_ids import UNHEARD
from jobs.tables.source_index import SourceIndex

IDS_STAY = (
    "A recording keeps the id that it has in this output: give that one in the list, one that no other has, or "
    "another --output."
)


class SharedIdError(SchemaError):
    """Sources are not heard, because others have their ids: they are failures, and all else of the run is done."""


@dataclass(frozen=True)
class Unheard:
    """The sources of an archive that are not heard for their id.

    Parameters
    ----------
    n_sources : int
    uri, other, utterance_id : str
        The first one, where another one is that has its id, and the id.
    is_beside : bool
        True if the archive would have the other one, too.
    """

    n_sources: int = 0
    uri: str = ""
    other: str = ""
    utterance_id: str = ""
    is_beside: bool = False

    @classmethod
    def of(cls, apart: Sequence[Shard], archive: Archive) -> Unheard:
        """Return those of the shards that :func:`set_apart` returned."""
        if not apart:
            return NONE_UNHEARD
        first, uris = apart[0], {each.uri for each in apart} | {uri for uri, _ in archive.ids()}
        other = next((other for other, _ in first.names or ()), "")
        is_beside = other in uris or archive.place_of(other) is not None
        return cls(len(apart), first.uri, other, first.id_of(None), is_beside)

    def record(self) -> dict[str, Any]:
        """Return what a run's record says of them; empty if there are none."""
        first = {"uri": self.uri, "other": self.other, "utterance_id": self.utterance_id}
        return {UNHEARD: {"count": self.n_sources, "first": first}} if self.n_sources else {}

    def raise_any(self) -> None:
        """Raise :class:`SharedIdError` if there are any."""
        if not self.n_sources:
            return
        n_others = self.n_sources - 1
        others = f" Nor are {n_others:,} more files or containers heard, for the same reason." if n_others else ""
        flag = "" if self.is_beside else suggestion(self.uri, self.other)
        move = (
            f"If the archive was moved, give {flag} once (docs/operations.md#move-the-archive). Else: " if flag else ""
        )
        raise SharedIdError(
            f"{self.uri}: is not heard, because its utterance id {self.utterance_id!r} is that of {self.other}, too."
            f"{others} All other recordings are done, and each run ends so until you act. "
            f"{move}{ways_out(self.uri, self.other, self.utterance_id)}"
        )


NONE_UNHEARD = Unheard()


def set_apart(archive: Archive, known: Mapping[str, Shard], index: SourceIndex | None) -> tuple[Archive, list[Shard]]:
    """Return an archive without the sources that are not heard for their id, and a shard for each of these.

    Parameters
    ----------
    archive : Archive
        With the ids that its recordings have in the plans.
    known : mapping of str to Shard
        Planned shards by slot.
    index : SourceIndex, optional
        What is planned besides.

    Raises
    ------
    ConfigError
        If a list names a recording by an id that another one has: whoever wrote it can say which is meant.
    """
    claims: defaultdict[str, set[str]] = defaultdict(set)
    for uri, name in archive.ids():
        claims[name].add(uri)
    here = {uri for uris in claims.values() for uri in uris}
    heard = [shard for shard in known.values() if shard.kind != SHARED]
    for shard in known.values():
        if shard.is_apart and shard.uri not in here and archive.place_of(shard.uri) is None:
            claims[shard.id_of(None)].add(shard.uri)  # of an input that this run leaves out
    owners = {name: uri for shard in heard for uri, name in shard.ids() if name in claims}
    if index is not None:
        owners = index.owners_of(claims.keys() - owners.keys()) | owners
    refused: dict[str, str] = {}
    for name, uris in claims.items():
        owner = owners.get(name) or _listed(archive, uris)
        others = uris - {owner}
        if not others or (owner is None and len(others) == 1):
            continue
        _refuse_lists(archive, name, owner, others)
        refused |= {uri: owner or min(others - {uri}) for uri in others & here}
    if not refused:
        return archive, []
    sources = {each.uri: each for each in (*archive.files, *(shard.sources[0] for shard in archive.containers))}
    left = replace(
        archive,
        files=tuple(each for each in archive.files if each.uri not in refused),
        containers=tuple(each for each in archive.containers if each.uri not in refused),
    )
    roots = archive.id_roots or {}
    return left, [_apart(sources[uri], refused[uri], roots.get(uri, "")) for uri in sorted(refused)]


def strange_ids(archive: Archive, rest: Mapping[str, PlannedShard]) -> set[str]:
    """Return the ids of what an archive has that no shard of a plan hears.

    Parameters
    ----------
    rest : mapping of str to PlannedShard
        By slot: those with the sources of the archive that plans know.
    """
    entries = (planned.entry for planned in rest.values())
    heard = {
        uri for entry in entries if entry.has_sources and entry.work["kind"] != SHARED for uri in entry.source_uris
    }
    return {name for uri, name in archive.ids() if uri not in heard}


def forgotten_apart(archive: Archive, known: Mapping[str, Shard], moves: Moves, look: Look) -> set[str]:
    """Return the slots of sources that were not heard for their id, in places that a run does not list, and are gone.

    They have no rows that could be lost, so it is enough that the store has nothing there, or that a move says so.
    """
    here = {uri for uri, _ in archive.ids()}
    left_out = [
        (slot, shard.uri)
        for slot, shard in known.items()
        if shard.is_apart and shard.uri not in here and archive.place_of(shard.uri) is None
    ]
    are_gone = answers(partial(is_gone, look=look), (uri for _, uri in left_out))
    return {slot for (slot, uri), gone in zip(left_out, are_gone, strict=True) if gone or moves.covers(uri)}


def heard_by_now(
    archive: Archive, known: Mapping[str, Shard], apart: list[Shard], forgotten: Collection[str]
) -> list[Shard]:
    """Return the shards of sources that were not heard for their id, and are now, or are gone: they lose their row."""
    slots = {each.slot for each in apart}
    here = {uri for uri, _ in archive.ids()}
    return [
        replace(shard, sources=(Stored(shard.uri, 0, storage.ABSENT),))
        for slot, shard in known.items()
        if shard.is_apart
        and slot not in slots
        and (slot in forgotten or shard.uri in here or archive.place_of(shard.uri) is not None)
    ]


def _apart(source: Stored, other: str, root: str) -> Shard:
    return Shard(SHARED, (source,), ((other, spelt_in_id(source.uri)),), root=root)


def _listed(archive: Archive, uris: set[str]) -> str | None:
    """Return the only source that a list names by an id: whoever wrote the list meant that one."""
    listed = [uri for uri in uris if _is_listed(archive, uri)]
    return listed[0] if len(listed) == 1 else None


def _is_listed(archive: Archive, uri: str) -> bool:
    return uri in archive.selections or any(each.uri == uri and each.names is not None for each in archive.containers)


def _refuse_lists(archive: Archive, name: str, owner: str | None, others: set[str]) -> None:
    listed = sorted(uri for uri in others if _is_listed(archive, uri))
    if listed:
        first = owner or listed[0]
        second = listed[0] if owner else listed[1]
        planned = ", and the rows of the first are planned in this output" if owner else ""
        flag = suggestion(second, first) if owner else ""
        move = f"If the archive was moved, give {flag} once. Else: " if flag else ""
        ways = IDS_STAY if owner else ways_out(second, first, name)
        raise ConfigError(f"{first} and {second} share the utterance id {name!r}{planned}. {move}{ways}")
