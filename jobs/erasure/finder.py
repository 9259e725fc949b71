"""The finder: which of many spellings a text holds, in a time that does not grow with their number."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

SCHEME = "://"
KEY = re.compile(r"(?=(?P<bucket>://(?:[^/\s\"'<>]*/)?))")  # precedes a key in a URI; one may begin inside another
AFTER_URI = re.compile(r"[\"'<>\n\t]|: |, | and ")
MAX_URI = 8192  # characters: a scheme further before a name is no part of the same URI
WORD = re.compile(r"[\w-]+")


class Finder:
    """Finds spellings in text, also where they end a URI, and elsewhere inside one only if asked to.

    Parameters
    ----------
    spellings : iterable of str
    before, after : str
        Patterns of what precedes and follows a spelling; the second has a group `part`.
    within_uris : bool
        A spelling counts wherever it stands.
    others : iterable of str
        URIs that end in a spelling and do not count.

    Examples
    --------
    >>> list(Finder(["b.wav", "a.wav"], r"\\A| ", r"(?P<part>/ch\\d)?(?=\\W|\\Z)").find("a.wav/ch1, b.wav"))
    [('a.wav', '/ch1'), ('b.wav', None)]
    """

    def __init__(
        self,
        spellings: Iterable[str],
        before: str,
        after: str,
        *,
        within_uris: bool = False,
        others: Iterable[str] = (),
    ) -> None:
        self._others = tuple(others)
        self._spellings = frozenset(spellings) - {""}
        self._n_first = min(map(len, self._spellings), default=0)
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for each in self._spellings:
            lengths[each[: self._n_first]].add(len(each))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        first_letters = re.escape("".join(sorted({each[0] for each in self._spellings})))
        self._before = re.compile(rf"(?:{before})(?=[{first_letters}])") if first_letters else None
        self._after = re.compile(after)
        self._within_uris = within_uris

    def find(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield each spelling in a text, with the part of the recording that follows it."""
        if self._before is None:
            return
        for start in self._before.finditer(text):
            found = self._at(text, start.end())
            if found and (self._within_uris or not _is_within_uri(text, start.end())):
                yield found
        if self._within_uris:
            return
        for start in KEY.finditer(text):
            for place in {start.start() + len(SCHEME), start.end("bucket")}:
                found = self._at(text, place)
                if found and not text.endswith(self._others, 0, place + len(found[0])):
                    yield found

    def _at(self, text: str, place: int) -> tuple[str, str] | None:
        """Return the longest spelling that begins at a place, and its part."""
        for length in self._lengths.get(text[place : place + self._n_first], ()):
            spelling = text[place : place + length]
            if spelling in self._spellings and (end := self._after.match(text, place + length)):
                return spelling, end["part"]
        return None


def finders(
    spellings: Iterable[str],
    around_name: tuple[str, str],
    around_word: tuple[str, str],
    *,
    within_uris: bool = False,
    others: Collection[str] = (),
) -> list[Finder]:
    """Return a finder of the spellings that are one word, such as `1` or `mean`, and one of all others."""
    names: set[str] = set()
    words: set[str] = set()
    for each in spellings:
        (words if WORD.fullmatch(each) else names).add(each)
    return [
        Finder(names, *around_name, within_uris=within_uris, others=others),
        Finder(words, *around_word, within_uris=within_uris, others=others),
    ]


def _is_within_uri(text: str, start: int) -> bool:
    """Return True if ``start`` is inside a URI.

    A URI may hold spaces: `s3://archive/my call.flac` does not mention `call.flac`.
    """
    uri_start = text.rfind(SCHEME, max(0, start - MAX_URI), start)
    return uri_start >= 0 and not AFTER_URI.search(text, uri_start, start)
