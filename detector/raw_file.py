"""Raw file: what every seekable file of our own has in common; where its bytes come from is left to each."""

from __future__ import annotations

import io
import os


class RawFile(io.RawIOBase):
    """A read-only file of a known size; a subclass reads on from `_offset`, and moves it.

    Parameters
    ----------
    size : int
        Bytes of the file; an offset beyond it may be sought, and gives nothing.

    Examples
    --------
    >>> file = RawFile(10)
    >>> file.seek(-2, os.SEEK_END), file.seek(1, os.SEEK_CUR), file.seekable()
    (8, 9, True)
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._offset = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset; raise :class:`OSError` before the first byte."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(f"no byte {start + offset:,}")
        self._offset = start + offset
        return self._offset
