"""Movie: the tables of an MP4 or QuickTime that say where its samples are, and what in them players read differently.

Players agree on files in which each table stands once, in its own place. Of two they take the first, the last, or the
one that they know; FFmpeg also reads tables that stand elsewhere, and knows one description of samples only.

```
moov ─ trak ─┬ edts ─ elst       which parts of the track are played
             └ mdia ─┬ hdlr      sound, pictures, text
                     └ minf ─ stbl ─┬ stsd         how samples are encoded
                                    ├ stts ctts    how long they last
                                    └ stsc stsz stco   where they are
```
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from detector.errors import UtteranceError
from detector.layout.spliced import read_at

MAX_BOXES, MAX_DEPTH = 1 << 16, 12
MOOV_BYTES = 1 << 20  # by which a copy of a `moov` is told from another; a larger one stands once
DESCRIPTION_BYTES = 1 << 20  # of all descriptions of the samples of a track of sound, which take a few hundred
META_BYTES = 64 << 10  # read at once
CONTAINERS = frozenset(b"moov trak mdia minf stbl edts udta dinf tref meta ilst wave sinf schi mvex".split())
"""Boxes in which FFmpeg looks for others; it does so wherever they stand."""
PARENTS = {b"mdia": b"trak", b"minf": b"mdia", b"stbl": b"minf", b"edts": b"trak", b"elst": b"edts"}
PARENTS |= dict.fromkeys(b"stsd stts ctts stsc stsz stco".split(), b"stbl")
"""Boxes of a track of sound that stand once, and where."""
FORMS = {b"stz2": b"stsz", b"co64": b"stco", b"hoov": b"moov"}
"""Names of one box in two forms; FFmpeg takes `hoov` for a damaged `moov`."""
SOUND = frozenset((b"soun", b"m1a "))
HANDLERS = SOUND.union(b"vide subp clcp".split())
"""The kinds of track that FFmpeg knows. A track of QuickTime has a second `hdlr`, which says how it is stored."""
EMPTY, NORMAL = b"\xff", b"\0\1\0\0"
"""Bytes of the time of an edit that plays nothing for a while; the rate of one that plays as fast as the track."""
HDLR = re.compile(rb"(?:.{4})*?hdlr", re.DOTALL)
NAMES = re.compile(b"|".join((*PARENTS, *FORMS, b"hdlr")))


class Box(NamedTuple):
    """A box: its name, that of the box around it, and where its content begins and ends."""

    name: bytes
    parent: bytes
    start: int
    end: int


class Movie(NamedTuple):
    """Its tracks of sound, and whether an edit list has more than one edit that plays a track at its own speed."""

    n_tracks: int
    is_edited: bool


def movie(file: BinaryIO, start: int, size: int) -> Movie:
    """Return what the tables of an MP4 or QuickTime say of its sound; a compressed `moov` says nothing.

    It begins at ``start`` in a file of ``size`` bytes.

    Raises
    ------
    UtteranceError
        `bad_header` if players read the tables differently.

    Examples
    --------
    >>> import io
    >>> handler = b"\\0\\0\\0\\x14hdlr" + bytes(8) + b"soun"
    >>> content = b"\\0\\0\\0\\x2cmoov\\0\\0\\0\\x24trak\\0\\0\\0\\x1cmdia" + handler
    >>> movie(io.BytesIO(content), 0, len(content))
    Movie(n_tracks=1, is_edited=False)
    """
    tracks: list[list[Box]] = []
    first: Box | None = None
    for number, box in enumerate(_boxes(file, b"", start, size)):
        if number == MAX_BOXES:
            raise unclear(f"more than {MAX_BOXES:,} boxes")
        if box.name in (b"moov", b"trak") and box.parent not in (b"", b"moov"):
            raise unclear(f"a `{_text(box.name)}` within a `{_text(box.parent)}`")
        if box.name == b"cmov":
            raise unclear("a compressed `moov`")
        if box.name == b"moov":
            if first is not None and not _is_copy(file, first, box):
                raise unclear("a second `moov`")
            first, tracks = box, []
        elif box.name == b"moof" and first is not None:
            break
        elif box.name == b"trak":
            tracks.append([])
        elif tracks:
            tracks[-1].append(box)
    sound = [each for each in tracks if _is_sound(file, each)]
    for each in sound:
        _check_tables(file, each)
    lists = [box for each in sound for box in each if box.name == b"elst"]
    return Movie(len(sound), any(_is_edited(read_at(file, each.start, 48, each.end)) for each in lists))


def _boxes(file: BinaryIO, parent: bytes, start: int, end: int, depth: int = 0) -> Iterator[Box]:
    """Yield boxes, and those within them where FFmpeg looks for them."""
    at = start
    while len(head := read_at(file, at, 16, end)) >= 8 and depth < MAX_DEPTH:
        n_bytes, name, n_head = int.from_bytes(head[:4], "big"), head[4:8], 8
        if n_bytes == 1:
            n_bytes, n_head = int.from_bytes(head[8:], "big"), 16
        until = min(end, at + n_bytes) if n_bytes else end
        if until < at + n_head:
            return
        box = Box(FORMS.get(name, name), parent, at + n_head, until)
        yield box
        if box.name in CONTAINERS:
            begin = _first_in_meta(file, box) if name == b"meta" else box.start
            yield from _boxes(file, box.name, begin, until, depth + 1)
        at = until


def _is_copy(file: BinaryIO, one: Box, other: Box) -> bool:
    contents = [read_at(file, each.start, MOOV_BYTES, each.end) for each in (one, other)]
    return contents[0] == contents[1] and max(one.end - one.start, other.end - other.start) <= MOOV_BYTES


def _first_in_meta(file: BinaryIO, meta: Box) -> int:
    """Return where the boxes in a `meta` begin: in QuickTime at once, else behind its version."""
    for at in range(meta.start, meta.end, META_BYTES):
        if found := HDLR.match(read_at(file, at, META_BYTES, meta.end)):
            return at + found.end() - 8
    return meta.end


def _is_sound(file: BinaryIO, boxes: list[Box]) -> bool:
    handlers = [read_at(file, each.start + 8, 4, each.end) for each in boxes if each.name == b"hdlr"]
    kinds = [each for each in handlers if each in HANDLERS]
    if SOUND.isdisjoint(kinds):
        return False
    if len(kinds) > 1:
        raise unclear(f"a track that is both `{_text(kinds[0])}` and `{_text(kinds[1])}`")
    return True


def _check_tables(file: BinaryIO, boxes: list[Box]) -> None:
    """Raise unless each table of a track of sound stands once, in its own place, and samples have one description."""
    counts = Counter(each.name for each in boxes)
    for box in boxes:
        if box.name in PARENTS and box.parent != PARENTS[box.name]:
            raise unclear(f"a `{_text(box.name)}` of a track of sound within a `{_text(box.parent)}`")
        if box.name in PARENTS and counts[box.name] > 1:
            raise unclear(f"{counts[box.name]:,} boxes `{_text(box.name)}` of a track of sound")
        if box.name == b"stsd":
            _check_description(read_at(file, box.start, DESCRIPTION_BYTES, box.end), box.end - box.start)


def _check_description(content: bytes, n_bytes: int) -> None:
    """Raise if samples have more than one description, or it holds a table, which FFmpeg would read."""
    n_stated, n_first = int.from_bytes(content[4:8], "big"), int.from_bytes(content[8:12], "big")
    if n_stated > 1 or n_bytes >= 8 + n_first + 8:
        raise unclear(f"a track of sound with {max(2, n_stated):,} descriptions of its samples")
    if (found := NAMES.search(content)) or n_bytes > DESCRIPTION_BYTES:
        what = f"a `{_text(found[0])}`" if found else f"{n_bytes:,} bytes"
        raise unclear(f"a description of samples of sound that holds {what}")


def _is_edited(content: bytes) -> bool:
    """Return True unless an edit list has one edit, behind an empty one or none, that plays at the track's speed."""
    width = 8 if content[:1] == b"\1" else 4
    n_edits, n_bytes = int.from_bytes(content[4:8], "big"), 2 * width + 4
    edits = [content[at : at + n_bytes] for at in range(8, 8 + min(n_edits, 2) * n_bytes, n_bytes)]
    is_empty = [each[width : 2 * width] == EMPTY * width for each in edits]
    return n_edits > 1 + any(is_empty[:1]) or any(is_empty[1:]) or any(each[-4:] != NORMAL for each in edits)


def unclear(found: str) -> UtteranceError:
    """Return the error of a file in which something was found that players read differently."""
    return UtteranceError("bad_header", f"{found}, which players read differently: write the file again")


def _text(name: bytes) -> str:
    return name.decode("latin-1")
