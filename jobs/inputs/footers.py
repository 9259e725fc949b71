"""Footers of Parquet: how many structs one holds, counted before Arrow makes objects of them.

A column of a row group may be described in three bytes, of which Arrow makes 700: a footer that the limit on its length
allows could take gigabytes of the process that lists an archive.
"""

from __future__ import annotations

from jobs.inputs.thrift import CompactReader

MAX_STRUCTS = 100_000
"""Of a footer: a row group has one, and some four for each of its columns."""
SMALL_BYTES = 64 << 10  # a footer that is too short to harm is not counted

MAX_DEPTH = 16  # of structs; there are six

BOOLEANS, BYTE, INTEGERS, DOUBLE, BINARY, LISTS, MAP, STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 11, 12
"""Types of Thrift's compact protocol."""


def refuse_many_structs(footer: bytes) -> None:
    """Raise if a footer holds more structs than one of recordings does.

    Raises
    ------
    ValueError
        If it holds too many, or is no struct of Thrift's compact protocol.

    Examples
    --------
    >>> refuse_many_structs(bytes([0x19, 0xFC, 0x80, 0x80, 0x10, *bytes(1 << 18), 0]))  # a list of empty structs
    Traceback (most recent call last):
    ValueError: a footer of more than 100,000 structs, or 16 in one another
    """
    if len(footer) > SMALL_BYTES:
        _Walk(footer, "a footer", "that breaks off").struct()


class _Walk(CompactReader):
    """Goes over a struct with all that is in it; nothing of it is kept."""

    _n_structs = 0

    def struct(self, depth: int = 0) -> None:
        """Go to the end of a struct."""
        self._n_structs += 1
        if self._n_structs > MAX_STRUCTS or depth > MAX_DEPTH:
            raise ValueError(f"a footer of more than {MAX_STRUCTS:,} structs, or {MAX_DEPTH} in one another")
        while (byte := self.byte()) & 0x0F:
            if not byte >> 4:
                self.varint()  # the field's number
            if byte & 0x0F not in BOOLEANS:  # whose value is their type
                self._value(byte & 0x0F, depth)

    def _value(self, kind: int, depth: int) -> None:
        if kind in (*BOOLEANS, BYTE):
            self.position += 1
        elif kind in INTEGERS:
            self.varint()
        elif kind == DOUBLE:
            self.position += 8
        elif kind == BINARY:
            n_bytes = self.varint()
            self.position += n_bytes
        elif kind in LISTS:
            head = self.byte()
            for _ in range(self.varint() if head >> 4 == 15 else head >> 4):
                self._value(head & 0x0F, depth)
        elif kind == MAP:
            n_pairs = self.varint()
            kinds = self.byte() if n_pairs else 0
            for _ in range(n_pairs):
                self._value(kinds >> 4, depth)
                self._value(kinds & 0x0F, depth)
        elif kind == STRUCT:
            self.struct(depth + 1)
        else:
            raise ValueError(f"a footer with a field of type {kind}")
