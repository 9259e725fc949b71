"""Thrift: bytes and numbers of its compact protocol, of which the footers and the page headers of Parquet are made."""

from __future__ import annotations

from typing import Any

BOOLEANS, BYTE, SHORT, INT, LONG, DOUBLE, BINARY, LISTS, MAP, STRUCT = (1, 2), 3, 4, 5, 6, 7, 8, (9, 10), 11, 12
"""Types of the compact protocol."""

LIST = LISTS[0]

Fields = dict[tuple[int, int], Any]
"""What a struct has, by the number and the type of each field, in case a type is not the one expected."""


class BreaksOffError(ValueError):
    """The content ends before what is read."""


class CompactReader:
    """Reads bytes and numbers, one after the other.

    Parameters
    ----------
    content : bytes
    what : str
        What is read, in messages.
    end : str
        How a message goes on where the content ends too soon.

    Attributes
    ----------
    position : int
        Of the next byte.

    Examples
    --------
    >>> reader = CompactReader(bytes([0x96, 0x01, 7]), "a header", "that breaks off")
    >>> reader.varint(), reader.byte(), reader.position
    (150, 7, 3)
    """

    def __init__(self, content: bytes, what: str, end: str) -> None:
        self.position = 0
        self._content, self._what, self._end = content, what, end

    def varint(self) -> int:
        """Read a number without a sign; ValueError if it has more than ten bytes."""
        number = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError(f"{self._what} with a number of more than ten bytes")

    def byte(self) -> int:
        """Read a byte; BreaksOffError at the end of the content."""
        if self.position >= len(self._content):
            raise BreaksOffError(f"{self._what} {self._end}")
        self.position += 1
        return self._content[self.position - 1]


class StructReader(CompactReader):
    """Reads structs; texts, numbers with a point, maps, and what a list has beside structs are not kept.

    Attributes
    ----------
    most_structs, most_values, most_depth : int
        Structs in all, fields of structs and values of lists and maps in all, and how deep all of these may lie in one
        another.
    refused : frozenset of int
        Types that a field may not have.

    Examples
    --------
    >>> StructReader(bytes([0x15, 4, 0x28, 1, 65, 0x19, 0x1C, 0x15, 6, 0, 0]), "a struct", "that breaks off").struct()
    {(1, 5): 2, (3, 8): None, (4, 9): [{(1, 5): 3}]}
    """

    most_structs, most_values, most_depth = 1_000, 10_000, 16
    refused: frozenset[int] = frozenset()
    _n_structs = _n_values = 0

    def struct(self, depth: int = 0) -> Fields:
        """Return the next struct; ValueError if there are too many, or if it has a field twice or of a wrong type."""
        self._n_structs += 1
        fields: Fields = {}
        number = 0
        while (byte := self.byte()) & 0x0F:
            number = number + (byte >> 4) if byte >> 4 else self._integer()
            key = number, byte & 0x0F
            if key in fields or not 0 < number < 1 << 15:
                raise ValueError(f"{self._what} with field {number} twice, or of no such number")
            if key[1] in BOOLEANS:
                self._enter(depth)
                fields[key] = key[1] == BOOLEANS[0]
            else:
                fields[key] = self._value(key[1], depth)
        return fields

    def _enter(self, depth: int) -> None:
        """Count a value; ValueError if there are too many, or if it lies too deep in others."""
        self._n_values += 1
        if self._n_structs > self.most_structs or self._n_values > self.most_values or depth > self.most_depth:
            raise ValueError(
                f"{self._what} of more than {self.most_structs:,} structs, {self.most_values:,} values, or "
                f"{self.most_depth} in one another"
            )

    def _integer(self) -> int:
        number = self.varint()
        return number >> 1 ^ -(number & 1)

    def _count(self, n_values: int) -> int:
        """Return how many values follow, each of a byte at least, unless the content is too short for them."""
        if n_values > len(self._content) - self.position:
            raise BreaksOffError(f"{self._what} {self._end}")
        return n_values

    def _value(self, kind: int, depth: int) -> Any:
        self._enter(depth)
        if kind in self.refused:
            raise ValueError(f"{self._what} with a field of type {kind}")
        if kind in (*BOOLEANS, BYTE):
            self.position += 1
        elif kind in (SHORT, INT, LONG):
            return self._integer()
        elif kind == DOUBLE:
            self.position += 8
        elif kind == BINARY:
            n_bytes = self.varint()
            self.position += n_bytes
        elif kind in LISTS:
            head = self.byte()
            n_values = self._count(self.varint() if head >> 4 == 15 else head >> 4)
            values = (self._value(head & 0x0F, depth + 1) for _ in range(n_values))
            return [each for each in values if isinstance(each, dict)]
        elif kind == MAP:
            n_pairs = self._count(self.varint())
            kinds = self.byte() if n_pairs else 0
            for _ in range(n_pairs):
                self._value(kinds >> 4, depth + 1)
                self._value(kinds & 0x0F, depth + 1)
        elif kind == STRUCT:
            return self.struct(depth + 1)
        else:
            raise ValueError(f"{self._what} with a field of type {kind}")
        return None
