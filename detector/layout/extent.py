"""Extent: where a recording that consists of units ends, and what of it is none of its units.

Units state their size: frames, packets, pages, chunks. One that is damaged, or unknown, ends a row of them, and players
look for the next one. So a recording ends only where another begins, or where no unit of it follows.

```
|unit|unit|junk|unit|unit|unit|junk        |another recording
 └── run ─┘     └──── run ────┘end          └ reach
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from detector.layout import tags
from detector.layout.spliced import Range, read_at

READ_BYTES = 1 << 18
UNIT_HEAD_BYTES = 512  # more than the head of any unit, in which its size is stated
SEARCHED_BYTES = 1 << 12  # at first
MAX_RUNS = 1 << 16  # beyond them, the rest of a recording is one run, with what is between its units

Walk = Callable[[BinaryIO, int, int], int]
"""Returns where units in a row end that begin at an offset, or the offset itself if none does."""


class Extent(NamedTuple):
    """The extent of a recording.

    Parameters
    ----------
    end : int
        Offset behind its last unit, which lies beyond the file if that was cut.
    reach : int or None
        Offset at which the next recording begins, or the file ends; None if that is not known yet.
    n_passed : int
        Bytes between its units that are neither tags nor padding.
    runs : tuple of Range
        Units in a row.
    is_cut : bool
        True if a size that it states lies beyond the file, or it does not say that its end is one.
    """

    end: int
    reach: int | None = None
    n_passed: int = 0
    runs: tuple[Range, ...] = ()
    is_cut: bool = False


def extent(file: BinaryIO, start: int, size: int, walk: Walk, resume: Walk) -> Extent:
    """Return the extent of the recording whose units begin at ``start``.

    ``resume`` returns where a unit begins behind the byte at an offset, or the size of the file. A recording of another
    kind that begins before it ends this one.
    """
    at = walk(file, start, size)
    runs, n_passed = [Range(start, min(at, size))], 0
    while at < size:
        begin = resume(file, at, size)
        other = tags.find_recording(file, at, size, before=begin)
        begin = begin if other is None else min(begin, other)
        further = walk(file, begin, size)
        if further == begin:
            return Extent(at, next_recording(file, at, size), n_passed, tuple(runs))
        n_passed += tags.foreign_bytes(file, at, begin)
        at = further
        if len(runs) < MAX_RUNS:
            runs.append(Range(begin, min(at, size)))
        else:
            runs[-1] = Range(runs[-1].start, min(at, size))
    return Extent(at, size, n_passed, tuple(runs))


def next_recording(file: BinaryIO, at: int, size: int) -> int:
    """Return where a recording begins from ``at`` on, or the size of the file."""
    found = tags.find_recording(file, at, size)
    return size if found is None else found


def search(file: BinaryIO, at: int, size: int, n_overlap: int, find: Callable[[bytes], int]) -> int:
    """Return the offset behind the byte ``at`` of what ``find`` finds, or the size of the file.

    ``find`` returns an offset within a block, or -1. Blocks overlap by ``n_overlap`` bytes, and grow, since damage is
    short as a rule.
    """
    at, n_bytes = at + 1, SEARCHED_BYTES
    while at < size:
        found = find(read_at(file, at, n_bytes + n_overlap, size))
        if found >= 0:
            return at + found
        at, n_bytes = at + n_bytes, min(2 * n_bytes, tags.SCAN_BYTES)
    return size


def nowhere(_file: BinaryIO, _at: int, size: int) -> int:
    """Resume nowhere: the recording goes on only where a chain of its frames is found."""
    return size


def units(file: BinaryIO, at: int, size: int, unit: Callable[[bytes, int], int]) -> int:
    """Return where units in a row end; ``unit`` returns the size of the one at an offset of a block, or 0."""
    while block := read_at(file, at, READ_BYTES, size):
        n_bytes, offset = len(block), 0
        is_last = at + n_bytes >= size
        block += bytes(UNIT_HEAD_BYTES) if is_last else b""
        while offset < n_bytes and offset + UNIT_HEAD_BYTES <= len(block):
            n_unit = unit(block, offset)
            if not n_unit:
                return at + offset
            offset += n_unit
        at += offset
        if is_last:
            return at
    return at
