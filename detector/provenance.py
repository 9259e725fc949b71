"""Provenance: whether a recording carries a C2PA manifest store, and which program says that it wrote it.

Generators mark what they make with a C2PA manifest ("Content Credentials"). Each container keeps the store in a place
of its own, and only that place is looked at: headers of chunks, boxes and tags are walked, the sound is never read. A
manifest is easily removed, and anybody can write one, so both facts are what the file says, not what is true.

References: C2PA Technical Specification 2.2, A.3.4 (ID3), A.3.6 (RIFF), A.5 (BMFF), and 2.3, A.3.5 (Ogg).
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from detector.jumbf import Section, boxes, claim_generator
from detector.layout.tags import synchsafe

CHUNKS = 1_000  # of a RIFF file; boxes of an MP4; frames of a tag; pages of an Ogg stream
TAGS = 8  # consecutive ID3v2 tags
HELD_BYTES = 4 << 20  # of a store that is not in one piece as it is
OBJECT_HEAD_BYTES = 4 << 10  # type, name and description of an object in a tag

MEDIA_TYPES = (b"application/c2pa", b"application/x-c2pa-manifest-store")  # the second until C2PA 1.3
BOX_UUID = bytes.fromhex("D8FEC3D6 1B0E 483C 9297 5828877EC481")
FIRST_BOXES = (b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"uuid")
PURPOSES = (b"update", b"manifest", b"original")  # the store with the active manifest comes first
RIFF_ORDERS = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">"}
SIZE_IN_DS64 = 0xFFFF_FFFF
UNREADABLE = {3: 0xC0, 4: 0x0C}  # flags of frames that are compressed or encrypted, by version of the tag
GROUPED = {3: 0x20, 4: 0x40}
UNSYNCHRONISED, LENGTH_STATED = 0x02, 0x01  # version 4


@dataclass(frozen=True)
class Provenance:
    """What a file says about its origin; nothing of it is verified.

    Parameters
    ----------
    has_c2pa : bool or None
        True if a C2PA manifest store is embedded; None if that cannot be told, as for containers that have no place
        for one.
    claim_generator : str or None
        Program that the active manifest names as its writer: one printable line of at most 200 characters,
        `name/version`. None if there is no manifest, or it cannot be read.
    """

    has_c2pa: bool | None
    claim_generator: str | None


class _CannotTellError(Exception):
    """The place of a manifest store was not reached, or the container has none."""


def provenance(file: BinaryIO) -> Provenance:
    """Look for a C2PA manifest store in WAV and other RIFF, MP3, FLAC, MP4 and its kin, and Ogg.

    Parameters
    ----------
    file : binary file
        Seekable, at any position; its position changes. Any bytes will do: damage is no error.

    Examples
    --------
    >>> provenance(io.BytesIO(b"RIFF\\4\\0\\0\\0WAVE"))
    Provenance(has_c2pa=False, claim_generator=None)
    >>> provenance(io.BytesIO(b"caff\\0\\1\\0\\0"))
    Provenance(has_c2pa=None, claim_generator=None)
    """
    try:
        store = _store(Section(file, 0, file.seek(0, os.SEEK_END)))
    except _CannotTellError:
        return Provenance(None, None)
    return Provenance(store is not None, claim_generator(store) if store else None)


def _store(file: Section) -> Section | None:
    """Find the manifest store, which may be empty or damaged; None if there is none."""
    sound = file
    for _ in range(TAGS):
        head = sound.read(0, 12)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        # bit 4 of the flags announces a footer of ten bytes
        n_tag = 10 + synchsafe(head[6:10])
        if (store := _in_tag(head, sound.part(10, n_tag - 10))) is not None:
            return store
        sound = sound.part(n_tag + (10 if head[5] & 0x10 else 0))
    if head[:4] in RIFF_ORDERS:
        return _in_riff(sound, RIFF_ORDERS[head[:4]])
    if head[4:8] in FIRST_BOXES:
        return _in_boxes(sound)
    if head[:4] == b"OggS":
        return _in_ogg(sound)
    is_mpeg = head[:1] == b"\xff" and head[1:2] >= b"\xe0"
    if sound.start > 0 or head[:4] == b"fLaC" or is_mpeg:
        return None  # its place is a tag in front, which was looked at
    raise _CannotTellError


def _in_riff(form: Section, order: str) -> Section | None:
    at, data_bytes = 12, SIZE_IN_DS64
    for _ in range(CHUNKS):
        header = form.read(at, 24)
        if len(header) < 8:
            return None
        name, n_bytes = struct.unpack_from(f"{order}4sI", header)
        if name == b"C2PA":
            return form.part(at + 8, n_bytes)
        if name == b"ds64" and len(header) == 24:
            (data_bytes,) = struct.unpack_from("<Q", header, 16)
        if name == b"data" and n_bytes == SIZE_IN_DS64:
            n_bytes = data_bytes
        at += 8 + n_bytes + n_bytes % 2
    raise _CannotTellError


def _in_boxes(file: Section) -> Section | None:
    """Look through the top-level boxes: the store stands before the sound, an update of it at the very end."""
    found: dict[bytes, Section] = {}
    for box in islice(boxes(file), CHUNKS):
        if box.name == b"uuid" and box.content.read(0, 16) == BOX_UUID:
            # version and flags, the purpose up to a zero byte, the offset of another box, the store
            purpose = box.content.read(20, 9).partition(b"\0")[0]
            found.setdefault(purpose, box.content.part(20 + len(purpose) + 1 + 8))
    return next((found[purpose] for purpose in PURPOSES if purpose in found), None)


def _in_ogg(file: Section) -> Section | None:
    """Look at the first page of each logical stream; these come before all others, and the store is a stream."""
    at, serial, held = 0, b"", bytearray()
    for _ in range(CHUNKS):
        head = file.read(at, 27 + 255)
        if head[:4] != b"OggS" or len(head) < 27:
            break
        sizes = head[27 : 27 + head[26]]
        body = file.part(at + 27 + head[26], sum(sizes))
        if not serial and not head[5] & 2:
            return None
        if not serial and body.read(0, 5) == b"\0c2pa":
            serial = head[14:18]
        if serial == head[14:18]:
            held += body.read(0, body.n_bytes)
            if head[5] & 4 or len(held) > HELD_BYTES:
                break
        at += 27 + head[26] + sum(sizes)
    return _held(bytes(held[5:])) if serial else None


def _in_tag(head: bytes, tag: Section) -> Section | None:
    """Look for an encapsulated object of C2PA's media type among the frames of an ID3v2 tag."""
    version, flags = head[3], head[5]
    if version not in UNREADABLE:
        return None
    if flags & 0x80 and version == 3:
        if tag.n_bytes > HELD_BYTES:
            raise _CannotTellError
        tag = _synchronised(tag)
    at = 0
    if flags & 0x40:  # an extended header; version 4 counts its size field
        at = synchsafe(tag.read(0, 4)) if version == 4 else 4 + int.from_bytes(tag.read(0, 4), "big")
    for _ in range(CHUNKS):
        frame = tag.read(at, 10)
        if len(frame) < 10 or frame[0] == 0:  # padding
            return None
        n_bytes = synchsafe(frame[4:8]) if version == 4 else int.from_bytes(frame[4:8], "big")
        if frame[:4] == b"GEOB" and (store := _in_object(version, frame[9], tag.part(at + 10, n_bytes))) is not None:
            return store
        at += 10 + n_bytes
    raise _CannotTellError


def _in_object(version: int, flags: int, content: Section) -> Section | None:
    if flags & UNREADABLE[version]:
        raise _CannotTellError
    content = content.part(1 if flags & GROUPED[version] else 0)
    if version == 4:
        content = content.part(4 if flags & LENGTH_STATED else 0)
        content = _synchronised(content) if flags & UNSYNCHRONISED else content
    head = content.read(0, OBJECT_HEAD_BYTES)
    media_type = head[1:].partition(b"\0")[0]
    if media_type not in MEDIA_TYPES:
        return None
    at = 1 + len(media_type) + 1
    width = 2 if head[0] in (1, 2) else 1  # of a letter: UTF-16 or not
    for _ in ("name", "description"):
        while any(head[at : at + width]):
            at += width
        at += width
    return content.part(at)


def _synchronised(section: Section) -> Section:
    """Undo the unsynchronisation of ID3v2: a zero byte after each byte of ones."""
    return _held(section.read(0, HELD_BYTES).replace(b"\xff\0", b"\xff"))


def _held(content: bytes) -> Section:
    return Section(io.BytesIO(content), 0, len(content))
