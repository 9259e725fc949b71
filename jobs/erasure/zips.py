"""Zip archives, byte for byte: members, and whatever stands before, between and behind them.

```
what precedes ─ local header, member ─ what is between ─ local header, member ─ directory, comment ─ what follows
```

Some readers go by the directory at the end and some by the local headers; so all that neither covers is content of its
own, such as a zip that another one was appended to.

Reference: PKWARE APPNOTE 6.3.10.
"""

from __future__ import annotations

import bz2
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

from detector.errors import SchemaError
from jobs.erasure.parts import Budget, Kind, Part
from jobs.erasure.streams import inflate

LOCAL, END = b"PK\x03\x04", b"PK\x05\x06"
LOCAL_BYTES, END_BYTES = 30, 22
IS_ENCRYPTED, HAS_DESCRIPTOR = 0x1, 0x8


def zip_directory(content: bytes) -> zipfile.ZipFile | None:
    """Return the directory of a zip that content is or ends with; None if a reader of zip would find no member."""
    if END not in content[-(1 << 16) - END_BYTES :]:
        return None
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError):
        return None
    return archive if archive.infolist() or content.startswith(b"PK") else None


def extent(content: bytes, archive: zipfile.ZipFile) -> tuple[int, int]:
    """Return where the first member of a zip begins, and its directory ends."""
    first = min((each.header_offset for each in archive.infolist()), default=archive.start_dir)
    return first, content.rindex(END) + END_BYTES


def zip_parts(content: bytes, archive: zipfile.ZipFile, budget: Budget) -> Iterator[Part]:
    """Take a zip apart.

    Raises
    ------
    SchemaError
        If it is encrypted, compressed by another method than deflate and bzip2, damaged, or its members overlap.
    """
    place = 0
    for member in sorted(archive.infolist(), key=lambda each: each.header_offset):
        if member.header_offset < place:
            raise SchemaError("is a zip whose members overlap")
        yield from _unclaimed(content[place : member.header_offset])
        n_name, n_extra = _local_lengths(content, member.header_offset)
        data = member.header_offset + LOCAL_BYTES + n_name + n_extra
        name = content[member.header_offset + LOCAL_BYTES :][:n_name]
        yield Part(name.decode(errors="replace"), b"", Kind.HEADER)
        yield Part("", content[data - n_extra : data], Kind.FIELDS)
        yield Part("", member.extra, Kind.FIELDS)
        yield Part("", member.comment, Kind.HEADER)
        yield Part(member.filename, _data(content[data : data + member.compress_size], member, budget))
        place = data + member.compress_size
        place += _descriptor_length(content[place : place + 24], member)
    start = archive.start_dir
    if start < place:
        raise SchemaError("is a zip whose members overlap")
    yield from _unclaimed(content[place:start])
    end = content.rindex(END) + END_BYTES
    n_comment = int.from_bytes(content[end - 2 : end], "little")
    yield from _unclaimed(content[end : end + n_comment])
    yield from _unclaimed(content[end + n_comment :].strip(b"\0"))


def _unclaimed(content: bytes) -> Iterator[Part]:
    if content:
        yield Part("", content)


def _local_lengths(content: bytes, start: int) -> tuple[int, int]:
    """Return how long a local header's name and its extra field are."""
    header = content[start : start + LOCAL_BYTES]
    if len(header) < LOCAL_BYTES or not header.startswith(LOCAL):
        raise SchemaError("is a zip with a damaged header")
    return struct.unpack("<26xHH", header)


def _data(stored: bytes, member: zipfile.ZipInfo, budget: Budget) -> bytes:
    if member.flag_bits & IS_ENCRYPTED:
        raise SchemaError("is an encrypted zip")
    if member.compress_type == zipfile.ZIP_STORED:
        budget.spend(len(stored))
        data = stored
    elif member.compress_type == zipfile.ZIP_DEFLATED:
        data = inflate(stored, budget)
    elif member.compress_type == zipfile.ZIP_BZIP2:
        stream = bz2.BZ2Decompressor()
        data = stream.decompress(stored, budget.bytes_left + 1)
        budget.spend(len(data))
        if not stream.eof or stream.unused_data:
            raise SchemaError("is a zip with a damaged member")
    else:
        raise SchemaError(f"is a zip with a member that is compressed by method {member.compress_type}")
    if len(stored) != member.compress_size or len(data) != member.file_size or zlib.crc32(data) != member.CRC:
        raise SchemaError("is a zip with a damaged member")
    return data


def _descriptor_length(behind: bytes, member: zipfile.ZipInfo) -> int:
    """Return how long the record is that may repeat a member's checksum and sizes behind it."""
    if member.flag_bits & HAS_DESCRIPTOR:
        sizes = (member.CRC, member.compress_size, member.file_size)
        for magic in (b"PK\x07\x08", b""):
            for form in ("<LQQ", "<LLL"):
                try:
                    record = magic + struct.pack(form, *sizes)
                except struct.error:
                    continue  # sizes of more than 4 GiB
                if behind.startswith(record):
                    return len(record)
    return 0
