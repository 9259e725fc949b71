"""Streams of units that state their size: AAC in ADTS, AC-3, AMR, MPEG-TS and -PS, FLV, TTA, WavPack; where they end.

Decoders read such a file to its end, and pass over what they do not know. So a stream ends only where another recording
begins behind its last unit, or where no unit of it follows.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from detector.layout import tags
from detector.layout.extent import UNIT_HEAD_BYTES, Extent, Walk, extent, nowhere, search, units
from detector.layout.frames import MAX_FRAME_BYTES, SYNC_BYTES, ac3_bytes, adts_bytes
from detector.layout.spliced import read_at

PACKETS = ((0, 188), (4, 192), (0, 204))
"""Of a transport stream: bytes before the sync byte of the first, and from one to the next."""
PACKET, SYNC = 0x47, re.compile(rb"\x47")
CHAIN_PACKETS = 4
FLV_HEADER_BYTES, FLV_TAG_BYTES = 13, 15  # each with the size of the tag before
FLV_TYPES = (8, 9, 18)  # sound, picture, script
FLV_TAG = re.compile(rb"[\x08\x09\x12].{7}\0\0\0", re.DOTALL)
TTA_HEADER_BYTES = 22
TTA_SECONDS = (256, 245)  # of a frame, as a fraction
MAX_TTA_FRAMES = 1 << 20
AMR_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1)  # of a frame, by its type: RFC 4867, 5.3
AMR_WB_BYTES = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1)
PACK, PACK_BYTES = b"\0\0\x01\xba", 14
INITIAL_BLOCK = 1 << 11  # of several blocks of WavPack that hold the channels of one moment

HEAD_BYTES = max(CHAIN_PACKETS * PACKETS[-1][1], 3 * MAX_FRAME_BYTES)

Unit = Callable[[bytes, int], int]
"""Returns the size of the unit at an offset of a block, or 0."""


def adts(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where a stream of ADTS ends."""
    return _of_frames(file, start, size, adts_bytes, read_at(file, start, 3, size))


