"""Read-only files: their base class, a file that remembers its errors, and one that is read by range requests."""

from __future__ import annotations

import abc
import hashlib
import io
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from jobs.errors import CorruptError
from jobs.storage.objects import Stored, storage_errors

READ_AHEAD_BYTES = 8 << 20


class ReadOnlyFile(io.RawIOBase):
    """A seekable file of bytes that cannot be written; a subclass provides :meth:`_read_at`.

    Python's wrappers, Arrow and tarfile ask for all of a raw file's methods, so every file of ours has them.
    A subclass that knows its size provides :meth:`_size`, too; without it, seeking from the end raises OSError.

    Examples
    --------
    >>> class Zeros(ReadOnlyFile):
    ...     def _read_at(self, offset, size):
    ...         return bytes(size)
    >>> file = Zeros()
    >>> file.seek(10), file.read(2), file.tell()
    (10, b'\\x00\\x00', 12)
    """

    _position = 0

    @abc.abstractmethod
    def _read_at(self, offset: int, size: int) -> bytes:
        """Return at most ``size`` bytes from ``offset`` on, none at the end; all the rest if ``size`` is negative."""

    def _size(self) -> int:
        """Return the number of bytes in the file."""
        raise OSError("the size of this file is not known before it was read to its end")

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte to read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to an offset, also beyond the end; ValueError before the first byte, as for any file of Python's."""
        if whence != os.SEEK_SET:  # tested first: tar's headers are walked by it
            offset += self._position if whence == os.SEEK_CUR else self._size()
        if offset < 0:
            raise ValueError(f"seek to {offset:,}, before the first byte")
        self._position = offset
        return offset

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes, or all that is left."""
        content = self._read_at(self._position, -1 if size is None else size)
        self._position += len(content)
        return content

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read(-1)

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer, or as much of it as one read brings; return the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


class StoredFile(ReadOnlyFile):
    """A stored object that is being read; it remembers the first error of a read.

    Decoders written in C swallow an exception of the file that they read and take it for the end of the file. So the
    caller that hands this file to a decoder asks for the error afterwards, by :meth:`raise_trouble` or :meth:`verify`.

    Parameters
    ----------
    file : file
    uri : str
        Named in error messages.
    check : callable
        Raises if the file is not the one that was planned, or no longer.
    """

    def __init__(self, file: Any, uri: str, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._file = file
        self._uri = uri
        self._check = check
        self._trouble: Exception | None = None

    def raise_trouble(self) -> None:
        """Raise the error of the last read that failed, if any did."""
        if self._trouble is not None:
            raise self._trouble

    def verify(self) -> None:
        """Raise unless all bytes that were read are those that were planned; call it once, after the last read.

        Raises
        ------
        CorruptError
            If the bytes differ from those that the store received.
        SourceChangedError
            If the object was replaced while it was read.
        """
        self.raise_trouble()
        self._check()

    def _read_at(self, offset: int, size: int) -> bytes:
        try:
            with storage_errors(self._uri):
                self._file.seek(offset)
                return bytes(self._file.read(size))
        except Exception as error:
            self._trouble = error
            raise

    def _size(self) -> int:
        return int(self._file.seek(0, os.SEEK_END))


class Ranges(Protocol):
    """The source of the bytes of a :class:`RangeFile`."""

    def fetch(self, start: int, stop: int) -> bytes:
        """Return all bytes of a range."""
        ...

    def digest(self) -> ContentDigest:
        """Return the digest to compare the content with; called after the first fetch."""
        ...

    def conclusive(self) -> bool:
        """Return True if a digest that differs proves that the content does."""
        ...


class ContentDigest:
    """Compares bytes, as they pass from front to back, with the ETag of their object.

    The ETag of an object that was uploaded in one part is its MD5. That of a multipart upload is the MD5 of the MD5s
    of its parts, a dash, and their number. Any other ETag says nothing about the content and matches all of it.

    Parameters
    ----------
    etag : str
    part_bytes : int, optional
        Size of every part but the last, for a multipart upload.

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
        self._comparable = bool(re.fullmatch(r"[0-9a-f]{32}" if part_bytes is None else r"[0-9a-f]{32}-\d+", etag))
        self._part = hashlib.md5(usedforsecurity=False)
        self._parts = hashlib.md5(usedforsecurity=False)
        self._n_parts = 0

    def update(self, content: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(content)
        while self._comparable and len(view):
            if self._part_bytes is not None and self.n_bytes == (self._n_parts + 1) * self._part_bytes:
                self._close_part()
            room = None if self._part_bytes is None else (self._n_parts + 1) * self._part_bytes - self.n_bytes
            self._part.update(view[:room])
            self.n_bytes += len(view[:room])
            view = view[len(view[:room]) :]
        self.n_bytes += len(view)

    def _close_part(self) -> None:
        self._parts.update(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._n_parts += 1

    def matches(self) -> bool:
        """Return True if the bytes are those of the ETag; call it once, after the last byte."""
        if not self._comparable:
            return True
        if self._part_bytes is None:
            return self._part.hexdigest() == self._etag
        self._close_part()
        return f"{self._parts.hexdigest()}-{self._n_parts}" == self._etag


class Block:
    """A block of an object that is fetched in a thread of its own, while the one before it is in use.

    Parameters
    ----------
    ranges : Ranges
    start, stop : int
    """

    def __init__(self, ranges: Ranges, start: int, stop: int) -> None:
        self.start = start
        self._content: Future[bytes] = Future()

        def fetch() -> None:
            try:
                self._content.set_result(ranges.fetch(start, stop))
            except BaseException as error:
                self._content.set_exception(error)

        # a daemon: a file may be closed, and a process end, before the store has answered
        threading.Thread(target=fetch, daemon=True, name="next block").start()

    def content(self) -> bytes:
        """Wait for the block, and return it; or raise the error of its request."""
        return self._content.result()


class RangeFile(ReadOnlyFile):
    """An object that is read by range requests, a block at a time; the store compares each with the planned ETag.

    While a block is in use, the next one is on its way: always if all bytes are to be verified, else once the reader
    has gone from one block to the next.

    Parameters
    ----------
    stored : Stored
    ranges : Ranges
    whole : bool
        Fetch the bytes that the reader skips, too, so that :meth:`verify` sees every byte once, from front to back.
    """

    def __init__(self, stored: Stored, ranges: Ranges, *, whole: bool) -> None:
        super().__init__()
        self._stored = stored
        self._ranges = ranges
        self._whole = whole
        self._digest: ContentDigest | None = None
        self._start = 0
        self._block = b""
        self._next: Block | None = None

    def _size(self) -> int:
        return self._stored.size

    def _read_at(self, offset: int, size: int) -> bytes:
        end = self._stored.size
        stop = end if size < 0 else min(offset + size, end)
        parts = []
        while offset < stop:
            if not self._start <= offset < self._start + len(self._block):
                self._load(offset)
            parts.append(self._block[offset - self._start : stop - self._start])
            offset += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _load(self, offset: int) -> None:
        """Fetch the block that begins at ``offset``; if the whole is to be verified, also the bytes skipped before."""
        start = min(offset, self._n_digested) if self._whole else offset
        while True:
            stop = min(start + READ_AHEAD_BYTES, self._stored.size)
            self._block = self._fetched(start, stop)
            self._start = start
            if self._digest is None:
                self._digest = self._ranges.digest()
            if start <= self._digest.n_bytes < stop:
                self._digest.update(memoryview(self._block)[self._digest.n_bytes - start :])
            if offset < stop or start == stop:
                return
            start = stop

    def _fetched(self, start: int, stop: int) -> bytes:
        """Return a block, and begin to fetch the next one if it will be read."""
        is_next = bool(self._block) and start == self._start + len(self._block)
        self._block = b""  # no more than two are held
        following, self._next = self._next, None
        if following is not None and following.start == start:
            block = following.content()
        else:
            block = self._ranges.fetch(start, stop)
        is_wanted = is_next or (self._whole and stop > self._n_digested)
        if is_wanted and stop < self._stored.size:
            self._next = Block(self._ranges, stop, min(stop + READ_AHEAD_BYTES, self._stored.size))
        return block

    @property
    def _n_digested(self) -> int:
        return self._digest.n_bytes if self._digest else 0

    def verify(self) -> None:
        """Raise CorruptError if all bytes were read and their digest differs from the ETag.

        If the file was opened as a whole, the missing bytes are fetched first. Otherwise an object of which something
        was skipped passes, as does one whose ETag is no digest: there only lengths are compared.
        """
        while self._whole and (self._digest is None or self._n_digested < self._stored.size):
            self._load(self._n_digested)  # also once for an empty object: it may have been replaced
        if self._digest is None or self._n_digested < self._stored.size:
            return
        if not self._digest.matches() and self._ranges.conclusive():
            raise CorruptError(
                f"{self._stored.uri}: {self._stored.size:,} bytes came that are not those of the ETag "
                f"{self._stored.etag}: they were changed on the way, or in the store. "
                "Run the same command again; if it happens again, check the store."
            )
