"""Matroska and WebM: where their elements end, whatever size the segment that holds them states (RFC 8794, RFC 9559).

A recorder that writes a stream does not know that size, and a program that cuts one leaves it stale. Players read on,
and look for the next element of the segment where one is damaged.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from detector.layout.extent import Extent, extent, next_recording, search
from detector.layout.spliced import read_at

EBML, SEGMENT, CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
HEADER_BYTES, ELEMENT_BYTES = 64 << 10, 12
ELEMENTS = frozenset(
    bytes.fromhex(each)  # SeekHead, Info, Tracks, Cluster, Cues, Attachments, Chapters, Tags, Void, CRC-32
    for each in "114d9b74 1549a966 1654ae6b 1f43b675 1c53bb6b 1941a469 1043a770 1254c367 ec bf".split()
)
IN_CLUSTER = ELEMENTS.union(
    bytes.fromhex(each)  # Timestamp, PrevSize, Position, SimpleBlock, BlockGroup, EncryptedBlock, SilentTracks
    for each in "e7 ab a7 a3 a0 af 5854".split()
)
NEXT = re.compile(b"|".join(re.escape(each) for each in sorted(ELEMENTS) if len(each) == 4))


def matroska(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where the elements of a Matroska or WebM file end."""
    header = read_at(file, start, HEADER_BYTES, size)
    n_bytes, length = _size(header, len(EBML))
    at = len(EBML) + length + (n_bytes or 0)
    if header[at : at + 4] != SEGMENT:
        end = next_recording(file, start + len(EBML), size)
        return Extent(end, end)
    n_bytes, length = _size(header, at + 4)
    first = start + at + 4 + length
    found = extent(file, first, size, _Elements(), _next_element)
    is_cut = n_bytes is not None and first + n_bytes > size
    return found._replace(is_cut=is_cut)


class _Elements:
    """A walk along the elements of a segment; into a cluster whose size is unknown, or does not fit into the file."""

    def __init__(self) -> None:
        self._known = ELEMENTS

    def __call__(self, file: BinaryIO, at: int, size: int) -> int:
        """Return where the elements in a row end that begin at ``at``."""
        while head := read_at(file, at, ELEMENT_BYTES, size):
            name = head[: 9 - head[0].bit_length()]
            if name not in self._known:
                break
            n_bytes, length = _size(head, len(name))
            at += len(name) + length
            if name == CLUSTER and (n_bytes is None or at + n_bytes > size):
                self._known = IN_CLUSTER
            elif n_bytes is None:
                return at - len(name) - length
            else:
                at += n_bytes
        return at


def _next_element(file: BinaryIO, at: int, size: int) -> int:
    return search(file, at, size, 3, lambda block: -1 if (found := NEXT.search(block)) is None else found.start())


def _size(content: bytes, at: int) -> tuple[int | None, int]:
    """Parse an element's size (RFC 8794, section 4); None for an unknown one. Return it with its own length."""
    if at >= len(content) or not content[at]:
        return None, 1
    length = 9 - content[at].bit_length()
    value = int.from_bytes(content[at : at + length], "big") & (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), length
