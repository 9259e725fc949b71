"""The erasure request: ids of recordings, and how to recognise them in tables, labels and free text.

Where a field holds an id or a URI (in tables, plans, markers and records), the whole value is compared. Only pages, and
files that others put beside the tables, are searched as text.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection, Sequence
from urllib.parse import quote

from jobs import storage
from jobs.telemetry.names import printable

ERASED = "(erased)"
"""Replaces a label that names an erased recording."""

NUMBER = r"\d[\d.]*(?:e[+-]?\d+)?"
PART = rf"(?:@{NUMBER}-(?:{NUMBER}|end))?(?:/ch\d+)?"
"""An excerpt or a channel of a recording, as :class:`detector.audio.Excerpt` writes it."""

KEY = r"(?P<key>://(?:[^/\s\"'<>]*/)?)"  # precedes a key in a URI
AND_MORE = re.compile(r" and \d+ more\Z")
AFTER_URI = re.compile(r"[\"'<>\n\t]|: |, | and ")


class ErasureRequest:
    """Recordings to erase.

    Parameters
    ----------
    ids : sequence of str
        Utterance ids, as in the tables. An id includes its excerpts and channels.
    roots : collection of str
        Folders that ids are relative to: `a.wav` below `s3://archive/` is also mentioned as `s3://archive/a.wav`.

    Attributes
    ----------
    ids : tuple of str
        The ids, each once.
    row_regex : str
        Matches the utterance ids of all rows to erase, in Arrow's syntax; agrees with :meth:`ids_of`.
    """

    def __init__(self, ids: Sequence[str], roots: Collection[str] = ()) -> None:
        self.ids, self.roots = tuple(dict.fromkeys(ids)), tuple(roots)
        self._id_of_uri = {root + name: name for name in self.ids for root in self.roots}
        self._uri_pattern = re.compile(f"(?P<uri>{'|'.join(map(re.escape, self._id_of_uri))}){PART}")
        any_id = f"(?:{'|'.join(map(re.escape, self.ids))}){PART}"
        self.row_regex = rf"\A{any_id}\z"
        self._row_pattern = re.compile(any_id)
        named = {name: name for name in self.ids} | self._id_of_uri
        self._id_of_spelling = {each: name for place, name in named.items() for each in _spellings(place)}
        self._text_patterns = _text_patterns(self._id_of_spelling)

    def __str__(self) -> str:
        return self.ids[0] if len(self.ids) == 1 else f"{len(self.ids)} recordings"

    def ids_of(self, utterance_id: str) -> set[str]:
        """Return the requested ids that an utterance id is, or is a part of.

        Examples
        --------
        >>> request = ErasureRequest(["a.wav"])
        >>> request.ids_of("a.wav@12.5-end/ch0"), request.ids_of("a.wav.bak")
        ({'a.wav'}, set())
        """
        if not self._row_pattern.fullmatch(utterance_id):
            return set()
        return {name for name in self.ids if re.fullmatch(re.escape(name) + PART, utterance_id)}

    def ids_in_label(self, label: str) -> set[str]:
        """Return the requested ids that a label names: an id, a URI with that key, or a marker's name of a file group.

        Examples
        --------
        >>> ErasureRequest(["a.wav"]).ids_in_label("s3://archive/a.wav and 2 more")
        {'a.wav'}
        >>> ErasureRequest(["a.wav"], ["s3://archive/2026/"]).ids_in_label("s3://archive/2026/a.wav")
        {'a.wav'}
        """
        names = {label, AND_MORE.sub("", label).removeprefix("file://")}
        matches = map(self._uri_pattern.fullmatch, names) if self.roots else ()
        located = {self._id_of_uri[each["uri"]] for each in matches if each}
        return located | {
            owner for name in names for each in (name, storage.key_of(name)) for owner in self.ids_of(each)
        }

    def ids_in_text(self, text: str) -> set[str]:
        """Return the requested ids that free text mentions, however JSON, HTML or a URI spells them.

        Examples
        --------
        >>> request = ErasureRequest(["a.wav"])
        >>> request.ids_in_text("Listen to a.wav."), request.ids_in_text("my/a.wav")
        ({'a.wav'}, set())
        """
        mentioned = self.ids_in_label(text)
        for spelling in {text, html.unescape(text)}:
            for pattern in self._text_patterns:
                for match in pattern.finditer(spelling):
                    if match["key"] or not _is_within_uri(spelling, match.start("name")):
                        mentioned |= self.ids_of(self._id_of_spelling[match["name"]] + match["part"])
        return mentioned


def _spellings(name: str) -> set[str]:
    """Return an id as it is, in JSON and in URIs; HTML entities are decoded before the search."""
    in_json = {json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}
    names = (name, storage.bytes_of(name))  # the second: in a link to a local file
    return {name, printable(name), *in_json, *(quote(each, safe=safe) for each in names for safe in ("/", ""))}


def _text_patterns(spellings: dict[str, str]) -> list[re.Pattern[str]]:
    """Return patterns that find ids in text, but not inside longer names.

    A recording may be called `1` or `mean`: such a word counts only as a whole text, in quotes or between tags.
    """
    words = sorted((each for each in spellings if re.fullmatch(r"[\w-]+", each)), key=len, reverse=True)
    names = sorted(spellings.keys() - set(words), key=len, reverse=True)
    kinds = (
        (names, r"[^\w./#-]", r"\.?(?![\w.#/@-])"),
        (words, r"[\"'>]\s*", r"\s*(?:\Z|[\"'<])"),
    )
    return [
        re.compile(rf"(?:\A\s*|{KEY}|{before})(?P<name>{'|'.join(map(re.escape, each))})(?P<part>{PART})(?={after})")
        for each, before, after in kinds
        if each
    ]


def _is_within_uri(text: str, start: int) -> bool:
    """Return True if ``start`` is inside a URI.

    A URI may hold spaces: `s3://archive/my call.flac` does not mention `call.flac`.
    """
    uri_start = text.rfind("://", 0, start)
    return uri_start >= 0 and not AFTER_URI.search(text, uri_start, start)
