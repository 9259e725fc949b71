"""A member: one recording of a container, and what its name may be."""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

from detector.config import digest_of
from detector.errors import UtteranceError

MAX_MEMBERS = 1_000_000  # of a container; they are looked at one by one
MAX_NAME_BYTES = 1_024  # of a member; S3 allows a key as many
MAX_RATIO = 200  # bytes of content for one that is stored
FREE_BYTES = 64 << 20  # of content, whatever is stored: 35 minutes of silence at 16 kHz


class Member(NamedTuple):
    """What a container holds under a name.

    `content` is seekable, and valid until the next member is asked for; in its place stands an error where there is
    none to read. Reading it raises :class:`~detector.errors.UtteranceError` where this member alone is broken, and
    :class:`~detector.errors.ShardError` where what follows is lost, too.
    """

    name: str
    content: BinaryIO | UtteranceError
    size: int


def name_fault(member: str) -> str | None:
    """Why a member's name is refused, None where it is not: who unpacks by our tables must not be led elsewhere.

    Examples
    --------
    >>> name_fault("./call/2026..11/a.flac"), name_fault("../a.flac")
    (None, 'its name leads out of the archive')
    """
    if len(member.encode(errors="backslashreplace")) > MAX_NAME_BYTES:
        return f"its name is longer than {MAX_NAME_BYTES:,} bytes"
    if "\0" in member:
        return "its name holds a zero byte"
    if member.startswith(("/", "\\")) or re.match("[A-Za-z]:", member) or ".." in re.split(r"[/\\]", member):
        return "its name leads out of the archive"
    return None


def short(member: str) -> str:
    """A member's name as tables hold it: itself, or its beginning and a digest where it is too long for one.

    Examples
    --------
    >>> short("a.flac"), len(short("a" * 10_000))
    ('a.flac', 145)
    """
    if len(member.encode(errors="backslashreplace")) <= MAX_NAME_BYTES:
        return member
    return f"{member[:128]}…{digest_of(member)}"


def exceeds_ratio(n_bytes: int, n_stored: int) -> bool:
    """Whether so many bytes of content are more than recordings ever come to from so many that are stored.

    Examples
    --------
    >>> swells(10**9, 10**6), swells(10**9, 10**9)
    (True, False)
    """
    return n_bytes > FREE_BYTES + MAX_RATIO * n_stored
