"""Files that are read front to back: a file that remembers its troubles, and one made of ranges of an object."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable
from typing import Any, Protocol

from jobs.errors import CorruptError
from jobs.storage.names import Stored, named

READ_AHEAD_BYTES = 8 << 20


class StoredFile:
    """A readable file whose troubles are remembered.

    Decoders written in C swallow an exception of the file that they read and take it for its end; so whoever
    gave them this file asks afterwards, by :meth:`raise_trouble` or :meth:`verify`.

    Parameters
    ----------
    file : file
    uri : str
        What its troubles are about.
    check : callable
        Raises where the file is not, or no longer, what was planned.
    """

    def __init__(self, file: Any, uri: str, check: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._uri = uri
        self._check = check
        self._trouble: Exception | None = None

    def raise_trouble(self) -> None:
        """Raise what a read ran into, if any did."""
        if self._trouble is not None:
            raise self._trouble

    def verify(self) -> None:
        """Raise unless all that was read is what was planned; to be asked once, after the last read.

        Raises
        ------
        CorruptError
            Where the bytes that came are not those that the store took in.
        SourceChangedError
            Where a file was replaced while it was read.
        """
        self.raise_trouble()
        self._check()

    def read(self, size: int = -1) -> bytes:
        """As any file's."""
        try:
            with named(self._uri):
                return bytes(self._file.read(size))
        except Exception as error:
            self._trouble = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        """As any file's."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """As any file's."""
        return int(self._file.tell())

    def seekable(self) -> bool:
        """It is; tarfile asks."""
        return True


class RawFile(io.RawIOBase):
    """A stored file as Python's own files are: Arrow, and readers of lines, ask for no less."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__()
        self._file = file

    def readable(self) -> bool:
        """As any file's."""
        return True

    def seekable(self) -> bool:
        """As any file's."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As any file's."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As any file's."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """As any file's."""
        return self._file.read(size)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As any file's."""
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


class Ranges(Protocol):
    """Where :class:`RangeFile` has its bytes from."""

    def fetch(self, start: int, stop: int) -> bytes:
        """The bytes of a range, all of them."""
        ...

    def digest(self) -> ContentDigest:
        """What the content is held against; asked for after the first fetch."""
        ...

    def conclusive(self) -> bool:
        """Whether a digest that differs proves that the content does."""
        ...


class ContentDigest:
    """Whether bytes that go by, front to back, are those that an ETag was made of.

    The ETag of an object that came in one part is its MD5; that of one which came in parts is the MD5 of their
    MD5s and, behind a dash, their number. Anything else says nothing about the content, and matches whatever goes by.

    Parameters
    ----------
    etag : str
    part_bytes : int, optional
        Of every part but the last, where there are parts.

    Examples
    --------
    >>> digest = ContentDigest("900150983cd24fb0d6963f7d28e17f72")  # RFC 1321: MD5 of "abc"
    >>> digest.update(b"ab"); digest.update(b"x"); digest.matches()
    False
    """

    def __init__(self, etag: str, part_bytes: int | None = None) -> None:
        self.n_bytes = 0
        self._etag = etag
        self._part_bytes = part_bytes
        self._speaks = bool(re.fullmatch(r"[0-9a-f]{32}" if part_bytes is None else r"[0-9a-f]{32}-\d+", etag))
        self._part = hashlib.md5(usedforsecurity=False)
        self._parts = hashlib.md5(usedforsecurity=False)
        self._n_parts = 0

    def update(self, content: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(content)
        while self._speaks and len(view):
            if self._part_bytes is not None and self.n_bytes == (self._n_parts + 1) * self._part_bytes:
                self._close_part()
            left = None if self._part_bytes is None else (self._n_parts + 1) * self._part_bytes - self.n_bytes
            self._part.update(view[:left])
            self.n_bytes += len(view[:left])
            view = view[len(view[:left]) :]
        self.n_bytes += len(view)

    def _close_part(self) -> None:
        self._parts.update(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._n_parts += 1

    def matches(self) -> bool:
        """Whether what went by is what the ETag is of; ends the digest."""
        if not self._speaks:
            return True
        if self._part_bytes is None:
            return self._part.hexdigest() == self._etag
        self._close_part()
        return f"{self._parts.hexdigest()}-{self._n_parts}" == self._etag


class RangeFile:
    """An object read by range requests, a block at a time, each held against the planned ETag by the store.

    Parameters
    ----------
    stored : Stored
    ranges : Ranges
    whole : bool
        Fetch what the reader skips, too, so that :meth:`verify` sees every byte once and front to back.
    """

    def __init__(self, stored: Stored, ranges: Ranges, *, whole: bool) -> None:
        self._stored = stored
        self._ranges = ranges
        self._whole = whole
        self._digest: ContentDigest | None = None
        self._at = 0
        self._start = 0
        self._block = b""

    def read(self, size: int | None = -1) -> bytes:
        """As any file's."""
        end = self._stored.size
        stop = end if size is None or size < 0 else min(self._at + size, end)
        parts = []
        while self._at < stop:
            if not self._start <= self._at < self._start + len(self._block):
                self._load(self._at)
            part = self._block[self._at - self._start : stop - self._start]
            parts.append(part)
            self._at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As any file's."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._stored.size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the first byte")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """As any file's."""
        return self._at

    def _load(self, at: int) -> None:
        """Fetch the block that begins ``at``; where the whole is asked for, also what was skipped before it."""
        start = min(at, self._n_digested) if self._whole else at
        while True:
            stop = min(start + READ_AHEAD_BYTES, self._stored.size)
            self._block = self._ranges.fetch(start, stop)
            self._start = start
            if self._digest is None:
                self._digest = self._ranges.digest()
            if start <= self._digest.n_bytes < stop:
                self._digest.update(memoryview(self._block)[self._digest.n_bytes - start :])
            if at < stop or start == stop:
                return
            start = stop

    @property
    def _n_digested(self) -> int:
        return self._digest.n_bytes if self._digest else 0

    def verify(self) -> None:
        """Raise where every byte has come, and together they are not what the ETag says.

        Where the whole was asked for, what is missing is fetched first. Else an object of which something was
        skipped passes, as does one whose ETag says nothing about its content: there only lengths are known.
        """
        while self._whole and (self._digest is None or self._n_digested < self._stored.size):
            self._load(self._n_digested)  # an empty object, too: that it stands there still
        if self._digest is None or self._n_digested < self._stored.size:
            return
        if not self._digest.matches() and self._ranges.conclusive():
            raise CorruptError(
                f"{self._stored.uri}: {self._stored.size:,} bytes came that are not those of the ETag "
                f"{self._stored.etag}: they were changed on the way, or in the store. "
                "Run the same command again; if it happens again, check the store."
            )
