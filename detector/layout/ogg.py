"""Ogg: its links, the logical streams that are chained one after another (RFC 3533, section 4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from detector.errors import UtteranceError
from detector.layout.spliced import read_at
from detector.layout.tags import blocks

PAGE = re.compile(rb"OggS\0([\0-\x07]).{8}(.{4})", re.DOTALL)  # with its flags, and the number of its stream
BEGINS_STREAM, ENDS_STREAM = 0x02, 0x04
OVERLAP_BYTES = 17
HEADER_BYTES, MAX_LACING = 27, 255
SILENT = (b"\x80theora", b"BBCD\0", b"fishead\0", b"CMML\0\0\0\0", b"\x80kate\0\0\0", b"\0c2pa")
"""First bytes of streams that hold no sound: films, and what is said of other streams."""


class Link(NamedTuple):
    """A link: where it ends, whether it breaks off there, and how many streams that may hold sound run side by side."""

    end: int
    is_cut: bool
    n_audio: int


def read_link(file: BinaryIO, start: int, size: int) -> Link:
    """Return the link that begins at ``start``.

    It ends where the next begins, or behind its last page. That page says that it is the last, unless the link was cut.

    The first pages of all streams of a link, which run side by side, come before any other page.

    Raises
    ------
    UtteranceError
        `bad_header` if a stream has pages in it and no first page: no decoder would hear these.

    Examples
    --------
    >>> import io
    >>> first, later = b"OggS\\0\\2" + bytes(21), b"OggS\\0\\0" + bytes(21)
    >>> read_link(io.BytesIO(first + first + later + first), 0, 4 * 27)
    Link(end=81, is_cut=True, n_audio=2)
    """
    n_audio, is_past_first_pages = 0, False
    numbers: set[bytes] = set()
    last = start
    for at, begins, number in _pages(file, start, size):
        if begins and is_past_first_pages:
            break
        last = at
        if begins:
            numbers.add(number)
            n_audio += not _content(file, at, size).startswith(SILENT)
        elif numbers and number not in numbers:
            raise UtteranceError("bad_header", "pages of a stream of Ogg that does not begin with the others")
        is_past_first_pages = is_past_first_pages or not begins
    header = read_at(file, last, HEADER_BYTES + MAX_LACING, size).ljust(HEADER_BYTES, b"\0")
    end = last + HEADER_BYTES + header[26] + sum(header[HEADER_BYTES : HEADER_BYTES + header[26]])
    return Link(min(size, end), end > size or not header[5] & ENDS_STREAM, n_audio)


def _content(file: BinaryIO, at: int, size: int) -> bytes:
    """Return the first bytes of what a page holds."""
    page = read_at(file, at, HEADER_BYTES + MAX_LACING + max(map(len, SILENT)), size).ljust(HEADER_BYTES, b"\0")
    return page[HEADER_BYTES + page[26] :]


def _pages(file: BinaryIO, start: int, size: int) -> Iterator[tuple[int, bool, bytes]]:
    """Yield the offset of each page, whether it is a stream's first, and the number of its stream."""
    last = start - 1
    for offset, block in blocks(file, start, size, OVERLAP_BYTES):
        for page in PAGE.finditer(block):
            if offset + page.start() > last:
                last = offset + page.start()
                yield last, bool(page[1][0] & BEGINS_STREAM), page[2]
