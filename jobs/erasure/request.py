"""The erasure request: ids of recordings, and how to recognise them in tables, labels and free text.

Where a field holds an id or a URI (in tables, plans, markers and records), the whole value is compared. Only pages, and
files that others put beside the tables, are searched as text.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from jobs import storage
from jobs.erasure.avro import long_bytes
from jobs.erasure.finder import SCHEME, WORD, Finder, finders
from jobs.erasure.foreign_text import ForeignTextSearch
from jobs.erasure.shortened import ShortenedNames
from jobs.inputs.id_spelling import CHANNEL, EXCERPT, name_in_id, spelt_in_id
from jobs.tables.erasures import stand_ins
from jobs.telemetry.names import CUT, printable

PART = rf"(?:{EXCERPT})?(?:{CHANNEL})?"
"""An excerpt or a channel of a recording, as :class:`detector.audio.Excerpt` writes it."""
ENDS = tuple(re.compile(rf"{end}\Z") for end in (CHANNEL, EXCERPT))

AROUND_NAME = (r"\A|[^\w./#-]", rf"(?P<part>{PART})(?=\.?(?![\w.#/@-]))")
AROUND_WORD = (r"(?:\A|[\"'>])\s*", rf"(?P<part>{PART})(?=\s*(?:\Z|[\"'<]))")
"""What precedes and follows an id in text. A recording may be called `1` or `mean`: such a word counts only as a whole
text, in quotes or between tags; any other id wherever it is not inside a longer name."""

NAMES = re.compile(r"\A|(?<=/)(?=[^/])")
BEHIND_FILE = re.compile(r"[#@]|/ch|\Z")
"""Where the name of a file may begin in a URI, and what follows it in the id of a recording that is read from it."""

LONG_WORD = 4  # characters: so many random bytes are hardly ever those of a word

TOLD = ("shard=", "prefix=")
ABSOLUTE = re.compile(r"/|\w+://")

Place = tuple[str, str | None]
"""The URI of a file, and the member of it if it is a container."""

AND_MORE = re.compile(r" and \d+ more\Z")


class ErasureRequest:
    """Recordings to erase.

    Parameters
    ----------
    ids : sequence of str
        Utterance ids, as in the tables. An id includes its excerpts and channels.
    roots : collection of str
        Folders that ids are relative to: `a.wav` below `s3://archive/` is also mentioned as `s3://archive/a.wav`.
    places : mapping of (str, str or None) to str
        Where recordings lie whose ids a list gave: by the URI of a file, and the member of a container, the id. No
        recording that stays may lie there.
    files : mapping of str to str
        By the URI of a file that was heard under one of the ids, and under no other that stays, this id.
    others : collection of str
        URIs of files that other recordings are read from, and none of these ever was: whatever an id by the rule would
        say, they are no mentions. A list gives any id to a file that has the path of another one below its own folder.
    unheard : collection of str
        Ids of the rows of sources that were not heard for one of the ids, and go with it: such a source may be the same
        file by another name.

    Attributes
    ----------
    asked : tuple of str
        The ids that were asked for, each once.
    ids : tuple of str
        These, and those of what goes with them.
    """

    def __init__(
        self,
        ids: Sequence[str],
        roots: Collection[str] = (),
        places: Mapping[Place, str] = MappingProxyType({}),
        files: Mapping[str, str] = MappingProxyType({}),
        others: Collection[str] = (),
        unheard: Collection[str] = (),
    ) -> None:
        self.asked = tuple(dict.fromkeys(ids))
        self.ids = tuple(dict.fromkeys([*ids, *unheard]))
        self._ids = set(self.ids)
        self.roots = tuple(roots)
        self._places = frozenset(places)
        self._files = files
        self._others = frozenset(others)
        self._folders = {each.rstrip("/") for each in roots}
        self._id_of_uri = {
            root + each: name
            for name in self.ids
            for root in roots
            for each in (name_in_id(name), name)
            if root + each not in self._others
        }
        for (uri, member), name in places.items():
            end = "" if member is None else f"#{member}"
            self._id_of_uri |= {uri + end: name, storage.key_of(uri) + end: name}
        self._ids_of_spelling: defaultdict[str, set[str]] = defaultdict(set)
        for place, name in (*((name, name) for name in self.ids), *self._id_of_uri.items()):
            for spelling in spellings(place):
                self._ids_of_spelling[spelling].add(name)
        self._finders = finders(self._ids_of_spelling, AROUND_NAME, AROUND_WORD, others=self._spelt_others())
        self._shortened = ShortenedNames(self._ids_of_place(), spellings)

    def __str__(self) -> str:
        return self.asked[0] if len(self.asked) == 1 else f"{len(self.asked)} recordings"

    @cached_property
    def stand_in(self) -> str:
        """The word that replaces a text which names one of the recordings; it names none of them itself.

        Examples
        --------
        >>> ErasureRequest(["a.wav"]).stand_in, ErasureRequest(["(erased)", "(erased 2)"]).stand_in
        ('(erased)', '(erased 3)')
        """
        return next(word for word in stand_ins() if not self.ids_in_text(word))

    def ids_of(self, utterance_id: str) -> set[str]:
        """Return the requested ids that an utterance id is, or is a part of.

        Examples
        --------
        >>> request = ErasureRequest(["a.wav"])
        >>> request.ids_of("a.wav@12.5-end/ch0"), request.ids_of("a.wav.bak")
        ({'a.wav'}, set())
        """
        return self._ids.intersection(_wholes(utterance_id))

    @cached_property
    def containers(self) -> frozenset[str]:
        """The ids of containers that the requested ids may be members of, and the ids themselves.

        Examples
        --------
        >>> sorted(ErasureRequest(["1.tar#a.wav"]).containers)
        ['1.tar', '1.tar#a.wav']
        """
        return frozenset(name[:end] for name in self.ids for end in (*_signs(name), len(name)))

    def has_place(self, uri: str, member: str | None) -> bool:
        """Return True if what lies there is erased, whatever a plan calls it: a later list may have renamed it."""
        return (uri, member) in self._places

    def is_beside(self, utterance_id: str, uri: str) -> bool:
        """Return True for a container that a requested recording may be a member of, and for its other members.

        Examples
        --------
        >>> request = ErasureRequest(["1.tar#a.wav"])
        >>> request.is_beside("1.tar#b.wav", "s3://archive/1.tar"), request.is_beside("2.tar#a.wav", "s3://archive/2.tar")
        (True, False)
        """
        is_named = any(utterance_id[:end] in self.containers for end in (*_signs(utterance_id), None))
        return is_named or any(uri == container and member is not None for container, member in self._places)

    def rows_of(self, utterance_ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Return a mask of the rows to erase; agrees with :meth:`ids_of`.

        Examples
        --------
        >>> ErasureRequest(["a.wav"]).rows_of(pa.array(["a.wav/ch0", "b.wav"])).to_pylist()
        [True, False]
        """
        requested = pa.array(self.ids, utterance_ids.type)
        mask = pc.is_in(utterance_ids, requested)
        for end in (CHANNEL, EXCERPT):
            utterance_ids = pc.replace_substring_regex(utterance_ids, rf"{end}\z", "")
            mask = pc.or_(mask, pc.is_in(utterance_ids, requested))
        return mask

    def ids_in_label(self, label: str) -> set[str]:
        """Return the requested ids that a label names: an id, a URI with that key, or a marker's name of a file group.

        Examples
        --------
        >>> ErasureRequest(["a.wav"]).ids_in_label("s3://archive/a.wav and 2 more")
        {'a.wav'}
        >>> ErasureRequest(["a.wav"], ["s3://archive/2026/"]).ids_in_label("s3://archive/2026/a.wav")
        {'a.wav'}
        >>> ErasureRequest(["a.wav"], others=["s3://other/a.wav"]).ids_in_label("s3://other/a.wav")
        set()
        """
        names = {label, AND_MORE.sub("", label).removeprefix("file://")} - self._others
        wholes = {whole for name in names for whole in _wholes(name)} if self._id_of_uri else set()
        keys = {storage.key_of(name) for name in names}
        return {self._id_of_uri[each] for each in wholes & self._id_of_uri.keys()} | {
            owner for each in names | keys | set(map(spelt_in_id, keys)) for owner in self.ids_of(each)
        }

    def ids_of_heard(self, uri: str) -> set[str]:
        """Return the requested id under which a file was heard, whatever it was called when it was not.

        Examples
        --------
        >>> request = ErasureRequest(["a.wav"], ["/old/", "/new/"], files={"/new/a.wav": "a.wav"})
        >>> request.ids_of_heard("/new/a.wav"), request.ids_of_heard("/old/a.wav")
        ({'a.wav'}, set())
        """
        return {self._files[uri]} if uri in self._files else set()

    def ids_of_file(self, uri: str, user: str) -> set[str]:
        """Return the requested ids that a file may have itself, given the id of a recording that is read from it.

        Anyone may call a file like a member of a tar, like an excerpt, or like another file below another root.

        Examples
        --------
        >>> request = ErasureRequest(["b.wav"], ["/a/", "/a/sub/"])
        >>> request.ids_of_file("/a/sub/b.wav", "sub/b.wav"), request.ids_of_file("/a/sub/b.wav", "of a list")
        (set(), {'b.wav'})
        """
        found = self.ids_in_label(uri)
        if not found:
            return found
        ends = (spelt_in_id(uri[start.start() :]) for start in NAMES.finditer(uri))
        own = {end for end in ends if user.startswith(end) and BEHIND_FILE.match(user, len(end))}
        return self._ids & own if own else found

    def ids_in_text(self, text: str) -> set[str]:
        """Return the requested ids that free text mentions, however JSON, HTML or a URI spells them.

        Examples
        --------
        >>> request = ErasureRequest(["a.wav"])
        >>> request.ids_in_text("Listen to a.wav."), request.ids_in_text("my/a.wav")
        ({'a.wav'}, set())
        """
        mentioned = self.ids_in_label(text) | self._shortened.cut_in_middle(text) | self._shortened.cut_at_end(text)
        for spelling in {text, html.unescape(text)}:
            for finder in self._finders:
                for name, part in finder.find(spelling):
                    mentioned.update(*(self.ids_of(each + part) for each in self._ids_of_spelling[name]))
        return mentioned

    def ids_in_setting(self, text: str) -> set[str]:
        """Return the requested ids that an input or example is, alone or behind `shard=`; a folder of ids is none.

        A path that is not absolute may begin anywhere: it is an id if its end is one.

        Examples
        --------
        >>> request = ErasureRequest(["a.wav", "calls.2026"], ["s3://archive/calls.2026/"])
        >>> request.ids_in_setting("shard=s3://archive/a.wav"), request.ids_in_setting("../audio/a.wav")
        ({'a.wav'}, {'a.wav'})
        >>> request.ids_in_setting("s3://archive/calls.2026")
        set()
        """
        told = next((text.removeprefix(key) for key in TOLD if text.startswith(key)), text)
        if told.rstrip("/") in self._folders:
            return set()
        below = told.rpartition(CUT)[2]  # whatever is left of a path whose middle was cut
        ends = [] if ABSOLUTE.match(below) else [below[start.start() :] for start in NAMES.finditer(below)]
        spelt = (self._ids_of_spelling.get(each, ()) for each in ends)
        return set().union(self.ids_in_text(told), *map(self.ids_in_label, ends), *spelt)

    def ids_in_foreign_text(self, text: str) -> set[str]:
        """Return the requested ids that a text of another program may mention, in whatever format it is.

        Examples
        --------
        >>> request = ErasureRequest(["2026/1.tar#a.wav"])
        >>> request.ids_in_foreign_text("/old/2026/1.tar#a.wav"), request.ids_in_foreign_text("2026/1.tar;b.wav;0.5")
        ({'2026/1.tar#a.wav'}, set())
        """
        return self.ids_in_label(text) | self._shortened.cut_at_end(text) | self._foreign.ids_in(text)

    @cached_property
    def _foreign(self) -> ForeignTextSearch:
        places = ((name, name) for name in self.ids)
        return ForeignTextSearch([*places, *self._id_of_uri.items()], spellings, self._shortened)

    def _spelt_others(self) -> set[str]:
        return {each for uri in self._others if SCHEME in uri for each in spellings(uri)}

    def _ids_of_place(self) -> dict[str, set[str]]:
        """Return the requested ids by all that a place of them was ever called before it was shortened."""
        owners: defaultdict[str, set[str]] = defaultdict(set)
        for place, name in (*((each, each) for each in self.ids), *self._id_of_uri.items()):
            for called in (place, storage.key_of(place)):
                for each in (called, name_in_id(called), name_in_id(called).replace("##", "#", 1)):
                    owners[each].add(name)
        return dict(owners)

    def ids_in_fields(self, content: bytes) -> set[str]:
        """Return the requested ids in rows of a binary format, where nothing separates a text from the next one.

        A word counts where its length precedes it, as Avro writes it.

        Examples
        --------
        >>> request = ErasureRequest(["a.wav", "mean"])
        >>> request.ids_in_fields(b"1a.wav2 mean"), request.ids_in_fields(b"\\x08mean")
        ({'a.wav'}, {'mean'})
        """
        mentioned: set[str] = set()
        for spelling, _ in self._field_finder.find(content.decode("latin-1")):
            mentioned |= self._ids_of_field[spelling]
        return mentioned

    def ids_in_remains(self, content: bytes) -> set[str]:
        """Return the requested ids in bytes of which nothing says where a text ends: anywhere, wide letters included.

        A word of a few letters counts only where its length precedes it: random bytes hold such words.

        Examples
        --------
        >>> request = ErasureRequest(["a.wav", "call", "7"])
        >>> sorted(request.ids_in_remains(b"7, recall")), request.ids_in_remains("a.wav".encode("utf-16-le"))
        (['call'], {'a.wav'})
        """
        found = self.ids_in_fields(content)
        for each in {content, content.replace(b"\0", b"")}:
            for spelling, _ in self._remains_finder.find(each.decode("latin-1")):
                found |= self._ids_of_bytes[spelling]
        return found

    def ids_with_halves_in(self, content: bytes) -> set[str]:
        """Return the requested ids whose container and member both stand somewhere in bytes of a binary format.

        Examples
        --------
        >>> ErasureRequest(["1.tar#a.wav"]).ids_with_halves_in(b"s3://b/1.tar,a.wav")
        {'1.tar#a.wav'}
        """
        halves = {name: name.partition("#")[::2] for name in self.ids if "#" in name}
        return {
            name
            for name, parts in halves.items()
            if all(part.lstrip("#").encode(errors="surrogateescape") in content for part in parts)
        }

    @cached_property
    def _ids_of_bytes(self) -> dict[str, set[str]]:
        """The requested ids, by the bytes of their spellings, one character a byte."""
        return {
            spelling.encode(errors="surrogateescape").decode("latin-1"): ids
            for spelling, ids in self._ids_of_spelling.items()
        }

    @cached_property
    def _remains_finder(self) -> Finder:
        long = (each for each in self._ids_of_bytes if len(each) >= LONG_WORD or not WORD.fullmatch(each))
        return Finder(long, "", "(?P<part>)", within_uris=True)

    @cached_property
    def _ids_of_field(self) -> dict[str, set[str]]:
        """The requested ids, by the bytes of their spellings, one character a byte; words with their lengths."""
        return {
            (long_bytes(len(field)).decode("latin-1") if WORD.fullmatch(field) else "") + field: ids
            for field, ids in self._ids_of_bytes.items()
        }

    @cached_property
    def _field_finder(self) -> Finder:
        return Finder(self._ids_of_field, "", "(?P<part>)")


def _signs(name: str) -> list[int]:
    """Return where a name has the sign that stands between a container and its member."""
    return [place for place, letter in enumerate(name) if letter == "#"]


def _wholes(name: str) -> list[str]:
    """Return a name, and what is left of it without a channel, and without an excerpt."""
    names = [name]
    for end in ENDS:
        names.append(end.sub("", names[-1]))
    return names


def spellings(name: str) -> set[str]:
    """Return an id as it is, in JSON and in URIs; HTML entities are decoded before the search."""
    in_json = {json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}
    names = (name, storage.bytes_of(name))  # the second: in a link to a local file
    return {
        name,
        printable(name),
        unicodedata.normalize("NFC", name),
        *in_json,
        *(quote(each, safe=safe) for each in names for safe in ("/", "")),
    }
