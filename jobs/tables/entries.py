"""Entries: the shards that a plan lists; of a long plan they stay the text that was stored until one is asked for.

A plan may list hundreds of thousands of shards, and a history has many plans. As objects they take some 2 kB each; as
text on the local disk, beside slot, state and a number that says where each begins, 50 bytes.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import eq
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from jobs.tables.spool import SpooledText, spooled

DROPPED = "dropped"  # in the work of a tombstone
BETWEEN = ", "  # of the elements of a list, as json.dumps writes it
SPOOLED_FROM = 1 << 20  # bytes of a text
READ_AT_ONCE = 1_024  # entries

_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(sort_keys=True, default=str).encode


@dataclass(frozen=True, slots=True)
class Entry:
    """A shard that a plan lists.

    Parameters
    ----------
    slot : str
        Determines the names of its objects; it depends on the names of its sources alone.
    state : str
        State of the sources: it changes with the size or ETag of any of them.
    work : JSON value
        What the worker needs to know.
    """

    slot: str
    state: str
    work: Any = None

    @property
    def is_dropped(self) -> bool:
        """True for a tombstone: the slot keeps the rows that were committed before, and none of its sources is read."""
        return isinstance(self.work, dict) and DROPPED in self.work

    @property
    def has_sources(self) -> bool:
        """True if the work names sources; scores have none, nor has the tombstone of what was never committed."""
        return isinstance(self.work, dict) and "sources" in self.work

    @property
    def source_uris(self) -> list[str]:
        """URIs of the sources that the work names."""
        return [uri for uri, *_ in self.work["sources"]] if self.has_sources else []

    def to_json(self) -> str:
        """Return the entry as a plan stores it."""
        return _encode([self.slot, self.state, self.work])


class _Columns:
    """What is told of entries without looking into their texts."""

    def __init__(self) -> None:
        self.starts = array("q")
        self.slots: list[str] = []
        self.states: list[str] = []
        self.is_dropped = bytearray()

    def add(self, start: int, slot: str, state: str, work: Any) -> None:
        self.starts.append(start)
        self.slots.append(slot)
        self.states.append(state)
        self.is_dropped.append(isinstance(work, dict) and DROPPED in work)


class Entries(Sequence[Entry]):
    """Entries as the text of a plan.

    Parameters
    ----------
    text : bytes
        The JSON of all entries in ASCII, with :data:`BETWEEN` between them. A long one goes to the local disk.
    columns : _Columns

    Attributes
    ----------
    slots, states : array of bytes
    is_dropped : array of bool

    Examples
    --------
    >>> entries = Entries.of([Entry("a", "1"), Entry("b", "2", {"sources": []})])
    >>> entries.text, entries[1].slot, entries.states.tolist()
    ('["a", "1", null], ["b", "2", {"sources": []}]', 'b', [b'1', b'2'])
    """

    def __init__(self, text: bytes | memoryview, columns: _Columns) -> None:
        self._text: bytes | SpooledText = bytes(text) if len(text) < SPOOLED_FROM else spooled(text)
        self._starts = np.array(columns.starts, np.int64)
        self.slots, self.states = packed(columns.slots), packed(columns.states)
        self.is_dropped = np.array(columns.is_dropped, bool)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """Return entries as text; they are asked for once, and none is kept."""
        writer = EntriesWriter()
        for each in entries:
            writer.add(each)
        return writer.written()

    @classmethod
    def parse(cls, text: str, content: memoryview, start: int) -> Entries | None:
        """Return the entries of a list whose first element begins at ``start``; None if it has other spaces.

        Parameters
        ----------
        text, content
            The same in ASCII, as text and as bytes.
        """
        columns, at, end = _Columns(), start, start
        while text[at] != "]":
            (slot, state, *work), end = _decode(text, at)
            columns.add(at - start, slot, state, *work)
            if text.startswith(BETWEEN, end):
                at = end + len(BETWEEN)
            elif text[end] == "]":
                break
            else:
                return None
        return cls(content[start:end], columns)

    @property
    def text(self) -> str:
        """All entries, as a plan stores them."""
        return self._read(0, len(self._text))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Entry, ...]: ...
    def __getitem__(self, index: int | slice) -> Entry | tuple[Entry, ...]:
        found = tuple(self.at(range(len(self))[index] if isinstance(index, slice) else [range(len(self))[index]]))
        return found if isinstance(index, slice) else found[0]

    def __iter__(self) -> Iterator[Entry]:
        return self.at(range(len(self)))

    def at(self, places: Sequence[int]) -> Iterator[Entry]:
        """Yield the entries at some places, each made anew; of places in a row, many are read at once."""
        for first in range(0, len(places), READ_AT_ONCE):
            some = places[first : first + READ_AT_ONCE]
            if any(place - before != 1 for before, place in pairwise(some)):
                yield from (Entry(*json.loads(self._read(*self._span(place, place)))) for place in some)
                continue
            text, at = self._read(*self._span(some[0], some[-1])), 0
            for _ in some:
                entry, end = _decode(text, at)
                at = end + len(BETWEEN)
                yield Entry(*entry)

    def _span(self, first: int, last: int) -> tuple[int, int]:
        """Return where the text of some entries in a row begins and ends."""
        is_last = last + 1 == len(self)
        end = len(self._text) if is_last else int(self._starts[last + 1]) - len(BETWEEN)
        return int(self._starts[first]), end

    def _read(self, start: int, stop: int) -> str:
        text = self._text
        return str(text[start:stop] if isinstance(text, bytes) else text.read(start, stop), "ascii")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]


class EntriesWriter:
    """Collects entries one by one, and keeps their texts only."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self._parts: list[str] = []
        self._columns = _Columns()

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        text = entry.to_json()
        self._parts.append(text)
        self._columns.add(self.n_bytes, entry.slot, entry.state, entry.work)
        self.n_bytes += len(text) + len(BETWEEN)

    def written(self) -> Entries:
        """Return the entries that were added."""
        return Entries(BETWEEN.join(self._parts).encode("ascii"), self._columns)


def packed(names: Iterable[str]) -> npt.NDArray[np.bytes_]:
    """Return names as an array of bytes, which takes a third of the memory of strings.

    Examples
    --------
    >>> packed(["b", "a"]).tolist()
    [b'b', b'a']
    """
    values = [name.encode() for name in names]
    return np.array(values, f"S{max(map(len, values), default=1) or 1}")
