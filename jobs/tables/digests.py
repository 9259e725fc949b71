"""Digests of texts, by a key that nobody else knows: a text takes 8 bytes of memory, however long it is.

Whoever names files could else make one that is taken for another. By chance it happens to one of n texts that are
looked for among m with a probability of n m / 2⁶⁴: to none of a million among a hundred million in 99.9995 % of nights.
"""

from __future__ import annotations

import hashlib
import os
import sys
from array import array
from bisect import bisect_left

import numpy as np
import numpy.typing as npt

KEY = os.urandom(16)  # of this process
PARTS = 256  # by the first byte of a digest: each is sorted apart, so that little memory is needed for it

Digests = npt.NDArray[np.uint64]


def digest(text: str) -> bytes:
    """Return the digest of a text; it may hold lone surrogates, as names of files do."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8, key=KEY).digest()


def value_of(text: str) -> int:
    """Return the digest of a text as a number."""
    return _value_of(digest(text))


def _value_of(found: bytes) -> int:
    return int.from_bytes(found, sys.byteorder)


class DigestSet:
    """A set of texts as digests. Texts are added, then it is sorted, then they are looked for.

    Examples
    --------
    >>> texts = DigestSet()
    >>> texts.add("a")
    >>> texts.sort()
    >>> "a" in texts, "b" in texts
    (True, False)
    """

    def __init__(self) -> None:
        self._values = array("Q")

    def add(self, text: str) -> None:
        """Add a text."""
        self._values.frombytes(digest(text))

    def update(self, other: DigestSet) -> None:
        """Add all texts of another set."""
        self._values.extend(other._values)

    def sort(self) -> None:
        """Make what was added ready to be found."""
        self.values.sort()

    @property
    def values(self) -> Digests:
        """The digests, not copied."""
        return np.asarray(self._values)

    def __contains__(self, text: str) -> bool:
        return _place_of(digest(text), self._values) is not None

    def repeated(self) -> bool:
        """Return True if a text was added twice."""
        return bool((self.values[1:] == self.values[:-1]).any())

    def repeats_beside(self, other: DigestSet) -> set[int]:
        """Return the digests of texts that are twice in this set and another one."""
        values = np.sort(np.concatenate([self.values, other.values]))
        return set(values[1:][values[1:] == values[:-1]].tolist())

    def meets(self, other: DigestSet) -> bool:
        """Return True if another set has one of the texts."""
        if not len(other.values):
            return False
        places = np.searchsorted(other.values, self.values).clip(max=len(other.values) - 1)
        return bool((other.values[places] == self.values).any())


class _Part:
    """Texts of a :class:`DigestMap` whose digests end with the same byte."""

    def __init__(self) -> None:
        self.first, self.second, self.rows = array("Q"), array("Q"), array("i")
        self.begin = 0  # place of its first text among all

    def sort(self) -> None:
        order = np.argsort(np.asarray(self.first), kind="stable")
        self.first, self.second, self.rows = (
            array(each.typecode, np.asarray(each)[order].tobytes()) for each in (self.first, self.second, self.rows)
        )


class DigestMap:
    """Texts, each with another text beside it and a row, in 20 bytes. They are added, then sorted, then found.

    Examples
    --------
    >>> found = DigestMap()
    >>> found.add("name", "what it has", 3)
    >>> found.sort()
    >>> found.find("name"), found.find("name", "what it has"), found.find("name", "other"), found.rows.tolist()
    (0, 0, None, [3])
    """

    def __init__(self) -> None:
        self._parts = [_Part() for _ in range(PARTS)]

    def add(self, text: str, beside: str, row: int) -> None:
        """Add a text, what is beside it, and its row."""
        found = digest(text)
        part = self._parts[found[0]]
        part.first.frombytes(found)
        part.second.frombytes(digest(beside))
        part.rows.append(row)

    def sort(self) -> None:
        """Make what was added ready to be found."""
        begin = 0
        for part in self._parts:
            part.begin = begin
            begin += len(part.rows)
            if len(part.rows) > 1:
                part.sort()
        self.rows = np.concatenate([np.asarray(part.rows) for part in self._parts])

    def find(self, text: str, beside: str | None = None) -> int | None:
        """Return the place of a text; None if it is not there, or has something else beside it than is asked for.

        Of texts that are the same, only the first is found.
        """
        found = digest(text)
        part = self._parts[found[0]]
        place = _place_of(found, part.first)
        if place is None or (beside is not None and part.second[place] != _value_of(digest(beside))):
            return None
        return part.begin + place

    def repeated(self) -> npt.NDArray[np.int32]:
        """Return the rows of texts that were added more than once."""
        rows = [np.zeros(0, np.int32)]
        for part in self._parts:
            first = np.asarray(part.first)
            same = np.zeros(len(first) + 1, bool)
            same[1:-1] = first[1:] == first[:-1]
            rows.append(np.asarray(part.rows)[same[1:] | same[:-1]])
        return np.concatenate(rows)


def _place_of(found: bytes, values: array[int]) -> int | None:
    """Return the place of a digest among sorted ones; None if it is not there."""
    value = _value_of(found)
    place = bisect_left(values, value)
    return place if place < len(values) and values[place] == value else None
