"""Wanted: recordings that are to be erased, and how tables, labels and free text speak of them.

An id is compared whole wherever it stands alone: in tables, and in the fields of plans, markers and records that can
hold one. Only pages, and whatever others put beside the tables, are searched as text.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from urllib.parse import quote

from jobs import storage

ERASED = "(erased)"
NUMBER = r"\d[\d.]*(?:e[+-]?\d+)?"
PART = rf"(?:@{NUMBER}-(?:{NUMBER}|end))?(?:/ch\d+)?"
"""An excerpt or a channel of a recording, as :class:`detector.audio.Excerpt` spells it."""
KEY = r"(?P<key>://(?:[^/\s\"'<>]*/)?)"  # what stands before a key in a URI
AND_MORE = re.compile(r" and \d+ more\Z")
AFTER_URI = re.compile(r"[\"'<>\n\t]|: |, | and ")


class ErasureRequest:
    """Recordings by their ids.

    Parameters
    ----------
    ids : sequence of str
        As the tables have them. An id stands for its excerpts and channels, too.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = tuple(dict.fromkeys(ids))
        any_of = f"(?:{'|'.join(map(re.escape, self.ids))}){PART}"
        self.rows = rf"\A{any_of}\z"  # as Arrow writes it; the same as :meth:`of`
        self._row = re.compile(any_of)
        self._spelt = {spelling: name for name in self.ids for spelling in _spellings(name)}
        self._texts = _texts(self._spelt)

    def __str__(self) -> str:
        return self.ids[0] if len(self.ids) == 1 else f"{len(self.ids)} recordings"

    def of(self, utterance_id: str) -> set[str]:
        """Those that an utterance id is of: of the whole or of a part.

        Examples
        --------
        >>> ErasureRequest(["a.wav"]).of("a.wav@12.5-end/ch0"), ErasureRequest(["a.wav"]).of("a.wav.bak")
        ({'a.wav'}, set())
        """
        if not self._row.fullmatch(utterance_id):
            return set()
        return {name for name in self.ids if re.fullmatch(re.escape(name) + PART, utterance_id)}

    def labelled(self, label: str) -> set[str]:
        """Those that a label is of: an id, or a URI with that key, also as a marker calls a group of files.

        Examples
        --------
        >>> ErasureRequest(["a.wav"]).labelled("s3://archive/a.wav and 2 more")
        {'a.wav'}
        """
        names = {label, AND_MORE.sub("", label).removeprefix("file://")}
        return {owner for name in names for each in (name, storage.key_of(name)) for owner in self.of(each)}

    def spoken_of(self, text: str) -> set[str]:
        """Those that free text speaks of, in any spelling of JSON, HTML or URIs.

        Examples
        --------
        >>> ErasureRequest(["a.wav"]).spoken_of("Listen to a.wav."), ErasureRequest(["a.wav"]).spoken_of("my/a.wav")
        ({'a.wav'}, set())
        """
        found = self.labelled(text)
        for spelt in {text, html.unescape(text)}:
            for pattern in self._texts:
                for match in pattern.finditer(spelt):
                    if match["key"] or not _within_uri(spelt, match.start("name")):
                        found |= self.of(self._spelt[match["name"]] + match["part"])
        return found


def _spellings(name: str) -> set[str]:
    """An id as it is, in JSON and in URIs; HTML is undone before."""
    return {name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1], quote(name), quote(name, safe="")}


def _texts(spellings: dict[str, str]) -> list[re.Pattern[str]]:
    """How to find ids in text: where another name would have ended, and the next begun.

    A recording may be called `1` or `mean`: such a word counts only as all of a text, in quotes or between tags.
    """
    words = sorted((each for each in spellings if re.fullmatch(r"[\w-]+", each)), key=len, reverse=True)
    names = sorted(spellings.keys() - set(words), key=len, reverse=True)
    kinds = (
        (names, r"[^\w./#-]", r"\.?(?![\w.#/@-])"),
        (words, r"[\"'>]\s*", r"\s*(?:\Z|[\"'<])"),
    )
    return [
        re.compile(rf"(?:\A\s*|{KEY}|{before})(?P<name>{'|'.join(map(re.escape, found))})(?P<part>{PART})(?={after})")
        for found, before, after in kinds
        if found
    ]


def _within_uri(text: str, start: int) -> bool:
    """Whether a place is inside a URI, which may hold spaces: `s3://archive/my call.flac` does not speak of its end."""
    begins = text.rfind("://", 0, start)
    return begins >= 0 and not AFTER_URI.search(text, begins, start)
