"""Tags around a recording, and what stands behind it: padding, another recording, or bytes of no known kind.

Tags before: ID3v2. Tags behind: ID3v1 with its extension, APEv2, Lyrics3v2; zeros are padding.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from detector.layout.frames import MAX_FRAME_BYTES, is_chain
from detector.layout.spliced import read_at

HEAD_BYTES = 66  # includes the format tag of a W64 file
LEADING_TAGS = 8  # consecutive ID3v2 tags
TRAILING_TAGS = 8
SCAN_BYTES = 1 << 20
OVERLAP_BYTES = 4 * MAX_FRAME_BYTES  # of two scanned blocks: a chain of frames fits
CHAIN_FRAMES = 4  # in a row that are no accident
TEXT_SHARE = 0.9  # of printable bytes
PACKED_BITS = 7.9  # entropy of a byte; the highest byte of speech has below 6
ID3_BYTES, ID3V1_BYTES, ID3V1_PLUS_BYTES, APE_BYTES, LYRICS_TAIL_BYTES = 10, 128, 227, 32, 15
APE_HEADER = 1 << 29  # flag: this is a header, not a footer
LYRICS_BYTES, MAX_ID3_BYTES = 1 << 20, 1 << 22
LYRICS = re.compile(b"LYRICSBEGIN")
APE_OPENING = re.compile(rb"APETAGEX|.{4}[\0-\x07]\0\0\0[\x20-\x7e]{2,}|.{8}[\x20-\x7e]{2,}\0", re.DOTALL)
"""How a tag begins whose end says where: with its header, or with an item: its size, its flags and its name."""

MAGICS: tuple[tuple[bytes, int, re.Pattern[bytes]], ...] = tuple(
    (anchor, before, re.compile(pattern, re.DOTALL))
    for anchor, before, pattern in (
        (b"WAVE", 8, rb"(?:RIFF|RIFX|RF64|BW64)....WAVE"),
        (b"AVI ", 8, rb"RIFF....AVI "),
        (b"QLCM", 8, rb"RIFF....QLCM"),
        (b"riff\x2e\x91\xcf\x11", 0, rb"riff\x2e\x91\xcf\x11"),
        (b"fLaC\0\0\0\x22", 0, rb"fLaC\0\0\0\x22"),
        (b"OggS\0", 0, rb"OggS\0[\x02\x06]"),
        (b"FORM", 0, rb"FORM....AIF[FC]"),
        (b"caff\0\x01", 0, rb"caff\0\x01"),
        (b".snd\0\0", 0, rb"\.snd\0\0.{6}\0\0\0[\x01-\x1f]"),
        (b"NIST_1A\n", 0, rb"NIST_1A\n"),
        (b"#!AMR", 0, rb"#!AMR(?:-WB)?(?:_MC1\.0)?\n"),
        (b"FLV\x01", 0, rb"FLV\x01[\0-\x05]\0\0\0"),
        (b"TTA1", 0, rb"TTA1[\x01-\x03]\0"),
        (b"wvpk", 0, rb"wvpk....[\x02-\x10]\x04"),
        (b"\x1a\x45\xdf\xa3", 0, rb"\x1a\x45\xdf\xa3.{1,8}?(?:\x42[\x82\x85-\x87\xf2\xf3\xf7]|\xec|\xbf)"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
        (b"ftyp", 4, rb"\0\0..ftyp[\x20-\x7e]{4}"),
        (b"\0\0\x01\xba", 0, rb"\0\0\x01\xba(?:[\x44-\x7f].{9}|[\x21-\x2f].{7})\0\0\x01"),
    )
)
"""Containers that a recording may be joined from: bytes that are rare, their offset in the magic, and the whole magic.
Streams are found by their chains of frames."""

PACKET, PACKET_BYTES = 0x47, 188
PACKETS = re.compile(rb"(?:G..[\x10-\x3f\x50-\x7f\x90-\xbf\xd0-\xff].{184}){5}G", re.DOTALL)
"""Six packets of a transport stream."""

SYNC = re.compile(rb"\xff(?:[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]|[\xf0\xf1\xf8\xf9])|\x0b\x77")


def after_id3(file: BinaryIO, start: int, size: int) -> tuple[int, bytes]:
    """Return the offset of the first byte after ID3v2 tags at ``start``, and the bytes there."""
    for _ in range(LEADING_TAGS):
        file.seek(start)
        head = file.read(HEAD_BYTES)
        n_bytes = _id3_bytes(head)
        if not n_bytes:
            return start, head
        start += n_bytes
        if start >= size:
            break
    return start, b""


def _id3_bytes(head: bytes) -> int:
    """Size of the ID3v2 tag that bytes begin with; 0 if they are none, as where bits are set that no tag has."""
    if head[:3] != b"ID3" or len(head) < ID3_BYTES or 0xFF in head[3:5] or any(byte & 0x80 for byte in head[6:10]):
        return 0
    footer = ID3_BYTES if head[5] & 0x10 else 0  # bit 4 of the flags announces it
    return ID3_BYTES + synchsafe(head[6:10]) + footer


def synchsafe(size: bytes) -> int:
    """Return a number of ID3v2, which has seven bits in each of four bytes.

    Examples
    --------
    >>> synchsafe(bytes([0, 0, 1, 72]))
    200
    """
    return sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=False))


def after_tags(file: BinaryIO, start: int, size: int) -> int:
    """Return the offset of the first byte after tags of any kind at ``start``, or ``size`` if they are cut."""
    for _ in range(LEADING_TAGS):
        n_bytes = _leading_tag(file, start, size)
        if not n_bytes or start >= size:
            break
        start = min(size, start + n_bytes)
    return start


def _leading_tag(file: BinaryIO, start: int, size: int) -> int:
    """Size of the tag that begins at ``start``, or 0."""
    head = read_at(file, start, APE_BYTES, size)
    if (n_bytes := _id3_bytes(head)) > 0:
        return n_bytes
    if head[:4] == b"TAG+":
        return ID3V1_PLUS_BYTES
    if head[:3] == b"TAG":
        return ID3V1_BYTES
    if head[:8] == b"APETAGEX" and len(head) == APE_BYTES:
        n_items, flags = struct.unpack_from("<I4xI", head, 12)
        return int(n_items) + (APE_BYTES if flags & APE_HEADER else 0)
    if head[:11] == b"LYRICSBEGIN":
        lyrics = read_at(file, start, LYRICS_BYTES, size)
        return lyrics.find(b"LYRICS200") + 9 if b"LYRICS200" in lyrics else 0
    return 0


def foreign_bytes(file: BinaryIO, start: int, size: int, earliest: int | None = None) -> int:
    """Count the bytes of ``file[start:size]`` that are neither tags nor padding around them.

    The last tag may begin before ``start``, from ``earliest`` on, where the end of the sound is not known exactly.

    Examples
    --------
    >>> import io
    >>> content = b"TAG".ljust(128, b"\\0") + bytes(500) + b"not known" + bytes(90)
    >>> foreign_bytes(io.BytesIO(content), 0, len(content))
    9
    """
    if start >= size:
        return 0
    start = after_tags(file, start, size)
    earliest = start if earliest is None else earliest
    end = _before_id3(file, earliest, before_tags(file, earliest, size))
    first, end = _without_zeros(file, start, end)
    return max(0, end - first)


def _before_id3(file: BinaryIO, start: int, size: int) -> int:
    """Return where the ID3v2 tag begins that ends at ``size``, as that of the next recording does, or ``size``."""
    for at, block in blocks(file, max(start, size - MAX_ID3_BYTES), size, 2):
        for tag in re.finditer(b"ID3", block):
            if after_id3(file, at + tag.start(), size)[0] == size:
                return at + tag.start()
    return size


def _without_zeros(file: BinaryIO, start: int, size: int) -> tuple[int, int]:
    """Return the offsets of the first byte that is not 0, and behind the last one."""
    first, end = size, size
    for at, block in blocks(file, start, size):
        if block.strip(b"\0"):
            first = min(first, at + len(block) - len(block.lstrip(b"\0")))
            end = at + len(block.rstrip(b"\0"))
    return first, end


def before_tags(file: BinaryIO, start: int, size: int) -> int:
    """Return the offset at which the tags at the end of ``file[start:size]`` begin, or ``size``."""
    end = size
    for _ in range(TRAILING_TAGS):
        n_bytes = _trailing_tag(file, start, end)
        if not n_bytes:
            break
        end -= n_bytes
    return end


def _trailing_tag(file: BinaryIO, start: int, end: int) -> int:
    """Size of the tag that ends at ``end``, or 0."""
    first = max(start, end - ID3V1_BYTES - ID3V1_PLUS_BYTES)
    file.seek(first)
    tail = file.read(end - first)
    if tail[-ID3V1_BYTES:][:3] == b"TAG" and len(tail) >= ID3V1_BYTES:
        has_plus = tail[:-ID3V1_BYTES][-ID3V1_PLUS_BYTES:][:4] == b"TAG+"
        return ID3V1_BYTES + (ID3V1_PLUS_BYTES if has_plus else 0)
    n_bytes, opening = 0, LYRICS
    if tail[-APE_BYTES:][:8] == b"APETAGEX":
        n_items, flags = struct.unpack_from("<I4xI", tail[-APE_BYTES:], 12)
        n_bytes = n_items + (APE_BYTES if flags >> 31 else 0)  # the footer is counted, the header is not
        opening = APE_OPENING
    elif tail[-9:] == b"LYRICS200" and tail[-LYRICS_TAIL_BYTES:-9].isdigit():
        n_bytes = LYRICS_TAIL_BYTES + int(tail[-LYRICS_TAIL_BYTES:-9])
    is_tag = 0 < n_bytes <= end - start and opening.match(read_at(file, end - n_bytes, APE_BYTES, end))
    return n_bytes if is_tag else 0  # a size alone may cover sound


def find_recording(file: BinaryIO, start: int, size: int, before: int | None = None) -> int | None:
    """Return the offset from ``start`` on, and below ``before``, at which a recording begins, or None."""
    before = size if before is None else before
    for at, block in blocks(file, start, min(size, before + OVERLAP_BYTES), OVERLAP_BYTES):
        end = min(len(block), before - at)
        magic = _find_magic(block, end)
        chain = _find_chain(block, magic)
        if chain is not None or magic < end:
            return at + (magic if chain is None else chain)
    return None


def is_magic(file: BinaryIO, offset: int, size: int) -> bool:
    """Return True if a recording begins at ``offset``, and not a chunk whose name happens to look like one."""
    return begins(read_at(file, offset, HEAD_BYTES, size))


def begins(head: bytes) -> bool:
    """Return True for the first bytes of a container."""
    return any(pattern.match(head) for _, _, pattern in MAGICS)


def _find_magic(block: bytes, end: int) -> int:
    """Offset of the first container in ``block[:end]``, or ``end``."""
    end = _find_packets(block, end)
    for anchor, before, pattern in MAGICS:
        at = block.find(anchor, before, end + before + len(anchor))
        while 0 <= at - before < end:
            if pattern.match(block, at - before):
                end = at - before
            at = block.find(anchor, at + 1, end + before + len(anchor))
    return end


def _find_packets(block: bytes, end: int) -> int:
    """Offset of the first packets of a transport stream in ``block[:end]``, or ``end``."""
    span = 5 * PACKET_BYTES
    syncs = np.frombuffer(block[: end + span], np.uint8) == PACKET
    both = np.flatnonzero(syncs[:-span] & syncs[span:]).tolist() if len(syncs) > span else []
    return next((at for at in both if PACKETS.match(block, at)), end)


def _find_chain(block: bytes, end: int) -> int | None:
    for sync in SYNC.finditer(block, 0, end):
        if is_chain(block, sync.start(), CHAIN_FRAMES):
            return sync.start()
    return None


def is_printable(name: bytes) -> bool:
    """Return True for a name of ASCII, as chunks have it."""
    return all(0x20 <= byte < 0x7F for byte in name)


def is_zero(file: BinaryIO, start: int, size: int) -> bool:
    """Return True if ``file[start:size]`` is padding."""
    return not any(block.strip(b"\0") for _, block in blocks(file, start, size))


def is_text_or_packed(file: BinaryIO, start: int, size: int, sample_bytes: int) -> bool:
    """Return True if ``file[start:size]`` is text, or compressed or encrypted, and not samples; its beginning tells.

    Bytes of text are printable. Bytes of packed data are equally frequent, while the highest bytes of samples are not.

    Examples
    --------
    >>> import io
    >>> text, samples = b"appended by mistake " * 99, struct.pack("<999h", *range(-999, 999, 2))
    >>> [is_text_or_packed(io.BytesIO(each), 0, len(each), sample_bytes=2) for each in (text, samples)]
    [True, False]
    """
    content = np.frombuffer(read_at(file, start, SCAN_BYTES, size).strip(b"\0"), np.uint8)
    n_printable = np.count_nonzero((content >= 0x20) & (content < 0x7F))
    entropy = min(_entropy(content[position::sample_bytes]) for position in range(sample_bytes))
    return bool(n_printable > TEXT_SHARE * len(content) or entropy > PACKED_BITS)


def _entropy(content: npt.NDArray[np.uint8]) -> float:
    """Entropy of bytes, in bits, with the correction of Miller and Madow for few of them."""
    counts = np.bincount(content)
    shares = counts[counts > 0] / max(1, len(content))
    return float(-(shares * np.log2(shares)).sum() + (len(shares) - 1) / (2 * max(1, len(content)) * math.log(2)))


def blocks(file: BinaryIO, start: int, size: int, overlap: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of consecutive blocks of ``file[start:size]``; each begins with the last's end."""
    tail = b""
    while start < size:
        file.seek(start)
        block = file.read(min(SCAN_BYTES, size - start))
        if not block:
            return
        yield start - len(tail), tail + block
        start += len(block)
        tail = (tail + block)[-overlap:] if overlap else b""
