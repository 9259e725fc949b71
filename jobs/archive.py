"""An archive: what `--input` names, as stored objects; and the shards that work is done in.

```
--input s3://archive/2026/   ─►  0001.tar ──► one shard          (a tar is a shard)
                                 0002.tar ──► one shard
                                 a.flac ┐
                                 b.wav  ├──► one shard            (loose files share one)
                                 ...    ┘
```
"""

from __future__ import annotations

import json
import logging
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from detector.audio import AUDIO_SUFFIXES
from detector.config import digest_of
from detector.errors import ConfigError
from jobs import storage
from jobs.lists import LISTS, Entry, read_entries
from jobs.storage import Stored

MAX_SHARD_FILES = 512
MAX_SHARD_BYTES = 256 << 20
MAX_NAME_BYTES = 1_024  # of a member; S3 allows a key as many

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """What to read."""

    input: Annotated[
        tuple[str, ...],
        "archive: folder, glob, audio file, .tar shard, or a list of them (.csv .jsonl .parquet); repeatable",
    ] = ()
    manifest: Annotated[str | None, "Parquet manifest that `manifest` wrote, instead of --input"] = None

    def __post_init__(self) -> None:
        if bool(self.input) == bool(self.manifest):
            raise ConfigError("give either --input (repeatable) or --manifest.")


@dataclass(frozen=True)
class Shard:
    """The unit of work, of commit and of retry: one tar, or a few loose files.

    Parameters
    ----------
    kind : str
        `tar` or `files`.
    sources : tuple of Stored
        One for a tar.
    names : tuple of (str, str) or None
        The members (of a tar) or URIs (of files) to read, each with its utterance id; None takes all audio
        members of a tar, or all sources, with ids by the contract's rule.
    """

    kind: str
    sources: tuple[Stored, ...]
    names: tuple[tuple[str, str], ...] | None = None

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
        """What people call it: the tar, or the first of its files."""
        first = self.sources[0].uri
        return first if len(self.sources) == 1 else f"{first} and {len(self.sources) - 1} more"

    @property
    def size(self) -> int:
        """Bytes of all sources."""
        return sum(source.size for source in self.sources)

    def source(self, uri: str) -> Stored:
        """The source at a URI."""
        return next(source for source in self.sources if source.uri == uri)

    def id_of(self, uri: str) -> str:
        """Utterance id of a loose file."""
        return dict(self.names or ())[uri]

    def ids(self) -> Iterator[tuple[str, str]]:
        """What is known of utterance ids before the shard is read: URI and id, or the tar's key for all of it."""
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
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Shard:
        """The shard that :meth:`to_content` described."""
        names = content["names"]
        return cls(
            content["kind"],
            tuple(Stored(*source) for source in content["sources"]),
            None if names is None else tuple((name, utterance_id) for name, utterance_id in names),
        )


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

    tars: tuple[Shard, ...]
    files: tuple[Stored, ...]
    ids: dict[str, str]
    """Utterance ids of loose files by URI, where a list gives them."""

    def id_of(self, uri: str) -> str:
        """Utterance id of a loose file."""
        return self.ids.get(uri, utterance_id(uri, None))


def utterance_id(uri: str, member: str | None) -> str:
    """Id by the contract's rule.

    Examples
    --------
    >>> utterance_id("s3://archive/2026/0001.tar", "call/a.flac")
    '2026/0001.tar#call/a.flac'
    """
    return storage.key_of(uri) if member is None else f"{storage.key_of(uri)}#{short(member)}"


def is_audio(name: str) -> bool:
    """Whether a name looks like audio, by its suffix."""
    return posixpath.splitext(name)[1].lower() in AUDIO_SUFFIXES and not posixpath.basename(name).startswith("._")


def name_fault(member: str) -> str | None:
    """Why a member's name is refused, None where it is not: who unpacks by our tables must not be led elsewhere.

    Examples
    --------
    >>> name_fault("./call/2026..11/a.flac"), name_fault("../a.flac")
    (None, 'its name leads out of the archive')
    """
    if len(member.encode(errors="backslashreplace")) > MAX_NAME_BYTES:
        return f"its name is longer than {MAX_NAME_BYTES:,} bytes"
    if "\0" in member:
        return "its name holds a zero byte"
    if member.startswith(("/", "\\")) or re.match("[A-Za-z]:", member) or ".." in re.split(r"[/\\]", member):
        return "its name leads out of the archive"
    return None


