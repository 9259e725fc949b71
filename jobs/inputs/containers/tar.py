"""Tars: read header by header and never unpacked, plain or decompressed as they are read."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from detector.errors import ShardError, UtteranceError
from jobs.inputs.containers.decompressed import DecompressedFile, Gzip, Zstd
from jobs.inputs.containers.member import MAX_MEMBERS, Member
from jobs.inputs.containers.names import as_text, name_fault, shortened
from jobs.inputs.containers.window import Readable, Window
from jobs.storage import Stored, StoredFile

TAIL_BYTES = 1 << 20
MAX_HEADER_BYTES = 32 << 10  # before a member: its own header, its long name, its extended attributes
MAX_RECORDS = 1_000  # of extended headers that apply to the whole tar
KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
}


def members(file: StoredFile, stored: Stored) -> Iterator[Member]:
    """Yield the members of a plain tar."""
    return _members(file, stored.size)


def gzip_members(file: StoredFile, _: Stored) -> Iterator[Member]:
    """Yield the members of a tar under gzip."""
    return _members(DecompressedFile(file, Gzip), None)


def zstd_members(file: StoredFile, _: Stored) -> Iterator[Member]:
    """Yield the members of a tar under Zstandard."""
    return _members(DecompressedFile(file, Zstd), None)


def _members(file: Readable, size: int | None) -> Iterator[Member]:
    """Yield every member except folders, in order, of a tar of ``size`` bytes, or of unknown size (None).

    A member's content is read only when the caller reads it. Members that are no regular files, or whose names are
    refused, come with the error `not_a_file` or `bad_name` in place of content.

    Raises
    ------
    ShardError
        If the bytes are not a tar, break off or are damaged before its end, or hold more headers than any tar of
        recordings does.
    """
    headers = _BoundedHeaders(file)
    try:
        source = cast(BinaryIO, headers)
        with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            end = n_members = 0
            while (member := tar.next()) is not None:
                n_members += 1
                if member.offset < end or member.size < 0:
                    raise ShardError(f"byte {member.offset:,}: a header that points backwards")
                end = member.offset_data + member.size
                if size is not None and end > size:
                    raise ShardError(f"ends in the middle of {_shown(member.name)}: {size:,} of {end:,} bytes")
                if n_members > MAX_MEMBERS or len(tar.pax_headers) > MAX_RECORDS:
                    raise ShardError(f"byte {member.offset:,}: more than {MAX_MEMBERS:,} members, or too many headers")
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them in memory
                if not member.isdir():
                    if isinstance(file, DecompressedFile):
                        file.forget_before(member.offset_data)
                    yield Member(as_text(member.name), _content(file, member), member.size)
                headers.next_member()
            _check_end(file, tar.offset)
    except (tarfile.TarError, struct.error, ValueError, IndexError, OverflowError, RecursionError) as error:
        raise ShardError(f"not a tar, or damaged before its end: {error}") from error


def _content(file: Readable, member: tarfile.TarInfo) -> BinaryIO | UtteranceError:
    fault = name_fault(member.name)
    if fault is not None:
        return UtteranceError("bad_name", fault)
    if member.issparse() or not member.isreg():
        kind = KINDS.get(member.type, "a sparse file" if member.issparse() else "an entry of unknown type")
        to = f", to {_shown(member.linkname)}" if member.islnk() or member.issym() else ""
        return UtteranceError("not_a_file", f"{kind}{to}; links are not followed: store the recording itself")
    return cast(BinaryIO, Window(file, member.offset_data, member.size))


def _shown(name: str) -> str:
    return repr(shortened(as_text(name)))


class _BoundedHeaders:
    """The file that tarfile reads headers from, with a limit on the bytes between two members.

    Without it, tarfile would allocate whatever size a header claims, and there are headers on which it never ends.
    It is not a ReadOnlyFile: that costs another call for each header, of which a shard may have a million.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._n_bytes = 0
        self.seek, self.tell = file.seek, file.tell

    def next_member(self) -> None:
        """Start counting for the next member's headers."""
        self._n_bytes = 0

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes of headers; raise :class:`ShardError` above the limit."""
        self._n_bytes += size
        if self._n_bytes > MAX_HEADER_BYTES:
            raise ShardError(f"byte {self.tell():,}: headers of more than {MAX_HEADER_BYTES:,} bytes")
        return self._file.read(size)

    def seekable(self) -> bool:
        """Return True; tarfile asks."""
        return True


def _check_end(file: Readable, offset: int) -> None:
    """Raise unless only zeros follow the last member.

    tarfile takes a broken header, and the first block of zeros, for the end of the archive.
    """
    file.seek(offset)
    while block := file.read(TAIL_BYTES):
        if block.strip(b"\0"):
            raise ShardError(f"byte {offset:,}: a broken header, or members after the closing zeros; they are lost")
