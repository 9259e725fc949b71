"""JUMBF boxes: the C2PA manifest store is a tree of them, and so, box by box, is an MP4 file.

A manifest store is a superbox (`jumb`) that holds one superbox for each manifest; a manifest holds its assertions, its
claim and its signature. Every superbox begins with a description (`jumd`) of its type and label. Only the path to one
claim is followed, so depth costs nothing, and what is not on the path is never read.

```
jumb c2pa                       the store
  jumb <manifest of an ingredient>
  jumb <active manifest>        the last one
    jumb c2pa.assertions
    jumb c2pa.claim.v2
      cbor                      names the program that wrote the manifest
    jumb c2pa.signature
```

References: ISO/IEC 19566-5 (JUMBF), ISO/IEC 14496-12 (boxes), C2PA Technical Specification 2.2, sections 10 and 11.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import cbor2

BOXES = 1_000  # in one superbox
STORE_BYTES = 64 << 20
LABEL_BYTES = 256
# Claims have a few kilobytes. cbor2 fails at once on false lengths, but some values take it time that grows with the
# square of their size.
CLAIM_BYTES = 64 << 10
CLAIM_DEPTH = 32
GENERATOR_LENGTH = 200

TYPE_SUFFIX = bytes.fromhex("0011 0010 8000 00AA00389B71")  # of the UUIDs; the four bytes before it are letters
STORE_TYPE = b"c2pa" + TYPE_SUFFIX
MANIFEST_TYPES = {letters + TYPE_SUFFIX for letters in (b"c2ma", b"c2md", b"c2um", b"c2cm")}  # c2cm is compressed
CLAIM_LABELS = (b"c2pa.claim", b"c2pa.claim.v2")


@dataclass(frozen=True)
class Section:
    """A part of a file, from `start` up to `end`."""

    file: BinaryIO
    start: int
    end: int

    @property
    def n_bytes(self) -> int:
        """Its length."""
        return self.end - self.start

    def read(self, at: int, n_bytes: int) -> bytes:
        """Read up to `n_bytes` at an offset from the section's start, never past its end."""
        n_bytes = min(n_bytes, self.n_bytes - at)
        if n_bytes <= 0:
            return b""
        self.file.seek(self.start + at)
        return self.file.read(n_bytes)

    def part(self, at: int, n_bytes: int | None = None) -> Section:
        """The part that begins at an offset; it ends with the section at the latest."""
        start = min(self.start + at, self.end)
        return Section(self.file, start, self.end if n_bytes is None else min(start + n_bytes, self.end))


@dataclass(frozen=True)
class Box:
    """A box of a section; `is_whole` is False if it claims more bytes than there are, or fewer than its header has."""

    name: bytes
    content: Section
    is_whole: bool


def boxes(section: Section) -> Iterator[Box]:
    """Yield the boxes that follow one another in a section.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO(b"\\0\\0\\0\\x0cftypM4A " + b"\\0\\0\\0\\x63mdat")
    >>> [(box.name, box.content.n_bytes, box.is_whole) for box in boxes(Section(file, 0, 20))]
    [(b'ftyp', 4, True), (b'mdat', 0, False)]
    """
    at = 0
    while len(header := section.read(at, 16)) >= 8:
        n_bytes, name = struct.unpack_from(">I4s", header)
        n_header = 8
        if n_bytes == 0:  # up to the end
            n_bytes = section.n_bytes - at
        elif n_bytes == 1:  # a size of 64 bits follows
            n_header = 16
            n_bytes = struct.unpack_from(">Q", header, 8)[0] if len(header) == 16 else 0
        is_whole = n_header <= n_bytes <= section.n_bytes - at
        yield Box(name, section.part(at + n_header, max(0, n_bytes - n_header)), is_whole)
        if not is_whole:
            return
        at += n_bytes


@dataclass(frozen=True)
class Superbox:
    """A box that describes itself: the UUID of its type, its label, and the boxes in it."""

    kind: bytes
    label: bytes
    children: Section


def claim_generator(store: Section) -> str | None:
    """Name the program that the active manifest of a store gives as its writer, as one printable line.

    Nothing is verified, neither signature nor hashes. The result is None if the store cannot be read that far.
    """
    box = next(boxes(store), None)
    top = _described(box) if box and box.is_whole and box.content.n_bytes <= STORE_BYTES else None
    if top is None or top.kind != STORE_TYPE:
        return None
    manifests = [inner for inner in _superboxes(top) if inner.kind in MANIFEST_TYPES]
    claims = [inner for inner in _superboxes(manifests[-1]) if inner.label in CLAIM_LABELS] if manifests else []
    claim = next(boxes(claims[0].children), None) if claims else None
    if claim is None or claim.name != b"cbor" or not claim.is_whole or claim.content.n_bytes > CLAIM_BYTES:
        return None
    return _generator(claim.content.read(0, CLAIM_BYTES))


def _superboxes(outer: Superbox) -> list[Superbox]:
    """Superboxes in another; none if boxes are cut off or too many, because then it is unknown which is the last."""
    inner = list(islice(boxes(outer.children), BOXES + 1))
    if len(inner) > BOXES or not all(box.is_whole for box in inner):
        return []
    return [described for box in inner if (described := _described(box))]


def _described(box: Box) -> Superbox | None:
    description = next(boxes(box.content), None) if box.name == b"jumb" else None
    if description is None or description.name != b"jumd" or not description.is_whole:
        return None
    head = description.content.read(0, 17 + LABEL_BYTES)
    has_label = len(head) > 17 and head[16] & 2  # of the toggles between UUID and label
    label = head[17:].partition(b"\0")[0] if has_label else b""
    return Superbox(head[:16], label, box.content.part(description.content.end - box.content.start))


def _generator(claim: bytes) -> str | None:
    """Name and version of the first `claim_generator_info`, else the text of `claim_generator` (version 1)."""
    # one decoder for all tags: no dates, regular expressions or decimals are made of untrusted bytes
    no_tags: defaultdict[int, Callable[[Any, bool], None]] = defaultdict(lambda: lambda *_: None)
    try:
        # text and bytes are hashed with a secret; numbers and tuples can be chosen to collide
        fields = cbor2.loads(claim, semantic_decoders=no_tags, max_depth=CLAIM_DEPTH, strict_hashable_types=True)
    except cbor2.CBORError:
        return None
    if not isinstance(fields, dict):
        return None
    info = fields.get("claim_generator_info")
    info = info[0] if isinstance(info, list) and info else info  # version 1 has a list
    name, version = (_line(info.get(key)) for key in ("name", "version")) if isinstance(info, dict) else (None, None)
    if name is None:
        return _line(fields.get("claim_generator"))
    return _line(f"{name}/{version}") if version else name


def _line(value: object) -> str | None:
    """Text as one line that a terminal, a page and a table can show; None if nothing is left of it."""
    if not isinstance(value, str):
        return None
    printable = "".join(letter if letter.isprintable() else " " for letter in value)
    return " ".join(printable.split())[:GENERATOR_LENGTH].rstrip() or None
