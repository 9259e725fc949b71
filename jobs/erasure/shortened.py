"""Shortened names: what is left of a name that was cut where it was written down.

```
call-0001-of-Alice…agent-7_line2.wav     in its middle: examples of earlier releases, logs, tables of a terminal
made of call-0001-of-Al                  at its end: a text that a stranger wrote, of which so much was kept
```

No example that is stored from now on is cut. Texts of strangers are: how long a name in them is, nobody knows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from detector.jumbf import GENERATOR_LENGTH
from jobs.decoding.wire import MAX_MESSAGE
from jobs.inputs.containers.audio_columns import MAX_SHOWN_LETTERS
from jobs.telemetry.names import CUT, MAX_EXAMPLE, MAX_WIDTH, kept_of, printable

KEPT = tuple(kept_of(most) for most in (MAX_EXAMPLE, MAX_WIDTH))
"""Characters of an end that :func:`jobs.telemetry.names.cut` leaves, by all limits that were ever used."""

LENGTHS = frozenset({GENERATOR_LENGTH, GENERATOR_LENGTH - 1, MAX_MESSAGE, MAX_SHOWN_LETTERS})
"""Of texts that may have been cut at their end; the first one loses a space there."""
SEPARATORS = (re.compile("[<>]"), re.compile('["\t\n]'), re.compile("[,;\n]"), re.compile(", "))
"""What parts a text from the next one on a page, in a sheet, and in a message."""
MIN_HEAD = 8  # characters: fewer begin the names of too many recordings


class ShortenedNames:
    """Finds names that were cut.

    Parameters
    ----------
    owners : mapping
        By a name of a recording, what is to be told of it.
    spellings : callable
        Returns how a text may be written.

    Examples
    --------
    >>> name = f"calls/{'x' * 90}-of-{'y' * 60}.wav"
    >>> names = ShortenedNames({name: {"a"}}, lambda text: {text})
    >>> names.cut_in_middle(f"see {name[:50]}…{name[-50:]}"), names.cut_in_middle(name[:50])
    ({'a'}, set())
    >>> names.cut_at_end(f"made of {name}"[:80]), names.cut_at_end(f"made of {name}"[:81])
    ({'a'}, set())
    """

    def __init__(self, owners: Mapping[str, set[str]], spellings: Callable[[str], Iterable[str]]) -> None:
        self._owners = owners
        self._tails: defaultdict[str, set[str]] = defaultdict(set)
        self._by_head: defaultdict[str, set[str]] = defaultdict(set)
        for name, found in owners.items():
            for tail in _tails(name):
                for spelling in spellings(tail):
                    self._tails[spelling] |= found
            for whole in {name, printable(name)}:
                self._by_head[whole[:MIN_HEAD]].add(whole)
        self._tail_lengths = sorted({*map(len, self._tails)})
        self._longest = max((len(each) for found in self._by_head.values() for each in found), default=0)

    def cut_in_middle(self, text: str) -> set[str]:
        """Return what is told of names of which a text has the end, behind what stands for the middle."""
        found: set[str] = set()
        for place in re.finditer(CUT, text) if self._tails else ():
            for length in self._tail_lengths:
                found |= self._tails.get(text[place.end() : place.end() + length], set())
        return found

    def cut_at_end(self, text: str) -> set[str]:
        """Return what is told of names of which a text has the beginning, at an end where it was cut."""
        parts = {text, *(part for separator in SEPARATORS for part in separator.split(text))}
        return set().union(*map(self._at_end, (each for each in parts if len(each) in LENGTHS)))

    def _at_end(self, part: str) -> Iterator[str]:
        for start in range(max(0, len(part) - self._longest), len(part) - MIN_HEAD + 1):
            if start and part[start - 1].isalnum():
                continue
            for name in self._by_head.get(part[start : start + MIN_HEAD], ()):
                if name.startswith(part[start:]):
                    yield from self._owners.get(name, ())


def _tails(name: str) -> Iterator[str]:
    """Yield the ends that are left of a long name: it was spelt out before it was cut, or behind that."""
    for kept in KEPT:
        if len(name) > kept:
            yield name[-kept:]
            yield printable(name)[-kept:]
