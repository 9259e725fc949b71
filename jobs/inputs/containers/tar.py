"""Tars: read header by header and never unpacked, plain or decompressed as they are read."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from detector.errors import ShardError, UtteranceError
from jobs.inputs.containers.decompressed import DecompressedFile, Gzip, Zstd
from jobs.inputs.containers.member import MAX_MEMBERS, Member
from jobs.inputs.containers.names import as_text, name_fault, shortened
from jobs.inputs.containers.sparse import SparseFile, map_fault
from jobs.inputs.containers.window import Readable, Window
from jobs.inputs.content_errors import content_errors
from jobs.inputs.expansion import bomb, exceeds_ratio
from jobs.storage import Stored, StoredFile

TAIL_BYTES = 1 << 20
MAX_PADDING = 1 << 30  # zeros behind the last member: a hole that costs its uploader nothing may have terabytes
MAX_HEADER_BYTES = 32 << 10  # before a member: its own header, its long name, its extended attributes
MAX_MAP_BYTES = 1 << 20  # of a sparse file's map in blocks of its own: about 40,000 extents
MAX_RECORDS = 1_000  # of extended headers, of a member and of the whole tar
FREE_HEADER_BYTES = 8 << 20  # of all members, beside those for each stored byte
HEADER_RATIO = 4  # bytes of headers for each stored byte: a member of a gzipped tar may be small
BREAKS_OFF = "ends in the middle of "  # a member, by its name
VENDOR_TYPES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # volume labels, second halves of files; all other types are files (POSIX)
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


def gzip_members(file: StoredFile, stored: Stored) -> Iterator[Member]:
    """Yield the members of a tar under gzip."""
    return _members(DecompressedFile(file, Gzip), stored.size)


def zstd_members(file: StoredFile, stored: Stored) -> Iterator[Member]:
    """Yield the members of a tar under Zstandard."""
    return _members(DecompressedFile(file, Zstd), stored.size)


def _members(file: Readable, size: int) -> Iterator[Member]:
    """Yield every member except folders, in order, of a tar that is stored in ``size`` bytes.

    A member's content is read only when the caller reads it. Members that are no regular files, or whose names are
    refused, come with the error `not_a_file` or `bad_name` in place of content.

    Raises
    ------
    ShardError
        If the bytes are not a tar, break off or are damaged before its end, or hold more headers than any tar of
        recordings does.
    """
    headers, contents = _BoundedHeaders(file, size), _Contents(file, size)
    is_plain = not isinstance(file, DecompressedFile)
    with content_errors(ShardError, "not a tar, or damaged before its end"):
        source = cast(BinaryIO, headers)
        with tarfile.open(
            fileobj=source, mode="r:", tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            end = n_members = 0
            while (member := cast("_Header | None", tar.next())) is not None:
                n_members += 1
                n_place = tar.offset - member.offset_data
                if member.offset < end or n_place < 0 or member.size < 0:
                    raise ShardError(f"byte {member.offset:,}: a header that points backwards")
                end = member.offset_data + min(member.n_stored, n_place)
                if is_plain and end > size:
                    raise ShardError(f"{BREAKS_OFF}{_shown(member.name)}: {size:,} of {end:,} bytes")
                if n_members > MAX_MEMBERS or len(tar.pax_headers) > MAX_RECORDS:
                    raise ShardError(f"byte {member.offset:,}: more than {MAX_MEMBERS:,} members, or too many headers")
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them in memory
                if not member.isdir():
                    if isinstance(file, DecompressedFile):
                        file.forget_before(member.offset_data)
                    yield Member(as_text(member.real_name), contents.of(member, n_place), member.size)
                headers.next_member()
            _check_end(file, tar.offset)


class _Header(tarfile.TarInfo):
    """A member's header.

    tarfile reads the map of a sparse file, and calls the real size its size.
    """

    __slots__ = ()

    @property
    def extents(self) -> list[tuple[int, int]]:
        """Offset and size of the data of a sparse file."""
        return [(offset, n_bytes) for offset, n_bytes in cast(Any, self.sparse) if n_bytes]

    @property
    def n_stored(self) -> int:
        """Bytes of the content that the tar should hold."""
        return sum(n_bytes for _, n_bytes in self.extents) if self.issparse() else self.size

    @property
    def real_name(self) -> str:
        """The name, where tarfile may give the one under which an old tar would unpack a sparse file."""
        return self.pax_headers.get("GNU.sparse.name", self.name) if self.issparse() else self.name

    def _proc_sparse(self, tar: Any) -> Any:
        tar.fileobj.begin_map()
        return super()._proc_sparse(tar)  # type: ignore[misc]

    def _proc_gnusparse_10(self, header: Any, records: Any, tar: Any) -> None:
        tar.fileobj.begin_map()
        super()._proc_gnusparse_10(header, records, tar)  # type: ignore[misc]


class _Contents:
    """Opens the contents of members, with a limit on what holes add to all of them together."""

    def __init__(self, file: Readable, size: int) -> None:
        self._file = file
        self._n_tar_bytes = size
        self._n_sparse_bytes = 0

    def of(self, member: _Header, n_bytes: int) -> BinaryIO | UtteranceError:
        """Return a member's content, for which the tar has a place of ``n_bytes``, or why it cannot be read."""
        fault = name_fault(member.real_name)
        if fault is not None:
            return UtteranceError("bad_name", fault)
        if not member.isreg() and (member.type in KINDS or member.type in VENDOR_TYPES):
            # where a link leads is not told: it may be the id of another recording, and outlive its erasure
            kind = KINDS.get(member.type, f"an entry of type {member.type.decode()}")
            return UtteranceError("not_a_file", f"{kind}; links are not followed: store the recording itself")
        if member.n_stored + -member.n_stored % tarfile.BLOCKSIZE != n_bytes:
            return UtteranceError("bad_archive", f"{member.n_stored:,} bytes, by a header, in a place of {n_bytes:,}")
        stored = Window(self._file, member.offset_data, member.n_stored)
        return cast(BinaryIO, stored) if not member.issparse() else self._sparse(member, stored)

    def _sparse(self, member: _Header, stored: Window) -> BinaryIO | UtteranceError:
        fault = map_fault(member.extents, member.size)
        if fault is not None:
            return UtteranceError("bad_archive", f"a sparse file with {fault}")
        total = self._n_sparse_bytes + member.size
        for n_bytes, n_stored in ((member.size, member.n_stored), (total, self._n_tar_bytes)):
            if exceeds_ratio(n_bytes, n_stored):
                return UtteranceError("bad_archive", f"a sparse file of {bomb(n_bytes, n_stored)}")
        self._n_sparse_bytes = total
        return cast(BinaryIO, SparseFile(stored, member.extents, member.size))


