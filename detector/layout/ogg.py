"""Ogg: its links, the logical streams that are chained one after another (RFC 3533, section 4)."""

from __future__ import annotations

from typing import BinaryIO

from detector.errors import UtteranceError
from detector.layout.extent import Extent, extent, search, units

PAGE = b"OggS\0"
HEADER_BYTES, MAX_FLAGS = 27, 7
BEGINS_STREAM, ENDS_STREAM = 0x02, 0x04
SILENT = (b"\x80theora", b"BBCD\0", b"fishead\0", b"CMML\0\0\0\0", b"\x80kate\0\0\0", b"\0c2pa")
"""First bytes of streams that hold no sound: films, and what is said of other streams."""


def link(file: BinaryIO, start: int, size: int) -> tuple[Extent, str]:
    """Return the extent of the link at ``start``, and why libsndfile would not hear all of it, or nothing.

    It is cut if its last page does not say that it is the last.

    The first pages of all streams of a link, which run side by side, come before any other page.

    Raises
    ------
    UtteranceError
        `bad_header` if a stream has pages in it and no first page: no decoder would hear these.

    Examples
    --------
    >>> import io
    >>> first, later = (b"OggS\\0" + flags + bytes(20) + b"\\1\\1s" for flags in (b"\\2", b"\\0"))
    >>> found, why_not = link(io.BytesIO(first + first + later + first), 0, 4 * 29)
    >>> found.end, found.is_cut, why_not
    (87, True, '2 streams side by side')
    """
    pages = _Pages()
    found = extent(file, start, size, pages, _next_page)
    return found._replace(is_cut=found.end > size or not pages.flags & ENDS_STREAM), pages.why_not()


class _Pages:
    """A walk along the pages of one link."""

    def __init__(self) -> None:
        self.flags = 0
        self._n_audio = 0  # of streams that may hold sound
        self._numbers: set[bytes] = set()  # of all streams
        self._ended: set[bytes] = set()
        self._goes_on = False
        self._is_past_first_pages = False

    def __call__(self, file: BinaryIO, at: int, size: int) -> int:
        """Return where the pages in a row end that begin at ``at``."""
        return units(file, at, size, self._page)

    def why_not(self) -> str:
        """Return what libsndfile, which reads one stream up to the first end, would not hear."""
        if self._n_audio > 1:
            return f"{self._n_audio} streams side by side"
        return "a stream that goes on behind its end" if self._goes_on else ""

    def _page(self, block: bytes, at: int) -> int:
        flags = block[at + 5]
        begins = bool(flags & BEGINS_STREAM)
        if block[at : at + 5] != PAGE or flags > MAX_FLAGS or (begins and self._is_past_first_pages):
            return 0
        first = at + HEADER_BYTES
        n_segments = block[at + HEADER_BYTES - 1]
        if n_segments:  # else it holds nothing, or the file ends within its head
            self._note(flags, block[at + 14 : at + 18], block[first + n_segments : first + n_segments + 16])
        self._is_past_first_pages = self._is_past_first_pages or not begins
        self.flags = flags
        return HEADER_BYTES + n_segments + sum(block[first : first + n_segments])

    def _note(self, flags: int, number: bytes, content: bytes) -> None:
        self._goes_on = self._goes_on or number in self._ended
        if flags & ENDS_STREAM:
            self._ended.add(number)
        if flags & BEGINS_STREAM:
            self._numbers.add(number)
            self._n_audio += not content.startswith(SILENT)
        elif self._numbers and number not in self._numbers:
            raise UtteranceError("bad_header", "pages of a stream of Ogg that does not begin with the others")


def _next_page(file: BinaryIO, at: int, size: int) -> int:
    return search(file, at, size, len(PAGE), lambda block: block.find(PAGE))
