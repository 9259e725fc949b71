"""Sparse members of tars, as GNU tar and bsdtar write them, and with maps that lie.

GNU tar 1.34 makes the same with `--sparse --format=gnu` and `--format=posix --sparse-version=0.0|0.1|1.0`. The product
read those, too, when this was written, and gave the bytes of the files.
"""

from __future__ import annotations

import tarfile

FORMS = ("gnu", "0.0", "0.1", "1.0")
"""The old format of GNU tar, and the versions of its format in extended headers; macOS writes 1.0."""

BLOCK = 512
Extents = list[tuple[int, int]]


def sparse_member(
    name: str, content: bytes, extents: Extents, form: str, *, size: int | None = None, stored: bytes | None = None
) -> bytes:
    """Return a member with its headers and its padding.

    Parameters
    ----------
    content : bytes
        The whole content, holes included.
    extents : list of (int, int)
        Offset and size of each part that is stored.
    form : str
        One of :data:`FORMS`.
    size : int, optional
        The real size that the headers claim, if it is not that of the content.
    stored : bytes, optional
        What is stored, if it is not what the extents name.
    """
    size = len(content) if size is None else size
    data = b"".join(content[at : at + n] for at, n in extents) if stored is None else stored
    if form == "gnu":
        return _old_header(name, size, extents, len(data)) + padded(data)
    records = {"GNU.sparse.name": name, "GNU.sparse.size": str(size), "GNU.sparse.numblocks": str(len(extents))}
    hidden = f"./GNUSparseFile.1/{name}"
    if form == "0.0":
        pairs = [(f"GNU.sparse.{key}", str(n)) for each in extents for key, n in zip(("offset", "numbytes"), each)]  # noqa: B905
        return extended([*list(records.items())[1:], *pairs]) + _header(name, len(data)) + padded(data)
    if form == "0.1":
        records["GNU.sparse.map"] = ",".join(f"{at},{n}" for at, n in extents)
        records["path"] = hidden  # as GNU tar does if it is long
        return extended(list(records.items())) + _header("x", len(data)) + padded(data)
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
    records["GNU.sparse.realsize"] = str(size)
    numbers = [len(extents), *(number for each in extents for number in each)]
    content = padded("".join(f"{number}\n" for number in numbers).encode()) + data
    return extended(list(records.items())) + _header(hidden[:90], len(content)) + padded(content)


def padded(content: bytes) -> bytes:
    """Return content that fills whole blocks."""
    return content + bytes(-len(content) % BLOCK)


def extended(records: list[tuple[str, str]], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return an extended header with these records."""
    content = b"".join(map(_record, records))
    return _header("x", len(content), kind) + padded(content)


def _record(record: tuple[str, str]) -> bytes:
    text = f" {record[0]}={record[1]}\n".encode()
    n_digits = next(n for n in range(1, 9) if len(str(len(text) + n)) == n)  # the length counts its own digits
    return str(len(text) + n_digits).encode() + text


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def _number(number: int) -> bytes:
    return b"%011o\0" % number if 0 <= number < 8**11 else b"\x80" + (number % 256**11).to_bytes(11, "big")


def _old_header(name: str, size: int, extents: Extents, n_stored: int) -> bytes:
    header = bytearray(_header(name, n_stored, tarfile.GNUTYPE_SPARSE))
    numbers = [_number(at) + _number(n) for at, n in extents]
    header[386:482] = b"".join(numbers[:4]).ljust(96, b"\0")
    header[482] = len(numbers) > 4
    header[483:495] = _number(size)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    blocks = [numbers[at : at + 21] for at in range(4, len(numbers), 21)]
    more = [b"".join(block).ljust(504, b"\0") + bytes([block is not blocks[-1]]) + bytes(7) for block in blocks]
    return bytes(header) + b"".join(more)
