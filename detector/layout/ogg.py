"""Ogg: its links, the logical streams that are chained one after another (RFC 3533, section 4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from detector.layout.spliced import read_at
from detector.layout.tags import blocks

PAGE = re.compile(rb"OggS\0([\0-\x07])", re.DOTALL)
BEGINS_STREAM, ENDS_STREAM = 0x02, 0x04
OVERLAP_BYTES = 5


def link_end(file: BinaryIO, start: int, size: int) -> tuple[int, bool]:
    """Return the offset at which the link at ``start`` ends, and whether it breaks off there.

    It ends where the next begins, or behind its last page. That page says that it is the last, unless the link was cut.

    The first pages of all streams of a link, which run side by side, come before any other page.

    Examples
    --------
    >>> import io
    >>> first, later = b"OggS\\0\\2" + bytes(21), b"OggS\\0\\0" + bytes(21)
    >>> link_end(io.BytesIO(first + first + later + first), 0, 4 * 27)
    (81, True)
    """
    is_past_first_pages = False
    last = start
    for at, begins in _pages(file, start, size):
        if begins and is_past_first_pages:
            break
        last = at
        is_past_first_pages = is_past_first_pages or not begins
    header = read_at(file, last, 27 + 255, size).ljust(27, b"\0")
    end = last + 27 + header[26] + sum(header[27 : 27 + header[26]])
    return min(size, end), end > size or not header[5] & ENDS_STREAM


def _pages(file: BinaryIO, start: int, size: int) -> Iterator[tuple[int, bool]]:
    """Yield the offset of each page, and whether it is a stream's first."""
    last = start - 1
    for offset, block in blocks(file, start, size, OVERLAP_BYTES):
        for page in PAGE.finditer(block):
            if offset + page.start() > last:
                last = offset + page.start()
                yield last, bool(page[1][0] & BEGINS_STREAM)
