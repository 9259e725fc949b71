"""Decompressed files: the content of a compressed stream, read front to back in bounded memory."""

from __future__ import annotations

import sys
import zlib
from typing import NamedTuple

from detector.errors import ShardError
from jobs.inputs.containers.member import MAX_PASSES, wild
from jobs.inputs.containers.window import Readable
from jobs.inputs.expansion import FREE_BYTES, bomb, exceeds_ratio
from jobs.storage import ReadOnlyFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["DecompressedFile", "Gzip", "Zstd", "zstd"]

READ_BYTES = 64 << 10
BLOCK_BYTES = 1 << 20
KEPT_BYTES = 64 << 10  # of the previous block: tarfile steps back by a header or two
MAX_FILE_PASSES = 500  # for all members: Zstandard restarts at its frame's first byte, and a tar may be a single frame
WINDOW_LOG = 27  # 128 MiB: the default limit of the zstd command
MAX_PADDING = 1 << 30  # zeros between two streams: a hole that costs its uploader nothing may have terabytes
FREE_STREAMS, STREAM_BYTES = 10_000, 4 << 10
"""Streams that a file of any size may consist of, and bytes, stored or not, for each further one."""

ERRORS = (zlib.error, zstd.ZstdError)


class Gzip:
    """A member of a gzip file (RFC 1952)."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        """True after the last byte of the stream."""
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        """Input bytes after the end of the stream."""
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:
        """True if all input so far is decompressed."""
        return not self._zlib.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return the next bytes of content, at most ``max_length``."""
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)

    def copied(self) -> Gzip:
        """Return an independent copy that continues at the same byte."""
        copy = Gzip()
        copy._zlib = self._zlib.copy()
        return copy


