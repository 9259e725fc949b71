"""An archive: what `--input` names, as stored objects; and the shards that work is done in.

```
--input s3://archive/2026/   ─►  0001.tar ──► one shard          (a container is a shard)
                                 0002.zip ──► one shard
                                 a.flac ┐
                                 b.wav  ├──► one shard            (loose files share one)
                                 ...    ┘
```
"""

from __future__ import annotations

import json
import logging
import posixpath
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from typing import Any, Literal

from detector.audio import AUDIO_SUFFIXES, WHOLE, Excerpt
from detector.config import digest_of
from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.inputs.config import InputConfig
from jobs.inputs.containers import CONTAINERS, kind_of, parquet, short
from jobs.inputs.lists import LISTS, Entry, read_entries
from jobs.storage import Stored

MAX_SHARD_FILES = 512
MAX_SHARD_BYTES = 256 << 20
LOOKS_AT_ONCE = 16  # at the footers of a folder's Parquet files

Pick = tuple[str, Excerpt]  # an utterance's id, and what of a recording it is

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """The unit of work, of commit and of retry: one container, or a few loose files.

    Parameters
    ----------
    kind : str
        A key of :data:`jobs.inputs.containers.CONTAINERS`, or `files`.
    sources : tuple of Stored
        One for a container.
    names : tuple of (str, str) or None
        The members (of a container) or URIs (of files) to read, each with its utterance id; None takes all audio
        members of a container, or all sources, with ids by the contract's rule. A member or URI may stand several
        times, for several excerpts.
    excerpts : tuple of (str, Excerpt)
        By utterance id: those that are not of the whole recording.
    """

    kind: str
    sources: tuple[Stored, ...]
    names: tuple[tuple[str, str], ...] | None = None
    excerpts: tuple[tuple[str, Excerpt], ...] = ()

    @property
    def slot(self) -> str:
        """Sixteen hexadecimal digits that follow from the sources' names alone: where the shard's rows stand."""
        return digest_of([self.kind, [source.uri for source in self.sources]])

    @property
    def shard_id(self) -> str:
        """Sixteen hexadecimal digits that change with any source's name, size or tag."""
        return digest_of(self.to_content())

    @property
    def uri(self) -> str:
        """What people call it: the container, or the first of its files."""
        first = self.sources[0].uri
        return first if len(self.sources) == 1 else f"{first} and {len(self.sources) - 1} more"

    @property
    def size(self) -> int:
        """Bytes of all sources."""
        return sum(source.size for source in self.sources)

    def source(self, uri: str) -> Stored:
        """The source at a URI."""
        return next(source for source in self.sources if source.uri == uri)

    def picks(self) -> dict[str, tuple[Pick, ...]] | None:
        """What to read, by member or URI; None where it is all audio members."""
        if self.names is None:
            return None
        excerpts = dict(self.excerpts)
        found: dict[str, tuple[Pick, ...]] = {}
        for place, name in self.names:
            found[place] = (*found.get(place, ()), (name, excerpts.get(name, WHOLE)))
        return found

    def ids(self) -> Iterator[tuple[str, str]]:
        """What is known of utterance ids before the shard is read: URI and id, or the container's key for all of it."""
        if self.kind == "files":
            yield from self.names or ()
        else:
            uri = self.sources[0].uri
            yield from ((uri, name) for _, name in self.names or ((uri, storage.key_of(uri)),))

    def to_content(self) -> dict[str, Any]:
        """As JSON values, for a plan or a worker."""
        return {
            "kind": self.kind,
            "sources": [[source.uri, source.size, source.etag] for source in self.sources],
            "names": None if self.names is None else [list(name) for name in self.names],
        } | ({"excerpts": [[name, *astuple(excerpt)] for name, excerpt in self.excerpts]} if self.excerpts else {})

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Shard:
        """The shard that :meth:`to_content` described."""
        names = content["names"]
        return cls(
            content["kind"],
            tuple(Stored(*source) for source in content["sources"]),
            None if names is None else tuple((name, utterance_id) for name, utterance_id in names),
            tuple((name, Excerpt(*excerpt)) for name, *excerpt in content.get("excerpts", ())),
        )

    @classmethod
    def of(cls, kind: str, sources: Sequence[Stored], picks: Sequence[tuple[str, Pick]]) -> Shard:
        """A shard of these picks, each with its member or URI."""
        excerpts = tuple((name, excerpt) for _, (name, excerpt) in picks if excerpt != WHOLE)
        return cls(kind, tuple(sources), tuple((place, name) for place, (name, _) in picks), excerpts)