def ac3(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where a stream of AC-3 or E-AC-3 ends."""
    return _of_frames(file, start, size, ac3_bytes, read_at(file, start, 2, size))


def is_ac3(head: bytes) -> bool:
    """Return True for two frames of AC-3."""
    n_bytes = ac3_bytes(head[:SYNC_BYTES])
    return n_bytes > 0 and ac3_bytes(head[n_bytes : n_bytes + SYNC_BYTES]) > 0


def _of_frames(file: BinaryIO, start: int, size: int, frame_bytes: Callable[[bytes], int], first: bytes) -> Extent:
    """Return where frames end, which begin with the same bytes behind damage, too."""

    def unit(block: bytes, at: int) -> int:
        return frame_bytes(block[at : at + SYNC_BYTES])

    def next_frame(block: bytes) -> int:
        at = block.find(first)
        while at >= 0 and not _is_followed(block, at, unit):
            at = block.find(first, at + 1)
        return at

    return extent(file, start, size, _row_of(unit), _search(2 * MAX_FRAME_BYTES, next_frame))


def _row_of(unit: Unit) -> Walk:
    return lambda file, at, size: units(file, at, size, unit)


def _search(n_overlap: int, find: Callable[[bytes], int]) -> Walk:
    return lambda file, at, size: search(file, at, size, n_overlap, find)


def _is_followed(block: bytes, at: int, unit: Unit) -> bool:
    """Return True for a unit behind which another one begins, or the file ends."""
    n_bytes = unit(block, at)
    end = at + n_bytes
    return n_bytes > 0 and (end == len(block) or (end + UNIT_HEAD_BYTES < len(block) and unit(block, end) > 0))


def is_adts(head: bytes) -> bool:
    """Return True for two frames of ADTS, or one that is all there is."""
    n_bytes = adts_bytes(head[:SYNC_BYTES])
    return n_bytes > 0 and (n_bytes >= len(head) or adts_bytes(head[n_bytes : n_bytes + SYNC_BYTES]) > 0)


def transport(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where a transport stream ends."""
    head = read_at(file, start, CHAIN_PACKETS * PACKETS[-1][1], size)
    before, n_bytes = next(each for each in PACKETS if _are_packets(head, *each))

    def walk(file: BinaryIO, at: int, size: int) -> int:
        return _packets(file, at, size, before, n_bytes)

    def next_packets(block: bytes) -> int:
        for sync in SYNC.finditer(block, before):
            if _are_packets(block[sync.start() - before :][: CHAIN_PACKETS * n_bytes], before, n_bytes):
                return sync.start() - before
        return -1

    return extent(file, start, size, walk, _search(CHAIN_PACKETS * n_bytes, next_packets))


def is_transport(head: bytes) -> bool:
    """Return True for four packets of a transport stream."""
    return any(_are_packets(head, *each) for each in PACKETS)


def program(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where an MPEG program stream ends: packs, and packets that state their size (ISO 13818-1, 2.5.3)."""

    def unit(block: bytes, at: int) -> int:
        if block[at : at + 3] != PACK[:3] or block[at + 3] < 0xB9:
            return 0
        if block[at + 3] == 0xB9:  # end of the program
            return 4
        if block[at + 3] == PACK[3]:
            return PACK_BYTES + (block[at + 13] & 7) if block[at + 4] >> 6 == 1 else 12  # of MPEG 1
        return 6 + int.from_bytes(block[at + 4 : at + 6], "big")

    return extent(file, start, size, _row_of(unit), _search(len(PACK), lambda block: block.find(PACK)))


def amr(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where a file of AMR ends."""
    header = read_at(file, start, 16, size)
    magic = header[: header.find(b"\n") + 1]
    if b"_MC" in magic:  # of several channels
        magic += header[len(magic) : len(magic) + 4]
    sizes = AMR_WB_BYTES if b"-WB" in magic else AMR_BYTES

    def unit(block: bytes, at: int) -> int:
        is_frame = block[at] & 0x83 == 0 and not (block[at] == 0 and tags.begins(block[at : at + tags.HEAD_BYTES]))
        return sizes[block[at] >> 3 & 15] if is_frame else 0

    return extent(file, start + len(magic), size, _row_of(unit), nowhere)


def flv(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where an FLV ends."""

    def unit(block: bytes, at: int) -> int:
        n_bytes = int.from_bytes(block[at + 1 : at + 4], "big")
        is_tag = block[at] in FLV_TYPES and block[at + 8 : at + 11] == bytes(3)
        return FLV_TAG_BYTES + n_bytes if is_tag else 0

    def next_tag(block: bytes) -> int:
        tags_of_it = (each.start() for each in FLV_TAG.finditer(block))
        return next((at for at in tags_of_it if _is_followed(block, at, unit)), -1)

    return extent(file, start + FLV_HEADER_BYTES, size, _row_of(unit), _search(tags.SCAN_BYTES, next_tag))


def tta(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where a TTA ends, by its table of frames; with the file, if that has no room for them."""
    header = read_at(file, start, TTA_HEADER_BYTES, size)
    rate, n_samples = struct.unpack_from("<II", header.ljust(TTA_HEADER_BYTES, b"\0"), 10)
    of_frame = TTA_SECONDS[0] * rate // TTA_SECONDS[1]
    n_frames = -(-n_samples // of_frame) if of_frame else MAX_TTA_FRAMES
    table = start + TTA_HEADER_BYTES
    if n_frames >= MAX_TTA_FRAMES or table + 4 * n_frames + 4 > size:
        return Extent(size)
    sizes = np.frombuffer(read_at(file, table, 4 * n_frames, size), "<u4")
    return Extent(table + 4 * n_frames + 4 + int(sizes.sum(dtype=np.uint64)))


def wavpack(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where the blocks of a WavPack file end: before one that begins with sample 0 again."""
    at = start
    while (header := read_at(file, at, 32, size))[:4] == b"wvpk" and len(header) == 32:
        n_bytes, index, flags = struct.unpack("<4xI8xI4xI4x", header)
        if at > start and index == 0 and flags & INITIAL_BLOCK:
            break
        at += 8 + n_bytes
    return Extent(at)


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
