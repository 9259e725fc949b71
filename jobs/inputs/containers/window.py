"""Window: part of a file, read as a file of its own."""

from __future__ import annotations

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
