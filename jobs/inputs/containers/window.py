"""Window: part of a file, read as a file of its own; and a file whose first bytes are held."""

from __future__ import annotations

import os
from typing import Protocol

from detector.errors import ShardError
from jobs.storage import ReadOnlyFile


class Readable(Protocol):
    """The file methods that readers of containers need."""

    def read(self, size: int = -1, /) -> bytes:
        """As for any file."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As for any file."""
        ...

    def tell(self) -> int:
        """As for any file."""
        ...


class Window(ReadOnlyFile):
    """``size`` bytes of a file from ``start`` on; if the file ends before them, it is broken.

    A read returns fewer bytes than asked for only at the end of the window.

    Examples
    --------
    >>> import io, os
    >>> window = Window(io.BytesIO(b"0123456789"), 3, 4)
    >>> window.seek(-2, os.SEEK_END), window.read(), window.read()
    (2, b'56', b'')
    """

    def __init__(self, file: Readable, start: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._n_bytes = size

    def _read_at(self, offset: int, size: int) -> bytes:
        n_remaining = max(0, self._n_bytes - offset)
        n_wanted = n_remaining if size < 0 else min(size, n_remaining)
        if not n_wanted:
            return b""
        self._file.seek(self._start + offset)
        data = self._file.read(n_wanted)
        if len(data) != n_wanted:
            raise ShardError(f"ends {n_wanted - len(data):,} bytes before the end of its last member")
        return data

    def _size(self) -> int:
        return self._n_bytes


class Peeked(ReadOnlyFile):
    """A file of which the first bytes are held, so that looking at them and then reading on never steps back.

    A step back would decompress from the beginning of a member, and end zipfile's check of its CRC.

    Parameters
    ----------
    file : file
        Seekable, at its beginning.
    n_bytes : int
        Bytes to hold.

    Examples
    --------
    >>> import io
    >>> file = Peeked(io.BytesIO(b"0123456789"), 4)
    >>> file.head, file.read(6), file.read()
    (b'0123', b'012345', b'6789')
    """

    def __init__(self, file: Readable, n_bytes: int) -> None:
        super().__init__()
        self.head = file.read(n_bytes)
        self._file = file

    def _read_at(self, offset: int, size: int) -> bytes:
        held = self.head[offset:] if size < 0 else self.head[offset : offset + size]
        if len(held) == size or offset + len(held) < len(self.head):
            return held
        self._file.seek(offset + len(held))
        return held + self._file.read(size - len(held) if size >= 0 else -1)

    def _size(self) -> int:
        return self._file.seek(0, os.SEEK_END)
