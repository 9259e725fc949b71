"""MP4, Matroska, ASF and AVI: where their outermost boxes end, and the containers whose next magic ends them.

Each function returns the offset of the end that the boxes state, which is beyond the file if that was cut.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

from detector.layout.spliced import read_at
from detector.layout.tags import blocks

BOXES = 100_000
UNKNOWN_BYTES = 0xFFFF_FFFF  # of an AVI that was written to a pipe
INITIAL_BLOCK = 1 << 11  # of several that hold the channels of one moment
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_FLAGS = 88  # offset within the object of properties
MP4_TYPES = frozenset(
    b"ftyp moov mdat free skip wide uuid moof mfra sidx styp pnot meta udta PICT emsg prft ssix pdin".split()
)


def mp4(file: BinaryIO, start: int, size: int) -> int:
    """Return where the boxes of an MP4 or QuickTime file end: before a second `ftyp`, or bytes that are no box."""
    at = start
    for number in range(BOXES):
        header = read_at(file, at, 16, size)
        if len(header) < 8 or header[4:8] not in MP4_TYPES or (number and header[4:8] == b"ftyp"):
            return at
        n_bytes = int.from_bytes(header[:4], "big")
        if n_bytes == 1:
            n_bytes = int.from_bytes(header[8:16], "big")
        if n_bytes < 8:  # 0: to the end of the file
            return size
        at += n_bytes
    return at


def matroska(file: BinaryIO, start: int, size: int) -> int:
    """Return where a Matroska or WebM file ends: behind its segment, or before the next header if that is not sized."""
    file.seek(start)
    header = file.read(64 << 10)
    at = 4
    n_bytes, length = _ebml_size(header, at)
    at += length + (n_bytes or 0)
    if header[at : at + 4] == SEGMENT:
        n_bytes, length = _ebml_size(header, at + 4)
        if n_bytes is not None:
            return start + at + 4 + length + n_bytes
    return next_magic(file, start, size, EBML)


def _ebml_size(content: bytes, at: int) -> tuple[int | None, int]:
    """Parse an element's size (RFC 8794, section 4); None for an unknown one. Return it with its own length."""
    if at >= len(content) or not content[at]:
        return None, 1
    length = 9 - content[at].bit_length()
    value = int.from_bytes(content[at : at + length], "big") & (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), length


def asf(file: BinaryIO, start: int, size: int) -> int:
    """Return where the objects of an ASF file (WMA) end: before a second header, or bytes that are no object."""
    at = start
    for number in range(BOXES):
        header = read_at(file, at, 24, size)
        if len(header) < 24 or (number and header[:16] == ASF_HEADER):
            return at
        n_bytes = int.from_bytes(header[16:24], "little")
        if n_bytes < 24:
            return size if number < 2 else at
        at += n_bytes
    return at


def is_live(file: BinaryIO, start: int) -> bool:
    """Return True if an ASF file says that it was broadcast, so that the length in its header means nothing."""
    file.seek(start)
    header = file.read(64 << 10)
    at = header.find(ASF_PROPERTIES)
    return at >= 0 and len(header) > at + ASF_FLAGS and bool(header[at + ASF_FLAGS] & 1)


def avi(file: BinaryIO, start: int, size: int) -> int:
    """Return where an AVI file ends, with the parts (`AVIX`) that continue it."""
    at = start
    for number in range(BOXES):
        header = read_at(file, at, 12, size)
        if len(header) < 12 or header[:4] != b"RIFF" or (number and header[8:] != b"AVIX"):
            return at
        (n_bytes,) = struct.unpack_from("<I", header, 4)
        if n_bytes == UNKNOWN_BYTES:
            return size
        at += 8 + n_bytes + n_bytes % 2
    return at


def wavpack(file: BinaryIO, start: int, size: int) -> int:
    """Return where the blocks of a WavPack file end: before one that begins with sample 0 again."""
    at = start
    while (header := read_at(file, at, 32, size))[:4] == b"wvpk" and len(header) == 32:
        n_bytes, index, flags = struct.unpack("<4xI8xI4xI4x", header)
        if at > start and index == 0 and flags & INITIAL_BLOCK:
            break
        at += 8 + n_bytes
    return at


def next_magic(file: BinaryIO, start: int, size: int, magic: bytes) -> int:
    """Return the offset at which ``magic`` occurs again after ``start``, or ``size``."""
    for at, block in blocks(file, start + len(magic), size, len(magic) - 1):
        found = block.find(magic)
        if found >= 0:
            return int(at + found)
    return size


def until(magic: bytes) -> Callable[[BinaryIO, int, int], int]:
    """Return a function that finds where the next ``magic`` begins."""
    return lambda file, start, size: next_magic(file, start, size, magic)