class Zstd:
    """A frame of a Zstandard file (RFC 8878)."""

    def __init__(self) -> None:
        self._zstd = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})

    @property
    def eof(self) -> bool:
        """True after the last byte of the stream."""
        return self._zstd.eof

    @property
    def unused_data(self) -> bytes:
        """Input bytes after the end of the stream."""
        return self._zstd.unused_data

    @property
    def needs_input(self) -> bool:
        """True if all input so far is decompressed."""
        return self._zstd.needs_input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return the next bytes of content, at most ``max_length``."""
        return self._zstd.decompress(data, max_length)

    def copied(self) -> None:
        """Return None: libzstd cannot copy a decompressor."""


Stream = Gzip | Zstd


class _RestartPoint(NamedTuple):
    """A place where decompression can start again: content offset and block, file offset, and decompressor.

    The decompressor is None at a stream's first byte, where a new one begins.
    """

    start: int
    block: bytes
    offset: int
    stream: Stream | None


class DecompressedFile(ReadOnlyFile):
    """The content of a compressed file; consecutive streams are read as one.

    Reading forward costs nothing but decompression. A step back restarts at the last restart point if the decompressor
    can be copied, else at the first byte of the stream. A file that expands far beyond what recordings do is refused,
    and so are a member that is read in a wild order, and the members after it once all of them have cost far too much.

    Parameters
    ----------
    file : file
    begin : callable
        Makes the :class:`Stream`.

    Examples
    --------
    >>> import gzip, io
    >>> file = DecompressedFile(io.BytesIO(gzip.compress(b"0123") + gzip.compress(b"4567")), Gzip)
    >>> file.seek(3), file.read(2), file.seek(0), file.read(1)
    (3, b'34', 0, b'0')
    """

    def __init__(self, file: Readable, begin: type[Gzip] | type[Zstd]) -> None:
        super().__init__()
        self._file = file
        self._begin = begin
        self._start = 0
        self._block = b""
        self._offset = 0
        self._stream: Stream = begin()
        self._restart_points = [_RestartPoint(0, b"", 0, None)]
        self._furthest = 0
        self._n_streams = 0
        self._n_again = self._n_again_in_member = 0

    def _read_at(self, offset: int, size: int) -> bytes:
        parts = []
        stop = sys.maxsize if size < 0 else offset + size
        while offset < stop:
            if offset < self._start:
                self._step_back(offset)
            elif offset < self._end:
                parts.append(self._block[offset - self._start : stop - self._start])
                offset += len(parts[-1])
            elif not self._load_block():
                break
        return b"".join(parts)

    def forget_before(self, offset: int) -> None:
        """Promise not to seek before this offset, where a member begins: restart points before it can be dropped."""
        self._n_again_in_member = 0
        copy = None if self._stream.eof else self._stream.copied()
        if copy is not None and self._start <= offset:
            self._restart_points = [_RestartPoint(self._start, self._block, self._offset, copy)]
        else:
            self._restart_points = [point for point in self._restart_points if point.start <= offset][-1:]

    @property
    def _end(self) -> int:
        return self._start + len(self._block)

    def _step_back(self, offset: int) -> None:
        self._restart_points = [point for point in self._restart_points if point.start <= offset]
        point = self._restart_points[-1]
        self._check_costs(self._furthest - point.start)
        copy = None if point.stream is None else point.stream.copied()
        self._start, self._block, self._offset = point.start, point.block, point.offset
        self._stream = self._begin() if copy is None else copy

    def _check_costs(self, n_once: int) -> None:
        """Refuse a step back if too much was decompressed again; once, from the restart point, it was ``n_once``.

        Whoever reads on, to the next member, is never refused.
        """
        if self._n_again_in_member > FREE_BYTES + MAX_PASSES * n_once:
            raise wild(self._n_again_in_member)
        if self._n_again > FREE_BYTES + MAX_FILE_PASSES * self._furthest:
            raise wild(self._n_again)

    def _load_block(self) -> bool:
        """Replace the current block by the next one; return False at the end."""
        try:
            while True:
                data = b""
                if self._stream.eof:
                    data = self._next_stream()
                    if not data:
                        return False
                    self._begin_stream()
                    if self._end - self._restart_points[-1].start >= BLOCK_BYTES:
                        self._restart_points.append(_RestartPoint(self._end, b"", self._offset - len(data), None))
                elif self._stream.needs_input:
                    data = self._read_stored()
                content = self._stream.decompress(data, BLOCK_BYTES)
                if content:
                    break
                if not data and self._stream.needs_input and not self._stream.eof:
                    raise ShardError(f"the stream breaks off after {self._end:,} bytes of content")
        except ERRORS as error:
            raise ShardError(f"the stream is broken after {self._end:,} bytes of content: {error}") from error
        kept = self._block[-KEPT_BYTES:]
        self._start, self._block = self._end - len(kept), kept + content
        if self._end > self._furthest:
            self._furthest = self._end
        else:
            self._n_again += len(content)
            self._n_again_in_member += len(content)
        if exceeds_ratio(self._end, self._offset):
            raise ShardError(bomb(self._end, self._offset))
        return True

    def _begin_stream(self) -> None:
        """Begin the next stream; each takes time even if it holds nothing."""
        self._n_streams += self._end >= self._furthest
        if self._n_streams > FREE_STREAMS + max(self._offset, self._end) // STREAM_BYTES:
            raise ShardError(f"{self._n_streams:,} compressed streams in {self._offset:,} bytes; write it as one")
        self._stream = self._begin()

    def _next_stream(self) -> bytes:
        """Return the first bytes of the next stream, or nothing at the end; zeros between streams are padding."""
        data = self._stream.unused_data.lstrip(b"\0")
        start = self._offset
        while not data and (more := self._read_stored()):
            data = more.lstrip(b"\0")
            if self._offset - start > MAX_PADDING:
                raise ShardError(f"byte {start:,}: zeros follow, and are read no further than {MAX_PADDING:,} bytes")
        return data

    def _read_stored(self) -> bytes:
        self._file.seek(self._offset)
        data = self._file.read(READ_BYTES)
        self._offset += len(data)
        return data
