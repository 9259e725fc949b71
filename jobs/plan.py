"""The plan: which shards of an archive a run works on, such that no recording is ever done twice."""

from __future__ import annotations

from dataclasses import dataclass

from detector.config import digest_of
from detector.errors import ConfigError
from jobs.archive import Archive, Shard, group
from jobs.storage import Stored


@dataclass(frozen=True)
class Plan:
    """Shards of the archive as it is now, and those that are left to do."""

    shards: tuple[Shard, ...]
    todo: tuple[Shard, ...]

    @property
    def plan_id(self) -> str:
        """Eight hexadecimal digits that change with any shard of the archive."""
        return digest_of(sorted(shard.shard_id for shard in self.shards))[:8]


def make_plan(archive: Archive, known: dict[str, Shard], done: set[str]) -> Plan:
    """Plan an archive beside what earlier plans have grouped and committed.

    A tar is always the same shard. Loose files stay in the shard that they were first grouped in, so that new
    files beside them make new shards and leave the old ones alone.

    Parameters
    ----------
    archive : Archive
    known : dict
        Shards of earlier plans, by id.
    done : set of str
        Ids of committed shards.

    Raises
    ------
    ConfigError
        Where a source of a committed shard is now another one: its rows would stand twice.
    """
    _refuse_changed(archive, [known[shard_id] for shard_id in sorted(done & known.keys())])
    loose = {stored.uri: (stored, archive.id_of(stored.uri)) for stored in archive.files}
    kept: list[Shard] = []
    for shard_id, shard in sorted(known.items(), key=lambda item: item[0] not in done):
        if shard.kind != "files":
            continue
        here = [item for item in _items(shard) if loose.get(item[0].uri) == item]
        if here and (shard_id in done or len(here) == len(shard.sources)):
            kept.append(shard)
            for stored, _ in here:
                del loose[stored.uri]
    left = sorted(stored for stored, _ in loose.values())
    shards = (*archive.tars, *kept, *group(left, archive.ids))
    return Plan(shards, tuple(shard for shard in shards if shard.shard_id not in done))


def _refuse_changed(archive: Archive, done: list[Shard]) -> None:
    tars = {shard.sources[0].uri: shard for shard in archive.tars}
    files = {stored.uri: (stored, archive.id_of(stored.uri)) for stored in archive.files}
    for shard in done:
        tar = tars.get(shard.sources[0].uri)
        if shard.kind == "tar" and tar is not None and tar != shard:
            raise ConfigError(
                f"{tar.uri}: its rows are in this output already, from another state or selection of it (shard "
                f"{shard.shard_id}, now {tar.shard_id}). They would stand twice; use another --output."
            )
        for stored, name in _items(shard) if shard.kind == "files" else ():
            now, name_now = files.get(stored.uri, (stored, name))
            if (now, name_now) != (stored, name):
                raise ConfigError(
                    f"{stored.uri}: changed since its row was written ({stored.size} bytes and tag {stored.etag}, "
                    f"now {now.size} and {now.etag}; id {name!r}, now {name_now!r}). It would stand twice; use another "
                    f"--output."
                )


def _items(shard: Shard) -> list[tuple[Stored, str]]:
    """Files of a shard, each with its utterance id."""
    names = dict(shard.names or ())
    return [(source, names[source.uri]) for source in shard.sources]
