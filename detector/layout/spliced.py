"""Spliced file: byte ranges of another file, and bytes of our own, read as one file. Nothing is copied."""

from __future__ import annotations

import bisect
import io
import itertools
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple, cast

from detector.raw_file import RawFile

BUFFER_BYTES = 1 << 20


class Range(NamedTuple):
    """Bytes of a file from `start` up to `end`."""

    start: int
    end: int


def spliced(file: BinaryIO, *parts: bytes | Range, buffer_bytes: int = BUFFER_BYTES) -> BinaryIO:
    """Return a seekable file of ``parts``, one after another; ranges are read from ``file``, which stays open.

    Examples
    --------
    >>> whole = spliced(io.BytesIO(b"0123456789"), b"head:", Range(2, 4), Range(7, 10))
    >>> whole.read(), whole.seek(-2, io.SEEK_END), whole.read()
    (b'head:23789', 8, b'89')
    """
    return cast(BinaryIO, io.BufferedReader(_Spliced(file, parts), buffer_bytes))


def read_at(file: BinaryIO, offset: int, n_bytes: int, size: int) -> bytes:
    """Read up to ``n_bytes`` of ``file[:size]``; nothing at an offset beyond it, which a header may claim.

    Examples
    --------
    >>> read_at(io.BytesIO(b"0123"), 2, 10, 4), read_at(io.BytesIO(b"0123"), 1 << 64, 10, 4)
    (b'23', b'')
    """
    if offset >= size:
        return b""
    file.seek(offset)
    return file.read(min(n_bytes, size - offset))


class _Spliced(RawFile):
    def __init__(self, file: BinaryIO, parts: Sequence[bytes | Range]) -> None:
        self._ends = list(itertools.accumulate(map(_length, parts)))
        super().__init__(self._ends[-1] if parts else 0)
        self._file = file
        self._parts = parts

    def readinto(self, buffer: Any) -> int:
        number = bisect.bisect_right(self._ends, self._offset)
        if number == len(self._parts):
            return 0
        part = self._parts[number]
        data = self._read_part(part, self._offset - self._ends[number] + _length(part), len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def _read_part(self, part: bytes | Range, at: int, n_bytes: int) -> bytes:
        if isinstance(part, bytes):
            return part[at : at + n_bytes]
        self._file.seek(part.start + at)
        return self._file.read(min(n_bytes, part.end - part.start - at))


def _length(part: bytes | Range) -> int:
    return len(part) if isinstance(part, bytes) else max(0, part.end - part.start)
