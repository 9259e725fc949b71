"""Thrift: bytes and numbers of its compact protocol, of which the footers and the page headers of Parquet are made."""

from __future__ import annotations


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
