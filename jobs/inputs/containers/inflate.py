"""Inflating: what a compressed stream holds, as a file that is read front to back in bounded memory."""

from __future__ import annotations

import os
import sys
import zlib
from typing import NamedTuple

from detector.errors import ShardError
from jobs.inputs.containers.member import MAX_RATIO, exceeds_ratio
from jobs.inputs.containers.window import Readable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Gzip", "Inflated", "Zstd", "zstd"]

READ_BYTES = 64 << 10
BLOCK_BYTES = 1 << 20
KEPT_BYTES = 64 << 10  # of the block before: a reader that steps back does so by a header or two
WINDOW_LOG = 27  # 128 MiB: what Zstandard's own tool takes without being asked
ERRORS = (zlib.error, zstd.ZstdError)


class Gzip:
    """A member of a gzip file (RFC 1952)."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        """Whether it came to its end."""
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        """What was given and lies behind its end."""
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:
        """Whether all that was given is inflated."""
        return not self._zlib.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """As much as there is, and no more than ``max_length``."""
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)

    def copied(self) -> Gzip:
        """The same, from here on."""
        twin = Gzip()
        twin._zlib = self._zlib.copy()
        return twin


class Zstd:
    """A frame of a Zstandard file (RFC 8878)."""

    def __init__(self) -> None:
        self._zstd = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})

    @property
    def eof(self) -> bool:
        """Whether it came to its end."""
        return self._zstd.eof

    @property
    def unused_data(self) -> bytes:
        """What was given and lies behind its end."""
        return self._zstd.unused_data

    @property
    def needs_input(self) -> bool:
        """Whether all that was given is inflated."""
        return self._zstd.needs_input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """As much as there is, and no more than ``max_length``."""
        return self._zstd.decompress(data, max_length)

    def copied(self) -> None:
        """None: libzstd cannot."""


Stream = Gzip | Zstd


class _Mark(NamedTuple):
    """A place to begin at anew: of the content at hand and of the file; None for a stream's first byte."""

    start: int
    block: bytes
    offset: int
    stream: Stream | None


class Inflated:
    """The content of a compressed file; several streams behind one another are one.

    Reading on costs nothing but inflating. A step back begins anew: at the last mark, where the stream can be copied,
    else at the stream's first byte. What comes to far more than recordings ever do from so few bytes is a bomb.

    Parameters
    ----------
    file : file
    begin : callable
        Makes the :class:`Stream`.

    Examples
    --------
    >>> import gzip, io
    >>> file = Inflated(io.BytesIO(gzip.compress(b"0123") + gzip.compress(b"4567")), Gzip)
    >>> file.seek(3), file.read(2), file.seek(0), file.read(1)
    (3, b'34', 0, b'0')
    """

    def __init__(self, file: Readable, begin: type[Gzip] | type[Zstd]) -> None:
        self._file = file
        self._begin = begin
        self._at = 0
        self._start = 0
        self._block = b""
        self._offset = 0
        self._stream: Stream = begin()
        self._marks = [_Mark(0, b"", 0, None)]

    def read(self, size: int = -1) -> bytes:
        """As any file's."""
        parts = []
        n_wanted = sys.maxsize if size < 0 else size
        while n_wanted:
            if self._at < self._start:
                self._step_back()
            elif self._at < self._end:
                first = self._at - self._start
                parts.append(self._block[first : first + n_wanted])
                self._at += len(parts[-1])
                n_wanted -= len(parts[-1])
            elif not self._inflate():
                break
        return b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As any file's, but for its end: nobody knows it."""
        if whence == os.SEEK_END:
            raise OSError("the end of a compressed file is not known before it is read")
        self._at = max(0, offset + (self._at if whence == os.SEEK_CUR else 0))
        return self._at

    def tell(self) -> int:
        """As any file's."""
        return self._at

    def mark(self, at: int) -> None:
        """Say that nothing before this place will be asked for again."""
        twin = None if self._stream.eof else self._stream.copied()
        if twin is not None and self._start <= at:
            self._marks = [_Mark(self._start, self._block, self._offset, twin)]
        else:
            self._marks = [mark for mark in self._marks if mark.start <= at][-1:]

    @property
    def _end(self) -> int:
        return self._start + len(self._block)

    def _step_back(self) -> None:
        self._marks = [mark for mark in self._marks if mark.start <= self._at]
        mark = self._marks[-1]
        twin = None if mark.stream is None else mark.stream.copied()
        self._start, self._block, self._offset = mark.start, mark.block, mark.offset
        self._stream = self._begin() if twin is None else twin

    def _inflate(self) -> bool:
        """Put the next block in the place of this one; False at the end."""
        try:
            while True:
                data = b""
                if self._stream.eof:
                    data = self._behind()
                    if not data:
                        return False
                    self._stream = self._begin()
                    if self._end - self._marks[-1].start >= BLOCK_BYTES:
                        self._marks.append(_Mark(self._end, b"", self._offset - len(data), None))
                elif self._stream.needs_input:
                    data = self._stored()
                content = self._stream.decompress(data, BLOCK_BYTES)
                if content:
                    break
                if not data and self._stream.needs_input and not self._stream.eof:
                    raise ShardError(f"ends in the middle of its compression, after {self._end:,} bytes of content")
        except ERRORS as error:
            raise ShardError(f"its compression is broken after {self._end:,} bytes of content: {error}") from error
        kept = self._block[-KEPT_BYTES:]
        self._start, self._block = self._end - len(kept), kept + content
        if exceeds_ratio(self._end, self._offset):
            raise ShardError(f"{self._end:,} bytes from {self._offset:,}: more than {MAX_RATIO} from one is a bomb")
        return True

    def _behind(self) -> bytes:
        """What follows a stream: the next one, where it is not the end; zeros between them are padding."""
        data = self._stream.unused_data.lstrip(b"\0")
        while not data and (stored := self._stored()):
            data = stored.lstrip(b"\0")
        return data

    def _stored(self) -> bytes:
        self._file.seek(self._offset)
        data = self._file.read(READ_BYTES)
        self._offset += len(data)
        return data
