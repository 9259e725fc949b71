"""Parts: the pieces that packed content is taken apart into, every byte of it; and limits on them."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from detector.errors import SchemaError

MAX_BYTES = 1 << 30
"""Bytes that one object may unpack to, all its members and all levels together."""
MAX_MEMBERS = 100_000
MAX_STREAMS = 1_000_000
"""Compressed streams, one behind the other: indexed gzip files have one every 64 KiB."""


class Kind(Enum):
    """How a part is to be read."""

    CONTENT = "content"  # whatever it says that it is: a table, an archive, text
    HEADER = "header"  # as text
    FIELDS = "fields"  # rows of a binary format: texts with nothing between them


class Part(NamedTuple):
    """A piece of packed content, with the name that it has there; empty for what has none."""

    name: str
    content: bytes
    kind: Kind = Kind.CONTENT


class Budget:
    """How much an object may still unpack to."""

    def __init__(self) -> None:
        self.bytes_left = MAX_BYTES
        self._members_left = MAX_MEMBERS
        self._streams_left = MAX_STREAMS

    def spend(self, n_bytes: int) -> None:
        """Count unpacked bytes.

        Raises
        ------
        SchemaError
            If it is too many; as the other limits do.
        """
        self.bytes_left -= n_bytes
        if self.bytes_left < 0:
            raise SchemaError(f"unpacks to more than {MAX_BYTES:,} bytes")

    def count_member(self) -> None:
        """Count a part."""
        self._members_left -= 1
        if self._members_left < 0:
            raise SchemaError(f"has more than {MAX_MEMBERS:,} members")

    def count_stream(self) -> None:
        """Count a compressed stream."""
        self._streams_left -= 1
        if self._streams_left < 0:
            raise SchemaError(f"has more than {MAX_STREAMS:,} compressed streams")