@dataclass(frozen=True)
class Portion:
    """What one task reads: a shard, or some of its utterances by their number in it.

    `part` is of a shard that failed once: its segments, or what is known of it. They are read apart, so that an encoder
    that dies of a segment does not take with it what is known.
    """

    shard: Shard
    only: tuple[int, ...] | None = None
    part: Literal["all", "segments", "known"] = "all"

    def to_json(self) -> str:
        """As text, for a worker."""
        return json.dumps({"shard": self.shard.to_content(), "only": self.only, "part": self.part})

    @classmethod
    def from_json(cls, text: str) -> Portion:
        """The portion that :meth:`to_json` wrote."""
        content = json.loads(text)
        only = content["only"]
        return cls(Shard.from_content(content["shard"]), None if only is None else tuple(only), content["part"])


@dataclass(frozen=True)
class Archive:
    """Everything that was found, sorted, each object once."""

    containers: tuple[Shard, ...]
    files: tuple[Stored, ...]
    picks: dict[str, tuple[Pick, ...]]
    """What to read of loose files by URI, where a list says."""

    def picks_of(self, uri: str) -> tuple[Pick, ...]:
        """What to read of a loose file."""
        return self.picks.get(uri, ((utterance_id(uri, None), WHOLE),))

    def shards(self) -> list[Shard]:
        """All of it, as if nothing of it had been planned before."""
        return [*self.containers, *group(self.files, self.picks_of)]


def utterance_id(uri: str, member: str | None, excerpt: Excerpt = WHOLE) -> str:
    """Id by the contract's rule.

    Examples
    --------
    >>> utterance_id("s3://archive/2026/0001.tar", "call/a.flac")
    '2026/0001.tar#call/a.flac'
    >>> utterance_id("s3://archive/2026/call.flac", None, Excerpt(12.5, 20.0, 1))
    '2026/call.flac@12.5-20/ch1'
    """
    return storage.key_of(uri) + ("" if member is None else f"#{short(member)}") + str(excerpt)


def is_audio(name: str) -> bool:
    """Whether a name looks like audio, by its suffix."""
    return posixpath.splitext(name)[1].lower() in AUDIO_SUFFIXES and not posixpath.basename(name).startswith("._")


def find(config: InputConfig) -> Archive:
    """List what ``config`` names.

    Raises
    ------
    ConfigError
        Where something named is not there, or there is no audio at all, or two inputs would share an id.
    SchemaError
        Where a list, or a Parquet file, is none.
    """
    containers: dict[str, Shard] = {}
    files: dict[str, Stored] = {}
    entries: list[Entry] = []
    skipped = 0
    for uri in map(storage.normal, config.input):
        # a key that ends so is no recording, and a role that may read below it only is refused an answer
        named = None if uri.endswith("/") else storage.stat(uri)
        if uri.lower().endswith(LISTS) and not (named and _holds_audio(named)):
            entries += read_entries(uri)
            continue
        for stored in [named] if named else _without_tables(_below(uri)):
            kind = kind_of(stored.uri)
            if kind is not None:
                containers[stored.uri] = Shard(kind, (stored,))
            elif named or is_audio(stored.uri):  # a file that was named itself is taken at its word
                files[stored.uri] = stored
            else:
                skipped += 1
    if config.manifest is not None:
        entries += read_entries(storage.normal(config.manifest))
    picks = _take_entries(entries, containers, files)
    if skipped:
        log.info("%d objects passed over: neither containers nor an audio suffix", skipped)
    if not containers and not files:
        where = config.manifest or ", ".join(config.input)
        suffixes = " ".join(suffix for each in CONTAINERS.values() for suffix in each.suffixes)
        raise ConfigError(f"{where}: no audio found. Expected {suffixes} or {' '.join(sorted(AUDIO_SUFFIXES))}.")
    found = Archive(tuple(containers[uri] for uri in sorted(containers)), tuple(sorted(files.values())), picks)
    _refuse_shared_ids(found)
    return found


def _holds_audio(stored: Stored) -> bool:
    """Whether what was named like a list holds recordings itself; a list has a column `uri`."""
    if kind_of(stored.uri) != "parquet":
        return False
    held = parquet.holds(stored)
    if held is None:
        raise SchemaError(
            f"{stored.uri}: neither recordings nor a list of them. Expected a column of bytes, as `audio`, or a column "
            f"`uri`."
        )
    return held == "audio"


def _without_tables(found: list[Stored]) -> list[Stored]:
    """Objects of a folder less its Parquet files without recordings: lists and tables, our own among them.

    One that cannot be told stays: it becomes a row of failures.
    """

    def is_table(stored: Stored) -> bool:
        try:
            return kind_of(stored.uri) == "parquet" and parquet.holds(stored) != "audio"
        except SchemaError:
            return False

    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        return [stored for stored, table in zip(found, pool.map(is_table, found), strict=True) if not table]


