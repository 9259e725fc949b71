"""Entries: the shards that a plan lists; of a long plan they stay the text that was stored until one is asked for.

A plan may list a million shards. As objects they take some 2 kB each; as JSON text, and a number that says where each
begins, a tenth of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import eq
from typing import Any, overload

import numpy as np
import numpy.typing as npt

DROPPED = "dropped"  # in the work of a tombstone
BETWEEN = ", "  # of the elements of a list, as json.dumps writes it

_decode = json.JSONDecoder().raw_decode


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
        return json.dumps([self.slot, self.state, self.work], sort_keys=True, default=str)


class Entries(Sequence[Entry]):
    """Entries as the text of a plan.

    Parameters
    ----------
    text : str
        Holds the JSON of all entries, with :data:`BETWEEN` between them.
    starts : list of int
        Where each begins.
    stop : int
        Where the last one ends.
    slots : list of str

    Examples
    --------
    >>> entries = Entries.of([Entry("a", "1"), Entry("b", "2", {"sources": []})])
    >>> entries.text, entries[1].slot
    ('["a", "1", null], ["b", "2", {"sources": []}]', 'b')
    """

    def __init__(self, text: str, starts: Sequence[int], stop: int, slots: Iterable[str]) -> None:
        self._text, self._starts, self._stop = text, np.array(starts, np.int64), stop
        self.slots = packed(slots)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """Return entries as text; they are asked for once, and none is kept."""
        parts, slots, starts, end = [], [], [], 0
        for each in entries:
            parts.append(each.to_json())
            slots.append(each.slot)
            starts.append(end)
            end += len(parts[-1]) + len(BETWEEN)
        return cls(BETWEEN.join(parts), starts, max(0, end - len(BETWEEN)), slots)

    @classmethod
    def parse(cls, text: str, start: int) -> Entries | None:
        """Return the entries of a list whose first element begins at ``start``; None if it has other spaces."""
        starts, slots = [], []
        at = start
        while text[at] != "]":
            entry, end = _decode(text, at)
            starts.append(at)
            slots.append(entry[0])
            if text.startswith(BETWEEN, end):
                at = end + len(BETWEEN)
            elif text[end] == "]":
                return cls(text, starts, end, slots)
            else:
                return None
        return cls(text, starts, at, slots) if not starts else None

    @property
    def text(self) -> str:
        """All entries, as a plan stores them."""
        return self._text[self._starts[0] : self._stop] if len(self._starts) else ""

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Entry, ...]: ...
    def __getitem__(self, index: int | slice) -> Entry | tuple[Entry, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        return Entry(*_decode(self._text, int(self._starts[index]))[0])

    def __iter__(self) -> Iterator[Entry]:
        return (Entry(*_decode(self._text, int(start))[0]) for start in self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]


def packed(names: Iterable[str]) -> npt.NDArray[np.bytes_]:
    """Return names as an array of bytes, which takes a third of the memory of strings.

    Examples
    --------
    >>> packed(["b", "a"]).tolist()
    [b'b', b'a']
    """
    values = [name.encode() for name in names]
    return np.array(values, f"S{max(map(len, values), default=1) or 1}")
