"""Names of members: which ones are refused, and how long ones are shortened."""

from __future__ import annotations

import re

from detector.config import digest_of
from jobs.storage import text_of

MAX_NAME_BYTES = 1_024  # S3's limit for a key


def as_text(member: str) -> str:
    """Return a member's name as tables store it: each byte that is not UTF-8, a lone surrogate here, as an escape.

    Examples
    --------
    >>> print(as_text(b"caf\\xe9.wav".decode(errors="surrogateescape")))
    caf\\xe9.wav
    """
    return text_of(member.encode(errors="surrogateescape"))


def name_fault(member: str) -> str | None:
    """Return why a member's name is refused, or None if it is accepted.

    A program that unpacks an archive by the names in our tables must not write outside its folder.

    Parameters
    ----------
    member : str
        The name before :func:`as_text`: an escape begins with a backslash, which is refused in some places.

    Examples
    --------
    >>> name_fault("./call/2026..11/a.flac"), name_fault("../a.flac")
    (None, 'its name leads out of the archive')
    """
    if _exceeds_limit(as_text(member)):
        return f"its name is longer than {MAX_NAME_BYTES:,} bytes"
    if "\0" in member:
        return "its name holds a zero byte"
    if member.startswith(("/", "\\")) or re.match("[A-Za-z]:", member) or ".." in re.split(r"[/\\]", member):
        return "its name leads out of the archive"
    return None


def shortened(member: str) -> str:
    """Return a member's name as tables store it: whole, or its beginning and a digest if it exceeds the limit.

    Examples
    --------
    >>> shortened("a.flac"), len(shortened("a" * 10_000))
    ('a.flac', 145)
    """
    return f"{member[:128]}…{digest_of(member)}" if _exceeds_limit(member) else member


def _exceeds_limit(member: str) -> bool:
    return len(member.encode()) > MAX_NAME_BYTES
