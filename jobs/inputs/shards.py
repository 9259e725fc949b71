"""Shards: the units of work, commit and retry, each one container or a group of loose files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal, NamedTuple

from detector.audio import WHOLE, Excerpt
from detector.config import digest_of
from jobs.inputs.durations import stated_seconds
from jobs.inputs.utterance_ids import root_of, utterance_id
from jobs.storage import Stored, dated

FOLDER = "folder"  # the kind of a shard that is no recording, but a folder that may not be listed
SHARED = "shared id"  # of one that is a recording or container, and is not heard, because another one has its id
REMOVED = "removed"  # the tag of a source that was in the archive and is gone; its rows stay
CHANGED = "changed"
"""The word in `failures` for a source that changed while it was read; in a marker's detail, how many there are."""

MAX_SHARD_FILES = 512
MAX_SHARD_BYTES = 256 << 20


class Selection(NamedTuple):
    """An utterance to read from a recording: its id, and the excerpt that it covers."""

    utterance_id: str
    excerpt: Excerpt = WHOLE


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work, commit and retry: one container, or a group of loose files.

    Parameters
    ----------
    kind : str
        A key of :data:`jobs.inputs.containers.CONTAINERS`, `files`, :data:`FOLDER` or :data:`SHARED`.
    sources : tuple of Stored
        The stored objects: exactly one for a container.
    names : tuple of (str, str) or None
        The members (of a container) or URIs (of files) to read, each with its utterance id. None selects all audio
        members of a container, or all sources, with ids by the contract's rule. A member or URI occurs once for each
        of its excerpts. Of one that is not heard for its id: where another one is that has it, and the id of its row.
    excerpts : tuple of (str, Excerpt)
        Excerpts by utterance id, for utterances that are not a whole recording.
    root : str
        The folder that ids made by the contract's rule are relative to, for a container or a folder; empty if they are
        absolute. Files have their ids in `names`.
    number : int
        0, unless sources of these names were planned before, and that slot holds what was moved from there since.
    """

    kind: str
    sources: tuple[Stored, ...]
    names: tuple[tuple[str, str], ...] | None = None
    excerpts: tuple[tuple[str, Excerpt], ...] = ()
    root: str = ""
    number: int = 0

    @property
    def slot(self) -> str:
        """Sixteen hexadecimal digits that depend on the sources' names alone, and name the shard's place in tables."""
        return digest_of([self.kind, [source.uri for source in self.sources], *([self.number] if self.number else [])])

    @property
    def shard_id(self) -> str:
        """Thirty-two hexadecimal digits that change with the name, size or ETag of any source.

        A run tells its shards apart by them, and whoever stores an object chooses its ETag.
        """
        return digest_of(self.to_content(), digits=32)

    @property
    def uri(self) -> str:
        """The shard's name in messages: the container, or the first of its files."""
        first = self.sources[0].uri
        return first if len(self.sources) == 1 else f"{first} and {len(self.sources) - 1} more"

    @property
    def size(self) -> int:
        """Total bytes of all sources."""
        return sum(source.size for source in self.sources)

    def source(self, uri: str) -> Stored:
        """Return the source at a URI."""
        return next(source for source in self.sources if source.uri == uri)

    @property
    def is_apart(self) -> bool:
        """True for a source that is not heard for its id, and is there; one that was erased has no source."""
        return self.kind == SHARED and bool(self.sources) and not self.sources[0].is_absent

    def id_of(self, member: str | None) -> str:
        """Return the id that the contract's rule gives to a member of the container, or to all of it (None)."""
        return utterance_id(self.sources[0].uri, member, root=self.root)

    def selections(self) -> dict[str, tuple[Selection, ...]] | None:
        """Return what to read, by member or URI; None selects all audio members."""
        if self.names is None:
            return None
        excerpts = dict(self.excerpts)
        by_place: dict[str, tuple[Selection, ...]] = {}
        for place, name in self.names:
            by_place[place] = (*by_place.get(place, ()), Selection(name, excerpts.get(name, WHOLE)))
        return by_place

    def named_members(self) -> Iterator[tuple[str | None, tuple[Selection, ...]]]:
        """Yield what is known of a container before it is read: its listed members, or None for all of it."""
        if self.names is None:
            yield None, (Selection(self.id_of(None)),)
        else:
            yield from (self.selections() or {}).items()

    def ids(self) -> Iterator[tuple[str, str]]:
        """Yield (URI, utterance id) as far as ids are known before the shard is read.

        For a container whose members are not listed, its own id stands for the ids of all its members.
        """
        if self.kind == "files":
            yield from self.names or ()
            return
        for uri in (source.uri for source in self.sources):  # one, or none if it was erased
            yield from ((uri, name) for _, name in self.names or ((uri, self.id_of(None)),))

    def id_roots(self) -> Iterator[tuple[str, str]]:
        """Yield (URI, the folder that its id is relative to), and leave out files whose ids a list gave."""
        if self.kind != "files":
            yield from ((source.uri, self.root) for source in self.sources)
            return
        for uri, name in self.names or ():
            if (root := root_of(uri, name)) is not None:
                yield uri, root

    def without(self, uris: Collection[str]) -> Shard | None:
        """Return the shard without some of its sources; None if there is none left."""
        left = tuple(source for source in self.sources if source.uri not in uris)
        if len(left) == len(self.sources) or not left:
            return self if left else None
        names = tuple((uri, name) for uri, name in self.names or () if uri not in uris)
        kept = {name for _, name in names}
        return replace(
            self, sources=left, names=names, excerpts=tuple(each for each in self.excerpts if each[0] in kept)
        )

    def dated(self, date: str) -> Shard:
        """Return the shard with the date of its plan in the tags that do not know a file's ctime."""
        sources = tuple(dated(source, date) for source in self.sources)
        return self if sources == self.sources else replace(self, sources=sources)

    def at(self, places: Mapping[str, str]) -> Shard:
        """Return the shard with the sources that were moved at their new places, by the old ones; ids stay.

        The ids of a container's members stay only if its own id is the end of its new place: :attr:`root` is empty
        otherwise, as for an absolute id.
        """
        if not any(source.uri in places for source in self.sources):
            return self
        sources = tuple(replace(each, uri=places.get(each.uri, each.uri)) for each in self.sources)
        if self.kind == "files":
            return replace(
                self, sources=sources, names=tuple((places.get(uri, uri), name) for uri, name in self.names or ())
            )
        return replace(self, sources=sources, root=root_of(sources[0].uri, self.id_of(None)) or "")

    def to_content(self) -> dict[str, Any]:
        """Return the shard as JSON values, for a plan or a worker."""
        return {
            "kind": self.kind,
            "sources": [[source.uri, source.size, source.etag] for source in self.sources],
            "names": None if self.names is None else [list(name) for name in self.names],
            **({"excerpts": [[name, *astuple(excerpt)] for name, excerpt in self.excerpts]} if self.excerpts else {}),
            **({"root": self.root} if self.root else {}),
            **({"number": self.number} if self.number else {}),
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Shard:
        """Return the shard that :meth:`to_content` described."""
        names = content["names"]
        return cls(
            content["kind"],
            tuple(Stored(*source) for source in content["sources"]),
            None if names is None else tuple((name, utterance_id) for name, utterance_id in names),
            tuple((name, Excerpt(*excerpt)) for name, *excerpt in content.get("excerpts", ())),
            content.get("root", ""),
            content.get("number", 0),
        )

    @classmethod
    def selecting(
        cls, kind: str, sources: Sequence[Stored], selections: Sequence[tuple[str, Selection]], root: str = ""
    ) -> Shard:
        """Return a shard that reads these selections only, each given with its member or URI."""
        names = tuple((place, selection.utterance_id) for place, selection in selections)
        excerpts = tuple(selection for _, selection in selections if selection.excerpt != WHOLE)
        return cls(kind, tuple(sources), names, excerpts, root)


def removed(source: Stored) -> Stored:
    """Return a source as one that was in the archive, and is gone."""
    return Stored(source.uri, 0, REMOVED)


def is_removed(source: Stored) -> bool:
    """Return True for what :func:`removed` returned."""
    return source.etag == REMOVED


@dataclass(frozen=True)
class Amount:
    """How much there is to read: shards; recordings, a container being one; stored bytes."""

    n_shards: int = 0
    n_recordings: int = 0
    n_bytes: int = 0

    def and_of(self, shard: Shard) -> Amount:
        """Return what it is with one more shard."""
        n_recordings = len(shard.names or (shard,))
        return Amount(self.n_shards + 1, self.n_recordings + n_recordings, self.n_bytes + shard.size)


@dataclass(frozen=True)
class Portion:
    """The input of one decode task: a shard, or some of its utterances by their ordinal.

    When a shard is retried, `part` divides it: its segments are read in one portion, and its outcomes (`known`) in
    another. An encoder that crashes on a segment then cannot take the outcomes with it.

    `planned` goes along with the end of the shard, as JSON, to whoever commits it.
    """

    shard: Shard
    only: tuple[int, ...] | None = None
    part: Literal["all", "segments", "known"] = "all"
    planned: Any = None

    def to_json(self) -> str:
        """Return the portion as text, for a worker."""
        content = {"shard": self.shard.to_content(), "only": self.only, "part": self.part, "planned": self.planned}
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> Portion:
        """Return the portion that :meth:`to_json` wrote."""
        content = json.loads(text)
        only = content["only"]
        shard = Shard.from_content(content["shard"])
        return cls(shard, None if only is None else tuple(only), content["part"], content["planned"])


def group_files(
    files: Sequence[Stored],
    selections_of: Callable[[str], tuple[Selection, ...]],
    max_seconds: float = math.inf,
) -> list[Shard]:
    """Group loose files, in their order, into shards of bounded size.

    Parameters
    ----------
    max_seconds : float
        Audio of a group, by :func:`jobs.inputs.durations.stated_seconds`; a file that has more stands alone.
    """
    groups: list[list[Stored]] = []
    n_bytes, seconds = 0, 0.0
    for stored in files:
        is_full = bool(groups) and (
            len(groups[-1]) == MAX_SHARD_FILES
            or n_bytes + stored.size > MAX_SHARD_BYTES
            or seconds + stated_seconds(stored) > max_seconds
        )
        if not groups or is_full:
            groups.append([])
            n_bytes, seconds = 0, 0.0
        groups[-1].append(stored)
        n_bytes += stored.size
        seconds += stated_seconds(stored)
    return [
        Shard.selecting("files", each, [(file.uri, item) for file in each for item in selections_of(file.uri)])
        for each in groups
    ]