def _shown(name: str) -> str:
    return repr(shortened(as_text(name)))


class _BoundedHeaders:
    """The file that tarfile reads headers from, with limits on their bytes and records, between members and in all.

    Without them, tarfile would allocate whatever size a header claims, there are headers on which it never ends, and
    some that take it a thousand times as long as others.
    It is not a ReadOnlyFile: that costs another call for each header, of which a shard may have a million.
    """

    def __init__(self, file: Readable, size: int) -> None:
        self._file = file
        self._n_bytes = 0
        self._limit = MAX_HEADER_BYTES
        self._n_left = FREE_HEADER_BYTES + HEADER_RATIO * size
        self.seek, self.tell = file.seek, file.tell

    def next_member(self) -> None:
        """Start counting for the next member's headers."""
        self._n_bytes = 0
        self._limit = MAX_HEADER_BYTES

    def begin_map(self) -> None:
        """Allow for the map of a sparse file, the last of its headers, which is read a block at a time."""
        self._limit = MAX_HEADER_BYTES + MAX_MAP_BYTES

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes of headers; raise :class:`ShardError` above the limit."""
        self._n_bytes += size
        self._n_left -= size
        if self._n_bytes > self._limit or self._n_left < 0:
            raise ShardError(f"byte {self.tell():,}: headers of more than {self._limit:,} bytes, or far too many")
        content = self._file.read(size)
        if size > tarfile.BLOCKSIZE and content.count(b"\n") > MAX_RECORDS:
            raise ShardError(f"byte {self.tell():,}: an extended header of more than {MAX_RECORDS:,} records")
        return content

    def seekable(self) -> bool:
        """Return True; tarfile asks."""
        return True


def _check_end(file: Readable, offset: int) -> None:
    """Raise unless only zeros follow the last member.

    tarfile takes a broken header, and the first block of zeros, for the end of the archive.
    """
    file.seek(offset)
    n_bytes = 0
    while block := file.read(TAIL_BYTES):
        if block.strip(b"\0"):
            raise ShardError(f"byte {offset:,}: a broken header, or members after the closing zeros; they are lost")
        n_bytes += len(block)
        if n_bytes > MAX_PADDING:
            raise ShardError(f"byte {offset:,}: zeros follow, and are read no further than {n_bytes:,} bytes")
