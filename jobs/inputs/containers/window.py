"""A window: a part of a file, as a file."""

from __future__ import annotations

import os
from typing import Protocol

from detector.errors import ShardError


class Readable(Protocol):
    """What a container is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """As any file's."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As any file's."""
        ...

    def tell(self) -> int:
        """As any file's."""
        ...


class Window:
    """So many bytes of a file from a place on; where fewer are there, the file is broken.

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
        """As any file's, but never less than is asked for before the end."""
        left = max(0, self._size - self._at)
        wanted = left if size < 0 else min(size, left)
        self._file.seek(self._start + self._at)
        data = self._file.read(wanted) if wanted else b""
        if len(data) != wanted:
            raise ShardError(f"ends {wanted - len(data):,} bytes before the end of its last member")
        self._at += wanted
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As any file's."""
        self._at = max(0, {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset)
        return self._at

    def tell(self) -> int:
        """As any file's."""
        return self._at
