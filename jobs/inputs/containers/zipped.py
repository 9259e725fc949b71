"""Zips: read by the directory at their end, member by member in the order in which they are stored."""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import IO, BinaryIO, cast

from detector.errors import ShardError, UtteranceError
from jobs.inputs.containers.member import MAX_MEMBERS, MAX_PASSES, Member, wild
from jobs.inputs.containers.names import name_fault
from jobs.inputs.content_errors import content_errors
from jobs.inputs.expansion import FREE_BYTES, bomb, exceeds_ratio
from jobs.storage import ReadOnlyFile, Stored, StoredFile

MAX_DIRECTORY_BYTES = 32 << 20  # about 300,000 members
LOCAL, LOCAL_BYTES = b"PK\3\4", 30  # how the header before a member's content begins, and its length without the name
READ_BYTES = 1 << 20  # zipfile holds all that one read of a stream gives, whatever size the directory claims
ENTRY, ENTRY_BYTES = b"PK\1\2", 46  # of the directory: how one begins, and its length without its name
ENCRYPTED, UTF8 = 0x1, 0x800
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
BROKEN = partial(UtteranceError, "bad_archive")


def members(file: StoredFile, _: Stored) -> Iterator[Member]:
    """Yield every member except folders, in the order in which they are stored.

    Raises
    ------
    ShardError
        If the directory is missing or above the limits, or if members overlap; behind the last one, if there are others
        before the first that the directory does not list.
    """
    with content_errors(ShardError, "not a zip, or its directory is broken"), _opened(file) as opened:
        infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
        _refuse_overlaps(infos, opened.start_dir)
        for info in infos:
            # zipfile's is_dir fails on an empty name, and takes what has content for a folder
            if not info.filename.endswith("/") or info.file_size or info.compress_size:
                yield Member(info.filename, _content(opened, info), info.file_size)
        _refuse_unlisted(file, infos[0].header_offset if infos else opened.start_dir)


def _opened(file: StoredFile) -> zipfile.ZipFile:
    directory = _BoundedDirectory(file)
    try:
        return zipfile.ZipFile(cast(BinaryIO, directory))
    except UnicodeDecodeError:  # of one name, and zipfile would give up all members for it
        directory.is_forgiving = True
        opened = zipfile.ZipFile(cast(BinaryIO, directory))
        directory.is_forgiving = False
        return opened


def _refuse_overlaps(infos: list[zipfile.ZipInfo], end: int) -> None:
    """Raise if members overlap: a small zip can claim huge contents by listing the same bytes many times."""
    if len(infos) > MAX_MEMBERS:
        raise ShardError(f"{len(infos):,} members; at most {MAX_MEMBERS:,} are allowed")
    next_offsets = [info.header_offset for info in infos[1:]] + [end]
    for info, next_offset in zip(infos, next_offsets, strict=False):
        if info.header_offset + LOCAL_BYTES + info.compress_size > next_offset:
            raise ShardError(f"byte {info.header_offset:,}: a member that overlaps what follows it")


def _refuse_unlisted(file: StoredFile, first: int) -> None:
    """Raise if the file begins with a member that its directory does not list, as the first of two joined zips does."""
    file.seek(0)
    if first > 0 and file.read(len(LOCAL)) == LOCAL:
        raise ShardError(
            f"byte 0: {first:,} bytes of members that its directory does not list, as of another zip in front; "
            f"split joined zips, or pack their members anew"
        )


