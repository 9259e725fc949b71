"""Tars: walked header by header, never unpacked, plain or inflated as they are read."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from detector.errors import ShardError, UtteranceError
from jobs.inputs.containers.inflate import Gzip, Inflated, Zstd
from jobs.inputs.containers.member import MAX_MEMBERS, Member, name_fault, short
from jobs.inputs.containers.window import Readable, Window
from jobs.storage import Stored, StoredFile

TAIL_BYTES = 1 << 20
MAX_HEADER_BYTES = 32 << 10  # before a member: its own, its long name, its extended attributes
MAX_RECORDS = 1_000  # of extended headers that hold for a whole tar
KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
}


def walk(file: StoredFile, stored: Stored) -> Iterator[Member]:
    """Walk a plain tar."""
    return members(file, stored.size)


def walk_gzip(file: StoredFile, _: Stored) -> Iterator[Member]:
    """Walk a tar under gzip."""
    return members(Inflated(file, Gzip), None)


def walk_zstd(file: StoredFile, _: Stored) -> Iterator[Member]:
    """Walk a tar under Zstandard."""
    return members(Inflated(file, Zstd), None)


def members(file: Readable, size: int | None) -> Iterator[Member]:
    """Walk a tar of ``size`` bytes (None: nobody knows): every member but folders, in order.

    The content is read only where it is asked for, and valid until the next member is. In its place stands an
    `UtteranceError` where there is none, `not_a_file`, or the name is none, `bad_name`.

    Raises
    ------
    ShardError
        Where the bytes are no tar, or stop being one before its end; and where there are more headers than any tar
        of recordings has.
    """
    headers = _Headers(file)
    try:
        # names of any bytes become text that Parquet can hold
        with tarfile.open(fileobj=cast(BinaryIO, headers), mode="r:", errors="backslashreplace") as tar:
            end = n_members = 0
            while (member := tar.next()) is not None:
                n_members += 1
                if member.offset < end or member.size < 0:
                    raise ShardError(f"byte {member.offset:,}: a header that points backwards")
                end = member.offset_data + member.size
                if size is not None and end > size:
                    raise ShardError(f"ends in the middle of {short(member.name)!r}: {size:,} of {end:,} bytes")
                if n_members > MAX_MEMBERS or len(tar.pax_headers) > MAX_RECORDS:
                    raise ShardError(f"byte {member.offset:,}: more than {MAX_MEMBERS:,} members, or too many headers")
                tar.members.clear()  # type: ignore[attr-defined]  # it would remember all of them, for seeking back
                if not member.isdir():
                    if isinstance(file, Inflated):
                        file.mark(member.offset_data)
                    yield Member(member.name, _content(file, member), member.size)
                headers.begin()
            _check_end(file, tar.offset)
    except (tarfile.TarError, struct.error, ValueError, IndexError, OverflowError, RecursionError) as error:
        raise ShardError(f"no tar, or not to its end: {error}") from error


def _content(file: Readable, member: tarfile.TarInfo) -> BinaryIO | UtteranceError:
    fault = name_fault(member.name)
    if fault is not None:
        return UtteranceError("bad_name", fault)
    if member.issparse() or not member.isreg():
        kind = KINDS.get(member.type, "a file with holes" if member.issparse() else "of a kind that nobody knows")
        to = f", to {short(member.linkname)!r}" if member.islnk() or member.issym() else ""
        return UtteranceError("not_a_file", f"{kind}{to}; links are not followed: store the recording itself")
    return cast(BinaryIO, Window(file, member.offset_data, member.size))


class _Headers:
    """A tar's file as tarfile sees it: what it reads on its way from one member to the next is bounded.

    It would hold whatever size a header gives itself, and there are headers at which it reads for ever.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._n_bytes = 0

    def begin(self) -> None:
        """A member is behind us."""
        self._n_bytes = 0

    def read(self, size: int) -> bytes:
        """As any file's."""
        self._n_bytes += size
        if self._n_bytes > MAX_HEADER_BYTES:
            raise ShardError(f"byte {self._file.tell():,}: headers of more than {MAX_HEADER_BYTES:,} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As any file's."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As any file's."""
        return self._file.tell()

    def seekable(self) -> bool:
        """It is; tarfile asks."""
        return True


def _check_end(file: Readable, offset: int) -> None:
    """After the last member come zeros or nothing; tarfile takes a broken header, and the first zeros, for the end."""
    file.seek(offset)
    while block := file.read(TAIL_BYTES):
        if block.strip(b"\0"):
            raise ShardError(f"byte {offset:,}: a broken header, or members behind the closing zeros; they are lost")
