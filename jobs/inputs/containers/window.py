"""Window: part of a file, read as a file of its own."""

from __future__ import annotations

import os
from typing import Protocol

from detector.errors import ShardError


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


class Window:
    """``size`` bytes of a file from ``start`` on; if the file ends before them, it is broken.

    Examples
    --------
    >>> import io
    >>> window = Window(io.BytesIO(b"0123456789"), 3, 4)
    >>> window.seek(-2, os.SEEK_END), window.read(), window.read()
    (2, b'56', b'')
    """

    def __init__(self, file: Readable, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """As for any file, but return fewer bytes than asked for only at the end."""
        n_remaining = max(0, self._size - self._at)
        n_wanted = n_remaining if size < 0 else min(size, n_remaining)
        self._file.seek(self._start + self._at)
        data = self._file.read(n_wanted) if n_wanted else b""
        if len(data) != n_wanted:
            raise ShardError(f"ends {n_wanted - len(data):,} bytes before the end of its last member")
        self._at += n_wanted
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As for any file."""
        self._at = max(0, {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset)
        return self._at

    def tell(self) -> int:
        """As for any file."""
        return self._at