def _content(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO | UtteranceError:
    fault = name_fault(info.filename)
    if fault is not None:
        return UtteranceError("bad_name", fault)
    if stat.S_ISLNK(info.external_attr >> 16):
        return UtteranceError("not_a_file", "a symbolic link; links are not followed: store the recording itself")
    if info.flag_bits & ENCRYPTED:
        return UtteranceError("encrypted", "protected by a password; store it without one")
    if info.compress_type not in METHODS:
        name = zipfile.compressor_names.get(info.compress_type, info.compress_type)  # type: ignore[attr-defined]
        return UtteranceError("bad_archive", f"compressed by {name}; only stored and deflated members are read")
    if exceeds_ratio(info.file_size, info.compress_size):
        return UtteranceError("bad_archive", bomb(info.file_size, info.compress_size))
    try:
        with content_errors(_unlike, ""):
            return cast(BinaryIO, _Content(opened.open(info), info.file_size))
    except UtteranceError as error:
        return error


def _unlike(_: str) -> UtteranceError:
    """Return the error of a member's header, without the name in it: an erasure of that id would not find it there."""
    return BROKEN("its header is broken: it is not the one that the archive's directory describes")


class _Content(ReadOnlyFile):
    """A member's content as a file: broken bytes fail this member alone, and a read never ends early.

    A step back decompresses the member from its beginning, so what a decoder may have decompressed is limited.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file = file
        self._n_bytes = size
        self._n_left = FREE_BYTES + MAX_PASSES * size

    def _read_at(self, offset: int, size: int) -> bytes:
        n_remaining = self._n_bytes - offset
        n_wanted = n_remaining if size < 0 else min(size, n_remaining)
        parts = []
        while n_wanted > 0:
            parts.append(self._read_some(offset, min(n_wanted, READ_BYTES)))
            offset += len(parts[-1])
            n_wanted -= len(parts[-1])
        return b"".join(parts)

    def _read_some(self, offset: int, size: int) -> bytes:
        self._spend(offset, size)
        with content_errors(BROKEN, "its content is broken"):
            if self._file.tell() != offset:
                self._file.seek(offset)  # zipfile may stop checking the CRC after a seek
            part = self._file.read(size)
            if offset + len(part) == self._n_bytes:
                self._file.read(1)  # zipfile checks the CRC only in a read at the end
        if not part:
            raise UtteranceError("bad_archive", f"its content ends at {offset:,} of {self._n_bytes:,} bytes")
        return part

    def _spend(self, offset: int, size: int) -> None:
        """Count what a read decompresses."""
        place = self._file.tell()
        self._n_left -= size + (offset - place if offset >= place else offset)
        if self._n_left < 0:
            raise wild(FREE_BYTES + MAX_PASSES * self._n_bytes)

    def _size(self) -> int:
        return self._n_bytes


class _BoundedDirectory(ReadOnlyFile):
    """The file that zipfile reads from, with a limit on the directory, which zipfile would hold at any size."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__()
        self._file = file
        self.is_forgiving = False  # of names that are not UTF-8, while the directory is read

    def _read_at(self, offset: int, size: int) -> bytes:
        if size > MAX_DIRECTORY_BYTES:
            raise ShardError(f"a directory of {size:,} bytes; at most {MAX_DIRECTORY_BYTES:,} are allowed")
        self._file.seek(offset)
        content = self._file.read(size)
        return _without_false_claims(content) if self.is_forgiving else content

    def _size(self) -> int:
        return self._file.seek(0, os.SEEK_END)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to an offset; OSError where one from the end lies before the first byte, by which zipfile sees it."""
        if whence == os.SEEK_END and offset < -self._size():
            raise OSError(errno.EINVAL, "before the first byte")
        return super().seek(offset, whence)


def _without_false_claims(directory: bytes) -> bytes:
    """Return a directory in which a name that claims to be UTF-8, and is not, claims nothing: it is read as cp437."""
    content, at = bytearray(directory), 0
    while content.startswith(ENTRY, at) and at + ENTRY_BYTES <= len(content):
        (flags,) = struct.unpack_from("<H", content, at + 8)
        n_name, n_extra, n_comment = struct.unpack_from("<3H", content, at + 28)
        try:
            content[at + ENTRY_BYTES : at + ENTRY_BYTES + n_name].decode()
        except UnicodeDecodeError:
            struct.pack_into("<H", content, at + 8, flags & ~UTF8)
        at += ENTRY_BYTES + n_name + n_extra + n_comment
    return bytes(content)
