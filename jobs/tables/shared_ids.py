"""Shared ids: sources that would have one id, of which none is heard, or only the one that had it first.

```
x.wav of --input a, planned before          keeps its id and its rows
x.wav of --input b, new                     a row `bad_name` under its whole URI, which names a/x.wav
x.wav of --input a, x.wav of --input b      both new: a row `bad_name` for each, and nobody has the id
```

Ids leave out the bucket or, where they are relative, the folder of an input. Whoever may write into one input could
else stop a night, or take the place of a recording of another one. Such a source is a shard of its own, as a folder is
that may not be listed. It is heard by the first run that finds no other with its id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from detector.errors import ConfigError
from jobs import storage
from jobs.inputs.archive import Archive
from jobs.inputs.id_spelling import spelt_in_id
from jobs.inputs.shards import SHARED, Shard
from jobs.inputs.utterance_ids import WAYS_OUT
from jobs.storage import Stored
from jobs.tables.source_index import SourceIndex


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


def heard_by_now(archive: Archive, known: Mapping[str, Shard], apart: list[Shard]) -> list[Shard]:
    """Return the shards of sources that were not heard for their id, and are now, or are gone: they lose their row."""
    slots = {each.slot for each in apart}
    here = {uri for uri, _ in archive.ids()}
    return [
        replace(shard, sources=(Stored(shard.uri, 0, storage.ABSENT),))
        for slot, shard in known.items()
        if shard.is_apart and slot not in slots and (shard.uri in here or archive.place_of(shard.uri) is not None)
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
        raise ConfigError(f"{first} and {second} share the utterance id {name!r}{planned}. {WAYS_OUT}")
