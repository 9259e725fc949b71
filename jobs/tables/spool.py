"""The spool: long texts of plans on the local disk, in files without a name, so that no run holds them in memory.

The files are in the folder for temporary ones (`TMPDIR`), and are gone with the process, however it ends.
"""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import dataclass

from jobs import storage

FILE_BYTES = 1 << 30  # of one file; its space is free once no text in it is needed


class _File:
    def __init__(self) -> None:
        with storage.storage_errors(tempfile.gettempdir()):
            self.file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when no text refers to it
        self.size = 0


@dataclass(frozen=True)
class SpooledText:
    """A text in the spool.

    Examples
    --------
    >>> text = spooled(b"some text")
    >>> text.read(5, 9), len(text)
    (b'text', 9)
    """

    _file: _File
    _begin: int
    _length: int

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, stop: int) -> bytes:
        """Return a part of the text."""
        with storage.storage_errors(tempfile.gettempdir()):
            return os.pread(self._file.file.fileno(), stop - start, self._begin + start)


_lock = threading.Lock()
_last: list[_File] = []


def spooled(text: bytes | memoryview) -> SpooledText:
    """Put a text into the spool."""
    with _lock:
        if not _last or _last[0].size > FILE_BYTES:
            _last[:] = [_File()]
        file = _last[0]
        begin, rest = file.size, memoryview(text)
        with storage.storage_errors(tempfile.gettempdir()):
            while rest:
                rest = rest[os.pwrite(file.file.fileno(), rest, file.size) :]
                file.size = begin + len(text) - len(rest)
        return SpooledText(file, begin, len(text))
