"""AVI and QCP: where their chunks end, whatever size the RIFF that holds them states.

A program that crashed, or wrote to a pipe, leaves that size and the one of the list `movi` stale. Players read on.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from detector.layout import tags
from detector.layout.extent import Extent, extent, search
from detector.layout.spliced import read_at

FORM_BYTES, CHUNK_BYTES = 12, 8
UNKNOWN_BYTES = 0xFFFF_FFFF  # of a file that was written to a pipe
NAME = re.compile(rb"[\x20-\x7e]{4}")
NEXT = re.compile(rb"[0-9]{2}(?:wb|dc|db|pc|tx)|ix[0-9]{2}|idx1|RIFF....AVIX|LIST....(?:movi|rec )", re.DOTALL)
STREAM = re.compile(rb"[0-9]{2}(?:wb|dc|db|pc|tx)|LIST|RIFF|idx1|data")


def riff(file: BinaryIO, start: int, size: int) -> Extent:
    """Return where the chunks of an AVI or QCP file end, with the parts (`AVIX`) that continue an AVI."""
    found = extent(file, start + FORM_BYTES, size, _chunks, _next_chunk)
    stated = int.from_bytes(read_at(file, start + 4, 4, size), "little")
    return found._replace(is_cut=start + CHUNK_BYTES + stated > size and stated < UNKNOWN_BYTES)


def _chunks(file: BinaryIO, at: int, size: int) -> int:
    while len(head := read_at(file, at, FORM_BYTES, size)) >= CHUNK_BYTES:
        name, n_bytes = head[:4], int.from_bytes(head[4:8], "little")
        end = at + CHUNK_BYTES + n_bytes + n_bytes % 2
        if name == b"RIFF":
            if head[8:] != b"AVIX":
                return at
            end = at + FORM_BYTES
        elif name == b"LIST" and head[8:] == b"movi" and (n_bytes < 4 or end > size):
            end = at + FORM_BYTES
        elif not NAME.match(name) or (end > size and not STREAM.match(name)) or tags.is_magic(file, at, size):
            return at
        at = end
    return at


def _next_chunk(file: BinaryIO, at: int, size: int) -> int:
    return search(
        file, at, size, FORM_BYTES, lambda block: -1 if (found := NEXT.search(block)) is None else found.start()
    )