def group(files: Sequence[Stored], picks_of: Callable[[str], tuple[Pick, ...]]) -> list[Shard]:
    """Put loose files into shards of bounded size, in their order."""
    groups: list[list[Stored]] = []
    n_bytes = 0
    for stored in files:
        if not groups or len(groups[-1]) == MAX_SHARD_FILES or n_bytes + stored.size > MAX_SHARD_BYTES:
            groups.append([])
            n_bytes = 0
        groups[-1].append(stored)
        n_bytes += stored.size
    return [
        Shard.of("files", each, [(file.uri, pick) for file in each for pick in picks_of(file.uri)]) for each in groups
    ]


def _below(uri: str) -> list[Stored]:
    """Objects of a folder or glob."""
    found = storage.listing(uri)
    if found is None and any(letter in uri for letter in "*?["):  # a name with such letters comes before the pattern
        found = storage.matching(uri)
        if not found:
            raise ConfigError(f"{uri}: no audio found: the pattern matches nothing. Quote it, and check the spelling.")
    if found is None:
        raise ConfigError(f"{uri}: no such file, folder or prefix. Check the bucket and the spelling.")
    return found


def _take_entries(
    entries: list[Entry], containers: dict[str, Shard], files: dict[str, Stored]
) -> dict[str, tuple[Pick, ...]]:
    """Add what lists name; return what to read of loose files."""
    _refuse_repeated_entries(entries, {**containers, **files})
    picks: dict[str, tuple[Pick, ...]] = {}
    members: dict[str, list[tuple[str, Pick]]] = {}
    for entry in entries:
        pick = (_id_of(entry), entry.excerpt)
        if entry.member is not None:
            members.setdefault(entry.uri, []).append((entry.member, pick))
        elif not _is_whole_container(entry):
            picks[entry.uri] = (*picks.get(entry.uri, ()), pick)
    for entry in entries:
        if entry.uri in containers or entry.uri in files:
            continue
        stored = storage.stat(entry.uri)
        if stored is None:
            raise ConfigError(f"{entry.where}: {entry.uri} does not exist. Drop the row, or check the spelling.")
        if entry.uri in picks:
            files[entry.uri] = stored
        else:
            named = members.get(entry.uri)
            kind = kind_of(entry.uri) or "tar"  # a list that names its members says what it is
            whole = Shard(kind, (stored,))
            containers[entry.uri] = whole if named is None else Shard.of(kind, (stored,), sorted(named, key=_place_of))
    return {uri: tuple(sorted(each, key=lambda pick: pick[0])) for uri, each in picks.items()}


def _place_of(named: tuple[str, Pick]) -> tuple[str, str]:
    member, (name, _) = named
    return member, name


def _refuse_repeated_entries(entries: list[Entry], inputs: Collection[str]) -> None:
    """An id is for one recording, a recording has one id, and what is named by parts is not named whole, too."""
    ids: dict[str, str] = {}
    places: dict[tuple[str, str | None, Excerpt], str] = {}
    for entry in entries:
        place = (entry.uri, entry.member, entry.excerpt)
        if entry.excerpt != WHOLE and _is_whole_container(entry):
            raise ConfigError(f"{entry.where}: an excerpt of {entry.uri}, which holds many; name a member.")
        if not _is_whole_container(entry):
            name = _id_of(entry)
            if name in ids:
                raise ConfigError(f"utterance id {name!r} stands in {ids[name]} and in {entry.where}; ids are unique.")
            if place in places:
                raise ConfigError(f"{entry.uri}: {places[place]} and {entry.where} give it two ids; keep one.")
            ids[name] = entry.where
        places[place] = entry.where
    for (uri, member, excerpt), where in places.items():
        whole = places.get((uri, None, WHOLE)) if member is not None else None
        if uri in inputs and (member is not None or excerpt != WHOLE):
            whole = "an --input"
        if whole is not None:
            first, second = sorted((where, whole))
            raise ConfigError(f"{uri}: named by {first} and by {second}, once whole and once by part; choose one.")


def _is_whole_container(entry: Entry) -> bool:
    return entry.member is None and kind_of(entry.uri) is not None


def _id_of(entry: Entry) -> str:
    return entry.utterance_id or utterance_id(entry.uri, entry.member, entry.excerpt)


def _refuse_shared_ids(found: Archive) -> None:
    """Two buckets may hold the same key; ids leave the bucket out, so such inputs cannot share a table."""
    seen: dict[str, str] = {}
    uris = [(shard.uri, storage.key_of(shard.uri)) for shard in found.containers]
    uris += [(file.uri, name) for file in found.files for name, _ in found.picks_of(file.uri)]
    for uri, key in uris:
        if key in seen:
            raise ConfigError(f"{seen[key]} and {uri} share the utterance id {key!r}; score them in separate outputs.")
        seen[key] = uri
