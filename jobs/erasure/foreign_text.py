"""Foreign text: ids in what other programs wrote, whose format is not known.

Where a text may be read in two ways, it mentions the recording: also as a part of a longer name or path, in a URI, and
where the container and the member of an id stand apart on one line, as in a table of `uri` and `member`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from jobs.erasure.finder import finders as finders_of
from jobs.erasure.shortened import ShortenedNames
from jobs.erasure.spellings import readings

PIECE = 1 << 20
"""Characters that are read at once, in all their readings."""

AROUND_NAME = (r"\A|[^0-9A-Za-z]|\\[nrtbfv]", r"(?P<part>)(?![0-9A-Za-z])")
AROUND_WORD = (r"(?:\A|[\"'>,;:|=\[({}\t\n/#])\s*", r"(?P<part>)(?=\s*(?:\Z|[\"'<,;:|\])}\t\n/#@]))")
"""What precedes and follows an id: it counts inside any longer name, unless it is cut out of a word or a number. One
that is a word itself, such as `1`, counts where it is a field of its own."""


class _Names:
    """Names, and the ids that each may stand for."""

    def __init__(self, owners: Mapping[str, set[str]]) -> None:
        self._owners = owners
        self._finders = finders_of(owners, AROUND_NAME, AROUND_WORD, within_uris=True)

    def found_in(self, text: str) -> set[str]:
        return {owner for finder in self._finders for name, _ in finder.find(text) for owner in self._owners[name]}


class ForeignTextSearch:
    """Searches texts for recordings.

    Parameters
    ----------
    places : iterable of tuple of str
        How a recording is called, and its id.
    spellings : callable
        Returns how a name may be written.
    shortened : ShortenedNames, optional
        Finds what is left of a name that was cut, in a log for example.

    Examples
    --------
    >>> search = ForeignTextSearch([("2026/1.tar#a.wav",) * 2], lambda name: {name})
    >>> search.ids_in("uri,member,score\\ns3://archive/2026/1.tar,a.wav,0.5")
    {'2026/1.tar#a.wav'}
    """

    def __init__(
        self,
        places: Iterable[tuple[str, str]],
        spellings: Callable[[str], Iterable[str]],
        shortened: ShortenedNames | None = None,
    ) -> None:
        self._shortened = shortened
        wholes, containers, members = (defaultdict[str, set[str]](set) for _ in range(3))
        for place, owner in places:
            container, _, member = place.partition("#")
            member = member.removeprefix("#")  # of a container that has no suffix
            parts = ((wholes, place), (containers, container), (members, member))
            for owners, name in parts if member else parts[:1]:
                for spelling in spellings(name):
                    owners[spelling].add(owner)
        self._wholes, self._containers, self._members = _Names(wholes), _Names(containers), _Names(members)
        self._overlap = 8 * max(map(len, wholes), default=0)

    def ids_in(self, text: str) -> set[str]:
        """Return the ids that a text may mention."""
        mentioned: set[str] = set()
        for start in range(0, max(1, len(text)), PIECE):
            inside = "_" if start else ""  # no id begins where a piece was cut
            for reading in readings(inside + text[max(0, start - self._overlap) : start + PIECE]):
                mentioned |= self._wholes.found_in(reading)
                mentioned |= self._in_halves(reading)
                if self._shortened is not None:
                    mentioned |= self._shortened.cut_in_middle(reading)
        return mentioned

    def _in_halves(self, text: str) -> set[str]:
        if not self._containers.found_in(text):
            return set()
        lines = text.splitlines()
        return set().union(*(self._containers.found_in(line) & self._members.found_in(line) for line in lines))
