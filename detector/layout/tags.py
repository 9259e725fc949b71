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

MAGIC = re.compile(
    rb"RIFF....(?:WAVE|AVI )|RIFX....WAVE|(?:RF64|BW64)....WAVE|riff\x2e\x91\xcf\x11|fLaC\x00\x00\x00\x22"
    rb"|OggS\x00[\x02\x06]|FORM....AIF[FC]|caff\x00\x01|\.snd\x00\x00..|NIST_1A\n|#!AMR|FLV\x01|TTA1\x01|wvpk"
    rb"|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75\x8e\x66\xcf\x11|....ftyp[\x20-\x7e]{4}"
    rb"|(?:G..[\x10-\x3f\x50-\x7f\x90-\xbf\xd0-\xff].{184}){5}G",  # six packets of a transport stream
    re.DOTALL,
)
"""First bytes of the containers that a recording may be joined from; streams are found by their chains of frames."""

SYNC = re.compile(rb"\xff[\xe2-\xff]|\x0b\x77")


def after_id3(file: BinaryIO, start: int, size: int) -> tuple[int, bytes]:
    """Return the offset of the first byte after ID3v2 tags at ``start``, and the bytes there."""
    for _ in range(LEADING_TAGS):
        file.seek(start)
        head = file.read(HEAD_BYTES)
        if head[:3] != b"ID3" or len(head) < ID3_BYTES:
            return start, head
        start += ID3_BYTES + synchsafe(head[6:10])
        start += ID3_BYTES if head[5] & 0x10 else 0  # bit 4 of the flags announces a footer
        if start >= size:
            break
    return start, b""


def synchsafe(size: bytes) -> int:
    """Return a number of ID3v2, which has seven bits in each of four bytes.

    Examples
    --------
    >>> synchsafe(bytes([0, 0, 1, 72]))
    200
    """
    return sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=False))


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
    n_bytes = 0
    if tail[-APE_BYTES:][:8] == b"APETAGEX":
        n_items, flags = struct.unpack_from("<I4xI", tail[-APE_BYTES:], 12)
        n_bytes = n_items + (APE_BYTES if flags >> 31 else 0)  # the footer is counted, the header is not
    elif tail[-9:] == b"LYRICS200" and tail[-LYRICS_TAIL_BYTES:-9].isdigit():
        n_bytes = LYRICS_TAIL_BYTES + int(tail[-LYRICS_TAIL_BYTES:-9])
    return n_bytes if 0 < n_bytes <= end - start else 0


def find_recording(file: BinaryIO, start: int, size: int) -> int | None:
    """Return the offset from ``start`` on at which a recording begins, or None."""
    for at, block in blocks(file, start, size, OVERLAP_BYTES):
        magic = MAGIC.search(block)
        end = len(block) if magic is None else magic.start()
        chain = _find_chain(block, end)
        if chain is not None or magic is not None:
            return at + (end if chain is None else chain)
    return None


def is_magic(file: BinaryIO, offset: int, size: int) -> bool:
    """Return True if a recording begins at ``offset``, and not a chunk whose name happens to look like one."""
    return MAGIC.match(read_at(file, offset, HEAD_BYTES, size)) is not None


def _find_chain(block: bytes, end: int) -> int | None:
    for sync in SYNC.finditer(block, 0, end):
        if is_chain(block, sync.start(), CHAIN_FRAMES):
            return sync.start()
    return None


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
