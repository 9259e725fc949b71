"""Moves: planned sources that lie at another place now, and keep their id, their slot, and their rows.

```
planned     slot 1   a.wav  b.wav   of /old         rows of a, b
--moved     /old=/new
planned     slot 1   a.wav  b.wav   of /new         rows of a, b, with their new `uri`
```

Nothing but the place tells a moved archive from another one with the same names, nor an archive that is gone from a
disk that is not mounted: so the one who runs it says which folder is where. Without a word, the place of a source is
only taken over where it is known to be gone: a run that lists its place has found so, and found no more of them gone
than it accepts. Such a source is read, whatever its size and ETag.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from detector.errors import ConfigError
from jobs import storage
from jobs.inputs.archive import Archive
from jobs.inputs.shards import FOLDER, SHARED, Shard, is_removed

MOVED = "moved"
"""In the work of a shard: where sources that the plans before have at another place lie now, by that place. In the
detail of a plan: what its run was told by `--moved`."""

log = logging.getLogger(__name__)

_NEW = re.compile(r"=(?=/|[a-z][a-z0-9+.-]*://)")  # in front of a place that says itself where it begins


@dataclass(frozen=True)
class Moves:
    """Folders whose recordings lie in other folders now.

    Parameters
    ----------
    folders : tuple of (str, str)
        The old and the new place of each, with a slash at the end.
    """

    folders: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, told: Iterable[str]) -> Moves:
        """Return what `--moved` says: OLD=NEW each.

        Raises
        ------
        ConfigError
            If it cannot be told where OLD ends.

        Examples
        --------
        >>> Moves.of(["s3://old/day=1/=s3://new/day=1"]).place_of("s3://old/day=1/a.wav")
        's3://new/day=1/a.wav'
        """
        return cls(tuple(map(_folders, told)))

    def __bool__(self) -> bool:
        return bool(self.folders)

    def __str__(self) -> str:
        return ", ".join(f"{old}={new}" for old, new in self.folders)

    def covers(self, uri: str) -> bool:
        """Return True for what lay in a folder that was moved; the new place may be in it, or it in the new one."""
        return self.place_of(uri) != uri

    def place_of(self, uri: str) -> str:
        """Return where what lay at a URI lies now."""
        for old, new in self.folders:
            if uri.startswith(old) and not (new.startswith(old) and uri.startswith(new)):
                return new + uri.removeprefix(old)
        return uri

    def roots(self, before: Iterable[str]) -> set[str]:
        """Return the folders that ids of what was moved are relative to now, by those that they were relative to.

        Examples
        --------
        >>> Moves.of(["/a/2025=/b/2025"]).roots(["/a/", "/a/2025/sub/", "/c/"]) == {"/b/", "/b/2025/sub/"}
        True
        """
        found = {self.place_of(root) for root in before if self.covers(root)}
        for root, (old, new) in product(before, self.folders):
            below = old.removeprefix(root)
            if old.startswith(root) and new.endswith(f"/{below}"):
                found.add(new.removesuffix(below))
        return found

    def moved(self, shard: Shard) -> Shard:
        """Return a planned shard where it lies now."""
        if not self.folders or shard.kind in (FOLDER, SHARED):
            return shard
        return shard.at({each.uri: self.place_of(each.uri) for each in shard.sources if self.covers(each.uri)})

    def check(self, planned: Mapping[str, Shard], archive: Archive) -> None:
        """Raise ConfigError if what was told contradicts what is planned, or what is listed.

        Parameters
        ----------
        planned : mapping of str to Shard
            By slot, as they were planned; those of all sources in the folders, old or new, are among them.
        archive : Archive
        """
        if not self.folders:
            return
        here = {uri for uri, _ in archive.ids()}
        for old, new in self.folders:
            if archive.place_of(f"{new}x") is None and not any(uri.startswith(new) for uri in here):
                raise ConfigError(
                    f"--moved {old}={new}: no input names anything in {new}. Give the new place as --input."
                )
        heard = [shard for shard in planned.values() if shard.kind not in (FOLDER, SHARED)]
        before = {source.uri for shard in heard for source in shard.sources}
        moved = sorted(uri for uri in before if self.covers(uri))
        if not moved:
            log.warning("--moved %s: nothing that is planned lies in the old place any more; leave it out", self)
        for uri in moved:
            now = self.place_of(uri)
            if uri in here:
                raise ConfigError(
                    f"--moved {self}: {uri} is still there, and this run's inputs name it. Leave the old place out of "
                    f"them, or leave out --moved."
                )
            if now in before:
                raise ConfigError(
                    f"--moved {self}: {uri} and {now} are both in this output, as two recordings. Leave out --moved."
                )


NO_MOVES = Moves()


def vacated(archive: Archive, known: Mapping[str, Shard], gone: Collection[str]) -> dict[str, str]:
    """Return the new places of sources that are gone, and whose ids another source has now, by the old places.

    Parameters
    ----------
    archive : Archive
        With the ids that its recordings have in the plans.
    known : mapping of str to Shard
        Planned shards by slot.
    gone : collection of str
        URIs of sources that are taken for gone since the last run; others may have been so before.
    """
    heard = [shard for shard in known.values() if shard.kind not in (FOLDER, SHARED)]
    lost = [(shard, each.uri) for shard in heard for each in shard.sources if is_removed(each) or each.uri in gone]
    if not lost:
        return {}
    uris = {each.uri for shard in heard for each in shard.sources}
    kinds = {each.uri: "files" for each in archive.files if not each.is_absent}
    kinds |= {each.uri: each.kind for each in archive.containers if not each.sources[0].is_absent}
    claimants: defaultdict[str, set[str]] = defaultdict(set)
    for uri, name in archive.ids():
        if uri not in uris and uri in kinds:
            claimants[name].add(uri)
    places: dict[str, str] = {}
    for shard, old in lost:
        found = set().union(*(claimants.get(name, ()) for uri, name in shard.ids() if uri == old))
        if len(found) == 1 and kinds[new := found.pop()] == shard.kind:
            places[old] = new
    n_taken = Counter(places.values())
    return {old: new for old, new in places.items() if n_taken[new] == 1}


def suggestion(uri: str, other: str) -> str:
    """Return what to give if a source is one that was planned at another place; empty if their names differ.

    Examples
    --------
    >>> suggestion("s3://new/2026/a.wav", "s3://old/2026/a.wav")
    '--moved s3://old/=s3://new/'
    """
    new, old = uri.split("/"), other.split("/")
    n_same = next(
        (n for n, pair in enumerate(zip(reversed(new), reversed(old), strict=False)) if pair[0] != pair[1]), 0
    )
    return f"--moved {'/'.join(old[:-n_same])}/={'/'.join(new[:-n_same])}/" if n_same else ""


def steps_between(works: Mapping[int, object], first: int, last: int) -> Iterator[Mapping[str, str]]:
    """Yield the moves that plans after one number, and up to another, made of a slot; in the order of the plans.

    Parameters
    ----------
    works : mapping of int to JSON value
        By the number of each plan that lists the slot: the work that it has there.
    """
    for number, work in sorted(works.items()):
        if first < number <= last and isinstance(work, dict) and (places := work.get(MOVED)):
            yield places


def _folders(told: str) -> tuple[str, str]:
    at = [found.start() for found in _NEW.finditer(told)] or [place for place, sign in enumerate(told) if sign == "="]
    old, new = (told[: at[0]], told[at[0] + 1 :]) if len(at) == 1 else ("", "")
    if not old or not new:
        raise ConfigError(
            f"--moved {told}: expected OLD=NEW, the folder or prefix in which the archive was, and that in which it is."
        )
    old, new = (f"{storage.normal(each).rstrip('/')}/" for each in (old, new))
    if old == new:
        raise ConfigError(f"--moved {told}: both are the same place.")
    return old, new
