"""Names of shards, packed: a million of them take 24 MB, and are compared at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.tables.entries import packed

Packed = npt.NDArray[np.bytes_]

UNPACKED = 1_024  # names at once
MAX_BYTES = 64  # of a name; whoever can write beside ours could else make each of a million as long as his own


class Names(Set[str]):
    """A set of names that does not change. Names that are longer than any of ours are left out.

    Examples
    --------
    >>> names = Names(["b-000001", "a-000001"])
    >>> list(names), "b-000001" in names, names & {"b-000001", "c"} == {"b-000001"}
    (['a-000001', 'b-000001'], True, True)
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.values: Packed = _unique(packed(name for name in names if len(name) <= MAX_BYTES))

    @classmethod
    def of(cls, values: Packed) -> Names:
        """Return a set of packed names."""
        return cls._sorted(_unique(values))

    @classmethod
    def _sorted(cls, values: Packed) -> Names:
        names = cls.__new__(cls)
        names.values = values
        return names

    def holds(self, values: Packed) -> npt.NDArray[np.bool_]:
        """Return which of these packed names are in the set."""
        if not len(self.values):
            return np.zeros(len(values), bool)
        places = np.searchsorted(self.values, values).clip(max=len(self.values) - 1)
        return np.asarray(self.values[places] == values)

    def __contains__(self, name: object) -> bool:
        value = name.encode() if isinstance(name, str) else b""
        place = int(np.searchsorted(self.values, np.bytes_(value)))
        return place < len(self.values) and bytes(self.values[place]) == value

    def __iter__(self) -> Iterator[str]:
        return texts(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Names({list(self)!r})"

    def __and__(self, other: Any) -> Names:
        other = as_names(other)
        return Names._sorted(self.values[other.holds(self.values)])

    def __sub__(self, other: Any) -> Names:
        other = as_names(other)
        return Names._sorted(self.values[~other.holds(self.values)])

    def __or__(self, other: Any) -> Names:
        new = as_names(other) - self
        return Names.of(np.concatenate([self.values, new.values])) if new else self

    def __rsub__(self, other: Any) -> Names:
        return as_names(other) - self

    __rand__, __ror__ = __and__, __or__
    __hash__ = None  # type: ignore[assignment]


def _unique(values: Packed) -> Packed:
    """Return values sorted, each once; :func:`numpy.unique` takes three times as long for bytes."""
    values = np.sort(values)
    is_first = np.ones(len(values), bool)
    is_first[1:] = values[1:] != values[:-1]
    return values if is_first.all() else values[is_first]


def as_names(names: Iterable[str]) -> Names:
    """Return names as a set of this kind; the same one if it is."""
    return names if isinstance(names, Names) else Names(names)


def texts(values: Packed) -> Iterator[str]:
    """Yield packed names as text.

    Examples
    --------
    >>> list(texts(packed(["b", "a"])))
    ['b', 'a']
    """
    parts = (values[start : start + UNPACKED].tolist() for start in range(0, len(values), UNPACKED))
    return (value.decode() for part in parts for value in part)


def place_of(name: str, names: Packed, order: npt.NDArray[np.int64]) -> int:
    """Return where a name stands in an array whose sorted order is known; KeyError if it does not.

    Examples
    --------
    >>> names = np.array([b"b", b"a"])
    >>> place_of("a", names, np.argsort(names))
    1
    """
    value = name.encode()
    rank = int(np.searchsorted(names, np.bytes_(value), sorter=order))
    if rank == len(names) or bytes(names[order[rank]]) != value:
        raise KeyError(name)
    return int(order[rank])
