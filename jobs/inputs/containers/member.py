"""Member: one recording in a container, and the limits on how many there are and how far they expand."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from detector.errors import ShardError, UtteranceError

MAX_MEMBERS = 1_000_000  # of a container
MAX_PASSES = 64  # over a member's bytes: each of 16 channels is decoded by itself, and decoders look at the end first


class Member(NamedTuple):
    """A recording in a container, under its name.

    `content` is a seekable file, valid until the next member is requested, or an error if this member cannot be read
    at all. Reading it raises :class:`~detector.errors.UtteranceError` if this member alone is broken, and
    :class:`~detector.errors.ShardError` if everything after it is lost, too.
    """

    name: str
    content: BinaryIO | UtteranceError
    size: int


FREE_MEMBERS, MEMBER_BYTES = 10_000, 64
"""Members of a container of any size, and stored bytes of each further one."""


def refuse_many(n_members: int, n_stored: int) -> None:
    """Raise if a container of ``n_stored`` bytes has more members than recordings need: each costs a row.

    Raises
    ------
    ShardError
        If there are more than some thousand and one for every :data:`MEMBER_BYTES`.

    Examples
    --------
    >>> refuse_many(1_000_000, 5_000)
    Traceback (most recent call last):
    detector.errors.ShardError: 1,000,000 members in 5,000 bytes; at most 10,078 are read
    """
    most = FREE_MEMBERS + n_stored // MEMBER_BYTES
    if n_members > most:
        raise ShardError(f"{n_members:,} members in {n_stored:,} bytes; at most {most:,} are read")


def wild(n_bytes: int) -> UtteranceError:
    """Return the error of a member whose decoder had ``n_bytes`` decompressed, most of them again and again.

    Examples
    --------
    >>> wild(1 << 30).error
    'bad_archive'
    """
    return UtteranceError(
        "bad_archive",
        f"its parts are stored in a wild order: {n_bytes:,} bytes were decompressed to read it, more than {MAX_PASSES} "
        f"passes over it; store it outside of the archive, or write it anew with its sound from front to back",
    )
