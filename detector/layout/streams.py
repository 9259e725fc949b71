"""Streams of units that state their size: AAC in ADTS, MPEG-TS, FLV and TTA; where they end before another recording.

FFmpeg reads such a file to its end, and passes over what it does not know. So a stream ends only where another
recording begins behind its last unit; damage within it, behind which it goes on, is FFmpeg's to pass over.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from detector.layout import tags
from detector.layout.frames import MAX_FRAME_BYTES, SYNC_BYTES, adts_bytes
from detector.layout.spliced import read_at

PACKETS = ((0, 188), (4, 192), (0, 204))
"""Of a transport stream: bytes before the sync byte of the first, and from one to the next."""
PACKET, SYNC = 0x47, re.compile(rb"\x47")
CHAIN_PACKETS = 4
FLV_HEADER_BYTES, FLV_TAG_BYTES = 13, 15  # each with the size of the tag before
FLV_TYPES = (8, 9, 18)  # sound, picture, script
TTA_HEADER_BYTES = 22
TTA_SECONDS = (256, 245)  # of a frame, as a fraction
MAX_TTA_FRAMES = 1 << 20

HEAD_BYTES = max(CHAIN_PACKETS * PACKETS[-1][1], 3 * MAX_FRAME_BYTES)

Walk = Callable[[BinaryIO, int, int], int]
"""Returns where units in a row end that begin at an offset, or the offset itself if none does."""


def adts(file: BinaryIO, start: int, size: int) -> int:
    """Return where a stream of ADTS ends: behind its last frame, if another recording follows, else with the file."""
    return _end(file, start, size, _adts_frames, lambda _file, _at, following: following)


def is_adts(head: bytes) -> bool:
    """Return True for two frames of ADTS, or one that is all there is."""
    n_bytes = adts_bytes(head[:SYNC_BYTES])
    return n_bytes > 0 and (n_bytes >= len(head) or adts_bytes(head[n_bytes : n_bytes + SYNC_BYTES]) > 0)


def transport(file: BinaryIO, start: int, size: int) -> int:
    """Return where a transport stream ends."""
    head = read_at(file, start, CHAIN_PACKETS * PACKETS[-1][1], size)
    before, n_bytes = next(each for each in PACKETS if _are_packets(head, *each))

    def walk(file: BinaryIO, at: int, size: int) -> int:
        return _packets(file, at, size, before, n_bytes)

    def resume(file: BinaryIO, at: int, stop: int) -> int:
        for offset, block in tags.blocks(file, at, stop, CHAIN_PACKETS * n_bytes):
            for sync in SYNC.finditer(block, before):
                if _are_packets(block[sync.start() - before :][: CHAIN_PACKETS * n_bytes], before, n_bytes):
                    return offset + sync.start() - before
        return stop

    return _end(file, start, size, walk, resume)


def is_transport(head: bytes) -> bool:
    """Return True for four packets of a transport stream."""
    return any(_are_packets(head, *each) for each in PACKETS)


def flv(file: BinaryIO, start: int, size: int) -> int:
    """Return where an FLV ends: behind its last tag, if another recording follows, else with the file."""
    return _end(file, start + FLV_HEADER_BYTES, size, _flv_tags, lambda _file, _at, following: following)


def tta(file: BinaryIO, start: int, size: int) -> int:
    """Return where a TTA ends, by its table of frames; with the file, if that has no room for them."""
    header = read_at(file, start, TTA_HEADER_BYTES, size)
    rate, n_samples = struct.unpack_from("<II", header.ljust(TTA_HEADER_BYTES, b"\0"), 10)
    of_frame = TTA_SECONDS[0] * rate // TTA_SECONDS[1]
    n_frames = -(-n_samples // of_frame) if of_frame else MAX_TTA_FRAMES
    table = start + TTA_HEADER_BYTES
    if n_frames >= MAX_TTA_FRAMES or table + 4 * n_frames + 4 > size:
        return size
    sizes = np.frombuffer(read_at(file, table, 4 * n_frames, size), "<u4")
    return table + 4 * n_frames + 4 + int(sizes.sum(dtype=np.uint64))


def _end(file: BinaryIO, start: int, size: int, walk: Walk, resume: Walk) -> int:
    """Return where a stream ends.

    ``resume`` returns where it may go on before the next recording, or where that begins, which may be more of it.
    """
    at = walk(file, start, size)
    following: int | None = None
    while at < size:
        if following is None or following < at:
            following = tags.find_recording(file, at, size)
        if following is None:
            return size
        begin = resume(file, at, following)
        further = walk(file, begin, size)
        if further == begin:
            return at
        at = further
    return size


def _adts_frames(file: BinaryIO, at: int, size: int) -> int:
    return _units(file, at, size, lambda block, offset: adts_bytes(block[offset : offset + SYNC_BYTES]))


def _flv_tags(file: BinaryIO, at: int, size: int) -> int:
    def unit(block: bytes, offset: int) -> int:
        kind, n_bytes = block[offset], int.from_bytes(block[offset + 1 : offset + 4], "big")
        is_tag = kind in FLV_TYPES and block[offset + 8 : offset + 11] == bytes(3)
        return FLV_TAG_BYTES + n_bytes if is_tag else 0

    return _units(file, at, size, unit)


def _units(file: BinaryIO, at: int, size: int, unit: Callable[[bytes, int], int]) -> int:
    """Return where units in a row end; ``unit`` returns the size of the one at an offset of a block, or 0."""
    while block := read_at(file, at, tags.SCAN_BYTES, size):
        offset = 0
        is_last = at + len(block) >= size
        while offset + FLV_TAG_BYTES <= len(block):
            n_bytes = unit(block, offset)
            if not n_bytes:
                return at + offset
            offset += n_bytes
        at += offset
        if is_last:
            return at
    return at


def _packets(file: BinaryIO, at: int, size: int, before: int, n_bytes: int) -> int:
    """Return where packets in a row end."""
    n_read = tags.SCAN_BYTES // n_bytes * n_bytes
    while block := read_at(file, at, n_read, size):
        syncs = np.frombuffer(block, np.uint8)[before::n_bytes]
        broken = np.flatnonzero(syncs != PACKET)
        if len(broken) or not len(syncs):
            return at + (int(broken[0]) if len(broken) else 0) * n_bytes
        at += len(block)
    return at


def _are_packets(head: bytes, before: int, n_bytes: int) -> bool:
    """Return True for four packets, each with a payload, an adaptation field, or both."""
    return len(head) > before + (CHAIN_PACKETS - 1) * n_bytes + 3 and all(
        head[at] == PACKET and head[at + 3] >> 4 & 3 for at in range(before, before + CHAIN_PACKETS * n_bytes, n_bytes)
    )
