"""MP4 and ASF: where their outermost boxes end, and where the next recording begins behind them.

Players pass over boxes that they do not know, so that these end nothing.
"""

from __future__ import annotations

from typing import BinaryIO

from detector.layout import movie, tags
from detector.layout.extent import Extent, next_recording
from detector.layout.spliced import read_at

ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
ASF_DATA_HEADER_BYTES = 50
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_FLAGS = 88  # offset within the object of properties
MP4_TYPES = frozenset(
    b"ftyp moov mdat free skip wide uuid moof mfra sidx styp pnot meta udta PICT emsg prft ssix pdin".split()
)
MAGIC_SIZE, PACK_SIZE = 1 << 27, 0x1BA
"""The first four bytes of a recording, read as a size: at least the one, or, of a program stream, the other."""


def mp4(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where the boxes of an MP4 or QuickTime file end: before a second `ftyp`, or what is no box.

    Raises
    ------
    UtteranceError
        `bad_header` if players read its tables differently.

    Examples
    --------
    >>> import io
    >>> content = b"\\0\\0\\0\\x08ftyp" + b"\\0\\0\\0\\x0cnew?what" + b"\\0\\0\\0\\x08moov" + b"no box"
    >>> mp4(io.BytesIO(content), 0, len(content))
    Extent(end=28, reach=34, n_passed=0, runs=(), is_cut=False)
    """
    found = _mp4(file, start, size)
    movie.movie(file, start, min(found.end, size))
    return found


def _mp4(file: BinaryIO, start: int, size: int) -> Extent:
    at, moov, is_begun = start, b"", False
    while len(header := read_at(file, at, 16, size)) >= 8:
        n_bytes, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if n_bytes == 1:
            n_bytes = int.from_bytes(header[8:16], "big")
        if kind in (b"moov", b"hoov"):
            content = read_at(file, at, min(n_bytes, movie.MOOV_BYTES), size)
            if moov and (content != moov or n_bytes > movie.MOOV_BYTES):
                raise movie.unclear("a second `moov`")
            moov = content
        elif kind == b"ftyp" and is_begun:
            return Extent(at, at)
        is_begun |= kind in (b"ftyp", b"moov", b"hoov", b"moof")
        if n_bytes == 0 and kind == b"mdat":  # to the end of the file
            return Extent(size, size)
        if n_bytes < 8 or (kind not in MP4_TYPES and not _is_box(file, at, n_bytes, size)):
            break
        at += n_bytes
    return Extent(at, next_recording(file, at, size))


def _is_box(file: BinaryIO, at: int, n_bytes: int, size: int) -> bool:
    """Return True for a box of unknown type that fits into the file, and is not the beginning of a recording."""
    may_be_magic = n_bytes >= MAGIC_SIZE or n_bytes == PACK_SIZE
    return at + n_bytes <= size and not (may_be_magic and tags.is_magic(file, at, size))


def asf(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where the objects of an ASF file (WMA) end: before a second header, or bytes that are no object."""
    at = start
    while len(header := read_at(file, at, 24, size)) == 24 and (at == start or header[:16] != ASF_HEADER):
        n_bytes = int.from_bytes(header[16:24], "little")
        if header[:16] == ASF_DATA and n_bytes <= ASF_DATA_HEADER_BYTES:  # not known yet when it was written
            end = next_recording(file, at + ASF_DATA_HEADER_BYTES, size)
            return Extent(end, end)
        if n_bytes < 24 or (at + n_bytes > size and header[:16] not in (ASF_HEADER, ASF_DATA)):
            break
        at += n_bytes
    return Extent(at)


def is_live(file: BinaryIO, start: int) -> bool:
    """Return True if an ASF file says that it was broadcast, so that the length in its header means nothing."""
    file.seek(start)
    header = file.read(64 << 10)
    at = header.find(ASF_PROPERTIES)
    return at >= 0 and len(header) > at + ASF_FLAGS and bool(header[at + ASF_FLAGS] & 1)


def next_magic(file: BinaryIO, start: int, size: int, magic: bytes) -> int:
    """Return the offset at which ``magic`` occurs again after ``start``, or ``size``."""
    for at, block in tags.blocks(file, start + len(magic), size, len(magic) - 1):
        found = block.find(magic)
        if found >= 0:
            return int(at + found)
    return size
