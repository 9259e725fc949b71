"""Zips: read by their directory, which stands at the end, member by member in the order in which they are stored."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO, cast

from detector.errors import ShardError, UtteranceError
from jobs.errors import StorageError
from jobs.inputs.containers.member import MAX_MEMBERS, MAX_RATIO, Member, exceeds_ratio, name_fault
from jobs.inputs.containers.window import Readable
from jobs.storage import Stored, StoredFile

MAX_DIRECTORY_BYTES = 32 << 20  # about 300,000 members
LOCAL_BYTES = 30  # of the header before a member's content, less its name
PIECE_BYTES = 1 << 20  # zipfile holds what a stream gives in one piece, whatever size the directory says
ENCRYPTED = 0x1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError)


def walk(file: StoredFile, _: Stored) -> Iterator[Member]:
    """Walk a zip: every member but folders, in the order of their places.

    Raises
    ------
    ShardError
        Where there is no directory, or it is beyond the limits, or members lie one over another.
    """
    try:
        with zipfile.ZipFile(cast(BinaryIO, _Directory(file))) as opened:
            members = sorted(opened.infolist(), key=lambda member: member.header_offset)
            _refuse_overlaps(members, opened.start_dir)
            for member in members:
                if not member.filename.endswith("/"):  # zipfile's is_dir fails where there is no name
                    yield Member(member.filename, _content(opened, member), member.file_size)
    except StorageError:
        raise
    except FAULTS as error:
        raise ShardError(f"no zip, or its directory is broken: {error}") from error


def _refuse_overlaps(members: list[zipfile.ZipInfo], end: int) -> None:
    """One content under many names is how a small zip becomes a large one."""
    if len(members) > MAX_MEMBERS:
        raise ShardError(f"{len(members):,} members; {MAX_MEMBERS:,} are the most")
    places = [member.header_offset for member in members[1:]] + [end]
    for member, following in zip(members, places, strict=False):
        if member.header_offset + LOCAL_BYTES + member.compress_size > following:
            raise ShardError(f"byte {member.header_offset:,}: a member that reaches into what follows it")


def _content(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO | UtteranceError:
    fault = name_fault(member.filename)
    if fault is not None:
        return UtteranceError("bad_name", fault)
    if stat.S_ISLNK(member.external_attr >> 16):
        return UtteranceError("not_a_file", "a symbolic link; links are not followed: store the recording itself")
    if member.flag_bits & ENCRYPTED:
        return UtteranceError("encrypted", "under a password; store it without one")
    if member.compress_type not in METHODS:
        name = zipfile.compressor_names.get(member.compress_type, member.compress_type)  # type: ignore[attr-defined]
        return UtteranceError("bad_archive", f"packed by {name}; stored and deflated members are read")
    if exceeds_ratio(member.file_size, member.compress_size):
        found = f"{member.file_size:,} bytes from {member.compress_size:,}"
        return UtteranceError("bad_archive", f"{found}: more than {MAX_RATIO} from one is a bomb")
    try:
        return cast(BinaryIO, _Content(opened.open(member), member.file_size))
    except StorageError:
        raise
    except FAULTS as error:
        return UtteranceError("bad_archive", f"its header is broken: {error}")


class _Content:
    """A member's content as a file: its faults are its own, and it never ends before it says."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size

    def read(self, size: int = -1) -> bytes:
        """As any file's, but never less than is asked for before the end."""
        left = self._size - self._file.tell()
        n_wanted = left if size < 0 else min(size, left)
        parts = []
        while n_wanted > 0:
            parts.append(self._piece(min(n_wanted, PIECE_BYTES)))
            n_wanted -= len(parts[-1])
        return b"".join(parts)

    def _piece(self, size: int) -> bytes:
        try:
            part = self._file.read(size)
            if self._file.tell() == self._size:
                self._file.read(1)  # only now its checksum is looked at
        except StorageError:
            raise
        except FAULTS as error:
            raise UtteranceError("bad_archive", f"its content is broken: {error}") from error
        if not part:
            raise UtteranceError("bad_archive", f"its content ends at {self._file.tell():,} of {self._size:,} bytes")
        return part

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As any file's; a step back inflates it from its front."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size}[whence]
        try:
            return self._file.seek(min(max(0, base + offset), self._size))
        except StorageError:
            raise
        except FAULTS as error:
            raise UtteranceError("bad_archive", f"its content is broken: {error}") from error

    def tell(self) -> int:
        """As any file's."""
        return self._file.tell()


class _Directory:
    """A zip's file as zipfile sees it: it would hold a directory of any size."""

    def __init__(self, file: Readable) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """As any file's."""
        if size > MAX_DIRECTORY_BYTES:
            raise ShardError(f"a directory of {size:,} bytes; {MAX_DIRECTORY_BYTES:,} are the most")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As any file's."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As any file's."""
        return self._file.tell()

    def seekable(self) -> bool:
        """It is; zipfile asks."""
        return True
