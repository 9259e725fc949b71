"""Names of shards, packed: a million of them take 24 MB, and are compared at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.tables.entries import packed

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
        self.values: npt.NDArray[np.bytes_] = np.unique(packed(name for name in names if len(name) <= MAX_BYTES))

    @classmethod
    def of(cls, values: npt.NDArray[np.bytes_]) -> Names:
        """Return a set of packed names."""
        names = cls()
        names.values = np.unique(values)
        return names

    def holds(self, values: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
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
        return (bytes(value).decode() for value in self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Names({list(self)!r})"

    def __and__(self, other: Any) -> Names:
        other = as_names(other)
        return Names.of(self.values[other.holds(self.values)])

    def __sub__(self, other: Any) -> Names:
        other = as_names(other)
        return Names.of(self.values[~other.holds(self.values)])

    def __or__(self, other: Any) -> Names:
        return Names.of(np.concatenate([self.values, as_names(other).values]))

    def __rsub__(self, other: Any) -> Names:
        return as_names(other) - self

    __rand__, __ror__ = __and__, __or__
    __hash__ = None  # type: ignore[assignment]


def as_names(names: Iterable[str]) -> Names:
    """Return names as a set of this kind; the same one if it is."""
    return names if isinstance(names, Names) else Names(names)
