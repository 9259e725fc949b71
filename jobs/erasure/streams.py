"""Compressed streams: gzip, bzip2, xz, zstd and LZ4, one or several, and whatever their headers may hold beside them.

References: RFC 1952 (gzip), RFC 8878 (Zstandard), LZ4 Frame Format 1.6.4.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from detector.errors import SchemaError
from jobs.erasure.parts import Budget, Kind, Part

GZIP = b"\x1f\x8b"
DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    GZIP: lambda: zlib.decompressobj(wbits=31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lzma.LZMADecompressor,
}
ZSTD, LZ4 = b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"
FRAMES = {ZSTD: "zstd", LZ4: "lz4"}
SKIPPED = b"\x2a\x4d\x18"
"""A frame of zstd or LZ4 that no reader shows begins with these, after a byte from 0x50 to 0x5f."""

PADDING = re.compile(b"\0*")
FED_BYTES = 1 << 16
GZIP_HEADER = 10
HAS_CHECKSUM, HAS_EXTRA, HAS_NAME, HAS_COMMENT = 2, 4, 8, 16
MAX_EXTRA = 64  # bytes: that of an indexed gzip has 6, and no archive fits in


def stream_parts(content: bytes, budget: Budget) -> Iterator[Part] | None:
    """Take a compressed file apart: its headers, and what its streams hold together; None if it is none.

    Raises
    ------
    SchemaError
        If anything else follows the streams, or a limit is passed.
    """
    for magic, decompressor in DECOMPRESSORS.items():
        if content.startswith(magic):
            return _of_streams(content, magic, decompressor, budget)
    return _of_frames(content, budget) if content.startswith(tuple(FRAMES)) else None


def inflate(content: bytes, budget: Budget) -> bytes:
    """Decompress raw deflate that is one stream, and nothing else but the rest of a checksum.

    Writers that cut zlib's header and checksum off, such as pyiceberg's of Avro, leave three bytes of the latter.
    """
    stream = zlib.decompressobj(wbits=-15)
    inflated = stream.decompress(content, budget.bytes_left + 1)
    budget.spend(len(inflated))
    checksum = zlib.adler32(inflated).to_bytes(4, "big")
    if not stream.eof or stream.unused_data not in (b"", checksum[:3]):
        raise SchemaError("holds a compressed stream that does not end where it should")
    return inflated


def _of_streams(content: bytes, magic: bytes, decompressor: Callable[[], Any], budget: Budget) -> Iterator[Part]:
    parts, place = [], 0
    while place < len(content):
        if not content.startswith(magic, place):
            raise SchemaError(f"has {len(content) - place:,} bytes behind its last compressed stream")
        budget.count_stream()
        if magic == GZIP and (header := _gzip_header(content, place)):
            yield Part("", header, Kind.HEADER)
        stream = decompressor()
        while not stream.eof:
            if place >= len(content):
                raise EOFError("ends within a compressed stream")
            fed = content[place : place + FED_BYTES]
            part = stream.decompress(fed, budget.bytes_left + 1)
            budget.spend(len(part))
            parts.append(part)
            place += len(fed)
        place = _after_padding(content, place - len(stream.unused_data))
    yield Part("", b"".join(parts))


def _after_padding(content: bytes, place: int) -> int:
    found = PADDING.match(content, place)
    return place if found is None else found.end()


def _gzip_header(content: bytes, start: int) -> bytes:
    """Return what the header of a stream of gzip has of variable length, such as the name of the file."""
    flags = content[start + 3] if len(content) > start + 3 else 0
    place = start + GZIP_HEADER
    if flags & HAS_EXTRA:
        n_bytes = int.from_bytes(content[place : place + 2], "little")
        if n_bytes > MAX_EXTRA:
            raise SchemaError(f"has {n_bytes:,} bytes of its own kind in its header")
        place += 2 + n_bytes
    texts_end = place
    for flag in (HAS_NAME, HAS_COMMENT):
        if flags & flag:
            texts_end = content.index(b"\0", texts_end) + 1
    return content[start + GZIP_HEADER : texts_end]


def _of_frames(content: bytes, budget: Budget) -> Iterator[Part]:
    parts, place = [], 0
    while place < len(content):
        magic = content[place : place + 4]
        budget.count_stream()
        if magic[1:] == SKIPPED and 0x50 <= magic[0] <= 0x5F:
            end = place + 8 + int.from_bytes(content[place + 4 : place + 8], "little")
            yield Part("", content[place + 8 : end])
        elif magic in FRAMES:
            end = (_zstd_end if magic == ZSTD else _lz4_end)(content, place)
            reader = pa.CompressedInputStream(pa.BufferReader(content[place:end]), FRAMES[magic])
            part = bytes(reader.read(budget.bytes_left + 1))
            budget.spend(len(part))
            parts.append(part)
        else:
            raise SchemaError(f"has {len(content) - place:,} bytes behind its last compressed stream")
        if end > len(content):
            raise EOFError("ends within a compressed stream")
        place = end
    yield Part("", b"".join(parts))


def _zstd_end(content: bytes, start: int) -> int:
    """Return where a frame of zstd ends: its blocks say how long they are."""
    descriptor = _number(content, start + 4, 1)
    is_single, has_checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    size_bytes = (is_single, 2, 4, 8)[descriptor >> 6]
    place = start + 5 + (1 - is_single) + (0, 1, 2, 4)[descriptor & 3] + size_bytes
    is_last = False
    while not is_last:
        block = _number(content, place, 3)
        is_last, is_run = bool(block & 1), block >> 1 & 3 == 1
        place += 3 + (1 if is_run else block >> 3)
    return place + 4 * has_checksum


def _lz4_end(content: bytes, start: int) -> int:
    """Return where a frame of LZ4 ends."""
    flags = _number(content, start + 4, 1)
    place = start + 7 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)
    while size := _number(content, place, 4) & 0x7FFF_FFFF:
        place += 4 + size + 4 * (flags >> 4 & 1)
    return place + 4 + 4 * (flags >> 2 & 1)


def _number(content: bytes, place: int, n_bytes: int) -> int:
    if place + n_bytes > len(content):
        raise EOFError("ends within a compressed stream")
    return int.from_bytes(content[place : place + n_bytes], "little")
