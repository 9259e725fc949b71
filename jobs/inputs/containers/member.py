"""Member: one recording in a container, and the limits on how many there are and how far they expand."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from detector.errors import UtteranceError

MAX_MEMBERS = 1_000_000  # of a container
MAX_RATIO = 200  # decompressed bytes for each stored byte
FREE_BYTES = 64 << 20  # decompressed bytes that are always allowed: 35 minutes of silence at 16 kHz


class Member(NamedTuple):
    """A recording in a container, under its name.

    `content` is a seekable file, valid until the next member is requested, or an error if this member cannot be read
    at all. Reading it raises :class:`~detector.errors.UtteranceError` if this member alone is broken, and
    :class:`~detector.errors.ShardError` if everything after it is lost, too.
    """

    name: str
    content: BinaryIO | UtteranceError
    size: int


def exceeds_ratio(n_bytes: int, n_stored: int) -> bool:
    """Return True if ``n_bytes`` decompressed from ``n_stored`` exceed the limit for decompression bombs.

    Examples
    --------
    >>> exceeds_ratio(10**9, 10**6), exceeds_ratio(10**9, 10**9)
    (True, False)
    """
    return n_bytes > FREE_BYTES + MAX_RATIO * n_stored


def bomb(n_bytes: int, n_stored: int) -> str:
    """Return the message for content that :func:`exceeds_ratio`."""
    return f"{n_bytes:,} bytes from {n_stored:,}: a decompression bomb, above the limit of {MAX_RATIO} to 1"
