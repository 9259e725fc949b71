"""Tar archives, byte for byte: headers, members, and the padding behind them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

from detector.errors import SchemaError
from jobs.erasure.parts import Budget, Kind, Part

HEADER = 512
CHECKSUM = slice(148, 156)


def is_tar(content: bytes) -> bool:
    """Return True if content begins with the header of a tar: its checksum is right. Old tars have no magic."""
    header = content[:HEADER]
    if len(header) < HEADER or not header.strip(b"\0"):
        return False
    try:
        claimed = int(header[CHECKSUM].strip(b" \0"), 8)
    except ValueError:
        return False
    return claimed == sum(header) - sum(header[CHECKSUM]) + 8 * ord(" ")


def is_in_one_member(content: bytes, start: int, end: int) -> bool:
    """Return True if these bytes of a tar are a part of one member: whoever unpacks it finds them there."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        return any(each.offset_data <= start and end <= each.offset_data + each.size for each in archive)


def tar_parts(content: bytes, budget: Budget) -> Iterator[Part]:
    """Take a tar apart.

    Raises
    ------
    SchemaError
        If a member has data, and is no file; or bytes follow the end.
    """
    place = 0
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in archive:
            header, data = content[place : member.offset_data], content[member.offset_data : archive.offset]
            place = archive.offset
            yield Part("", header, Kind.HEADER)
            yield Part(member.linkname, b"", Kind.HEADER)
            pax = "\n".join(["", *(text for pair in member.pax_headers.items() for text in pair)])
            yield Part("", pax.encode(errors="surrogateescape"), Kind.HEADER)
            yield from _of_member(member, data, budget)
        if content[archive.offset :].strip(b"\0"):
            raise SchemaError("has bytes behind the end of the tar, or a damaged header in it")


def _of_member(member: tarfile.TarInfo, data: bytes, budget: Budget) -> Iterator[Part]:
    if member.issparse():
        raise SchemaError(f"is a tar with a sparse file, {member.name}")
    if not member.isreg():
        if data.strip(b"\0"):
            raise SchemaError(f"is a tar with data of {member.name}, which is no file")
        yield Part(member.name, b"")
        return
    if len(data) < member.size:
        raise EOFError("ends within a member of the tar")
    budget.spend(member.size)
    yield Part("", data[member.size :], Kind.HEADER)  # padding
    yield Part(member.name, data[: member.size])