def short(member: str) -> str:
    """A member's name as tables hold it: itself, or its beginning and a digest where it is too long for one.

    Examples
    --------
    >>> short("a.flac"), len(short("a" * 10_000))
    ('a.flac', 145)
    """
    if len(member.encode(errors="backslashreplace")) <= MAX_NAME_BYTES:
        return member
    return f"{member[:128]}…{digest_of(member)}"


def find(config: InputConfig) -> Archive:
    """List what ``config`` names.

    Raises
    ------
    ConfigError
        Where something named is not there, or there is no audio at all, or two inputs would share an id.
    """
    tars: dict[str, Shard] = {}
    files: dict[str, Stored] = {}
    entries: list[Entry] = []
    skipped = 0
    for uri in map(storage.normal, config.input):
        if uri.lower().endswith(LISTS):
            entries += read_entries(uri)
            continue
        named = storage.stat(uri)
        for stored in [named] if named else _below(uri):
            if stored.uri.lower().endswith(".tar"):
                tars[stored.uri] = Shard("tar", (stored,))
            elif named or is_audio(stored.uri):  # a file that was named itself is taken at its word
                files[stored.uri] = stored
            else:
                skipped += 1
    if config.manifest is not None:
        entries += read_entries(storage.normal(config.manifest))
    ids = _take_entries(entries, tars, files)
    if skipped:
        log.info("%d objects passed over: neither .tar nor an audio suffix", skipped)
    if not tars and not files:
        where = config.manifest or ", ".join(config.input)
        raise ConfigError(f"{where}: no audio found. Expected .tar shards or {' '.join(sorted(AUDIO_SUFFIXES))}.")
    _refuse_shared_ids([*tars, *files], ids)
    return Archive(tuple(tars[uri] for uri in sorted(tars)), tuple(sorted(files.values())), ids)


def group(files: Sequence[Stored], ids: dict[str, str]) -> list[Shard]:
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
        Shard("files", tuple(each), tuple((f.uri, ids.get(f.uri, utterance_id(f.uri, None))) for f in each))
        for each in groups
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


def _take_entries(entries: list[Entry], tars: dict[str, Shard], files: dict[str, Stored]) -> dict[str, str]:
    """Add what lists name; return the ids of loose files."""
    _refuse_repeated_entries(entries, tars)
    ids: dict[str, str] = {}
    members: dict[str, list[tuple[str, str]]] = {}
    for entry in entries:
        if entry.member is not None:
            members.setdefault(entry.uri, []).append((entry.member, _id_of(entry)))
        elif not _is_whole_tar(entry):
            ids[entry.uri] = _id_of(entry)
    for entry in entries:
        if entry.uri in tars or entry.uri in files:
            continue
        stored = storage.stat(entry.uri)
        if stored is None:
            raise ConfigError(f"{entry.where}: {entry.uri} does not exist. Drop the row, or check the spelling.")
        if entry.uri in ids:
            files[entry.uri] = stored
        else:
            names = members.get(entry.uri)
            tars[entry.uri] = Shard("tar", (stored,), None if names is None else tuple(sorted(names)))
    return ids


def _refuse_repeated_entries(entries: list[Entry], tars: dict[str, Shard]) -> None:
    """An id is for one recording, a recording has one id, and a tar is named whole or by its members."""
    ids: dict[str, str] = {}
    places: dict[tuple[str, str | None], str] = {}
    for entry in entries:
        place = (entry.uri, entry.member)
        if not _is_whole_tar(entry):
            name = _id_of(entry)
            if name in ids:
                raise ConfigError(f"utterance id {name!r} stands in {ids[name]} and in {entry.where}; ids are unique.")
            if place in places:
                raise ConfigError(f"{entry.uri}: {places[place]} and {entry.where} give it two ids; keep one.")
            ids[name] = entry.where
        places[place] = entry.where
    for (uri, member), where in places.items():
        whole = places.get((uri, None), "an --input" if uri in tars else None)
        if member is not None and whole is not None:
            first, second = sorted((where, whole))
            raise ConfigError(f"{uri}: named by {first} and by {second}, once whole and once by member; choose one.")


def _is_whole_tar(entry: Entry) -> bool:
    return entry.member is None and entry.uri.lower().endswith(".tar")


def _id_of(entry: Entry) -> str:
    return entry.utterance_id or utterance_id(entry.uri, entry.member)


def _refuse_shared_ids(uris: list[str], ids: dict[str, str]) -> None:
    """Two buckets may hold the same key; ids leave the bucket out, so such inputs cannot share a table."""
    seen: dict[str, str] = {}
    for uri in uris:
        key = ids.get(uri, storage.key_of(uri))
        if key in seen:
            raise ConfigError(f"{seen[key]} and {uri} share the utterance id {key!r}; score them in separate outputs.")
        seen[key] = uri
