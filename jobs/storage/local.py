"""Files of this machine, or of a file system that it mounts; a file that is written appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import posixpath
from collections.abc import Iterator
from stat import S_ISREG
from typing import BinaryIO, NamedTuple

from jobs.storage.files import StoredFile
from jobs.storage.globs import Glob
from jobs.storage.names import path_of, uri_of
from jobs.storage.objects import (
    ABSENT,
    Found,
    LeaveOut,
    Listing,
    NoPermissionError,
    NotFoundError,
    Stored,
    source_changed,
    storage_errors,
)
from jobs.storage.owners import give, make_folders
from jobs.storage.tags import is_same, source_tag, tag_of, without_ctime
from jobs.storage.walk import DRAFT, is_draft, look_below, stored_at, walk

TICK_NANOSECONDS = 1_000


class _Draft(NamedTuple):
    """A file that is written, and the descriptor that holds it."""

    path: str
    held: int


class Local:
    """The store of local paths; a file's tag is made of its times: see :mod:`jobs.storage.tags`.

    A file of ours that replaces another one gets a later time, however fast the writes follow each other and whatever
    the clock does. So no tag is used twice.
    """

    def stat(self, uri: str, *, as_source: bool = False) -> Stored | None:
        """The file; None if there is none, or a folder."""
        path = path_of(uri)
        try:
            with storage_errors(uri, NoPermissionError):
                found = os.stat(path)
        except NotFoundError:
            return None
        return _regular(path, found, as_source=as_source)

    def listing(self, folder: str, follow: str, leave_out: LeaveOut = None) -> Listing | None:
        """List every file below, sorted; None if there is no such folder."""
        path = path_of(folder)
        if not os.path.isdir(path):
            return None
        with storage_errors(folder, NoPermissionError):
            return walk(path, follow, leave_out=leave_out)

    def names(self, folder: str) -> Iterator[str]:
        """Read the folder, and look at none of its files."""
        if not os.path.isdir(path_of(folder)):
            return
        with storage_errors(folder, NoPermissionError), os.scandir(path_of(folder)) as entries:
            yield from (uri_of(each.name) for each in entries if each.is_file() and not DRAFT.search(each.name))

    def matching(self, pattern: str, follow: str, leave_out: LeaveOut = None) -> Listing:
        """List the files that a glob matches, and those below folders that it matches."""
        glob = Glob(path_of(pattern))
        with storage_errors(uri_of(glob.root), NoPermissionError):
            return walk(glob.root, follow, glob.may_lead, leave_out, lambda uri: glob.matches(path_of(uri)))

    @contextlib.contextmanager
    def opened(self, stored: Stored, *, whole: bool) -> Iterator[StoredFile]:  # noqa: ARG002 - the tag is no digest
        """Open and check before and after: a file may be overwritten in place; one that is replaced stays as it was."""
        now = self.stat(stored.uri)
        if now is None or now != without_ctime(stored):  # the rest shows once it is open: its mode is a matter of ctime
            raise source_changed(stored, now)
        with storage_errors(stored.uri, NoPermissionError):
            # an error in the caller's block is not the disk's
            file = open(path_of(stored.uri), "rb", opener=_without_waiting)  # noqa: SIM115
        with file:
            path, as_source = path_of(stored.uri), _is_source(stored)
            self._compare(stored, _regular(path, os.fstat(file.fileno()), as_source=as_source))
            yield StoredFile(file, stored.uri, lambda: self._check(stored, file))
            self._check(stored, file)

    def _check(self, stored: Stored, file: BinaryIO) -> None:
        try:
            now = self.stat(stored.uri, as_source=_is_source(stored))
        except NoPermissionError:
            # it was open before permission was lost
            now = stored_at(path_of(stored.uri), os.fstat(file.fileno()), as_source=_is_source(stored))
        self._compare(stored, now)

    def _compare(self, planned: Stored, now: Stored | None) -> None:
        if now is None or not is_same(planned, now):
            raise source_changed(planned, now)

    def first_bytes(self, stored: Stored, n_bytes: int) -> bytes:
        """Read them, and check that it is the same file."""
        with self.opened(stored, whole=False) as file:
            return file.read(n_bytes)

    def around(self, uri: str, within: str) -> Iterator[list[Stored]]:  # noqa: ARG002
        """Nothing: the system says of each file whether it may be read."""
        yield from ()

    def read(self, uri: str) -> bytes:
        """Read all of it."""
        with storage_errors(uri), open(path_of(uri), "rb") as file:
            return file.read()

    def write(self, uri: str, content: bytes) -> None:
        """Write a draft and rename it."""
        path = path_of(uri)
        with storage_errors(uri), _draft(path, content) as draft:
            _take_place(draft, path)

    def put(self, uri: str, content: bytes, expected: str) -> Found | None:
        """Link the draft, which fails if a file exists; to replace one, compare and rename under a lock."""
        path = path_of(uri)
        with storage_errors(uri), _draft(path, content) as draft:
            if expected == ABSENT:
                with contextlib.suppress(FileExistsError):
                    os.link(draft.path, path, follow_symlinks=False)
                    _settle(path)
                    return None
                found = _standing(path)
            else:
                with _locked(posixpath.dirname(path)):
                    found = _standing(path)
                    if found.etag == expected:
                        _take_place(draft, path)
                        return None
            return None if found.content == content else found

    def modified(self, folder: str) -> dict[str, float]:
        """Return times of change."""
        found = self.listing(folder, "no", is_draft) or Listing([])
        times = {}
        for each in found.objects:
            with contextlib.suppress(FileNotFoundError):
                times[each.uri] = os.stat(path_of(each.uri)).st_mtime
        return times

    def remove(self, uri: str) -> None:
        """Delete it, if it exists."""
        with storage_errors(uri), contextlib.suppress(FileNotFoundError):
            os.remove(path_of(uri))

    def abandon_uploads(self, folder: str, older_than: float) -> list[str]:
        """Delete drafts of writers that were killed."""
        dropped = []
        for path in _drafts(folder):
            with storage_errors(path), contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_mtime < older_than:
                    os.remove(path)
                    dropped.append(uri_of(path))
        return dropped

    def drafts(self, folder: str) -> list[Stored]:
        """List the files with a draft's name."""
        found = (self.stat(uri_of(path)) for path in _drafts(folder))
        return [stored for stored in found if stored is not None]


def local_below(uri: str, root: str) -> Stored | None:
    """Return a source of an archive; None if there is none, or if a link leads out of the archive to it."""
    path = path_of(uri)
    try:
        with storage_errors(uri, NoPermissionError):
            found = look_below(path, path_of(root))
    except NotFoundError:
        return None
    return None if found is None else _regular(path, found, as_source=True)


def _regular(path: str, found: os.stat_result, *, as_source: bool = False) -> Stored | None:
    """Return a file; None if it is a folder, a pipe or a device."""
    return stored_at(path, found, as_source=as_source) if S_ISREG(found.st_mode) else None


def _is_source(stored: Stored) -> bool:
    """Return True unless the tag of a file is its mtime alone."""
    tag = source_tag(stored)
    return tag is not None and tag.modified != stored.etag


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that took its place would wait for a writer for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _drafts(folder: str) -> list[str]:
    """Return the paths of files below a folder that have a draft's name, sorted."""
    paths = (posixpath.join(at, name) for at, _, names in _walk(folder) for name in names)
    return sorted(path for path in paths if DRAFT.search(path))


def _walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as os.walk does, which would silently pass over a folder that it cannot read."""

    def fail(error: OSError) -> None:
        is_gone = isinstance(error, FileNotFoundError)  # it was removed meanwhile
        is_told = error.errno in (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM)  # by the listing
        if not is_gone and not is_told:
            raise error

    with storage_errors(folder):
        yield from os.walk(path_of(folder), onerror=fail)


def bytes_on_disk(uri: str) -> int | None:
    """Return the bytes that the disk holds of a local file, without its holes; None if the file system does not say."""
    try:
        with open(path_of(uri), "rb") as file:
            if n_blocks := os.fstat(file.fileno()).st_blocks:
                return n_blocks * 512  # the unit of POSIX, whatever the file system has
            os.lseek(file.fileno(), 0, os.SEEK_DATA)
    except OSError as error:
        return 0 if error.errno == errno.ENXIO else None  # no data from byte 0 on
    return None


def empty_local_folders(folder: str) -> list[str]:
    """Return the URIs of local folders below a folder that hold nothing: no listing of objects has their names."""
    return [uri_of(path) for path, folders, files in _walk(folder) if not (folders or files)]


def links_to_files(folder: str) -> list[str]:
    """Return the URIs of links below a folder that lead to files: they are listed and read as if they were these."""
    paths = (posixpath.join(at, name) for at, _, names in _walk(folder) for name in names)
    return [uri_of(path) for path in paths if os.path.islink(path) and os.path.exists(path)]


def _standing(path: str) -> Found:
    """Return content and tag of one and the same file, even if it is replaced meanwhile."""
    try:
        with open(path, "rb") as file:
            return Found(file.read(), tag_of(os.fstat(file.fileno())))
    except FileNotFoundError:
        return Found(None, ABSENT)


@contextlib.contextmanager
def _draft(path: str, content: bytes) -> Iterator[_Draft]:
    """Write the content to the disk, under a name that no reader of tables looks at; remove it afterwards.

    Owner, mode and time are set by its descriptor: whoever owns the folder may put a link in its place meanwhile, and
    the process may be root's.
    """
    folder, name = posixpath.split(path)
    make_folders(folder)
    # it begins with a dot: engines that read a whole folder skip such names, whatever their suffix
    draft = posixpath.join(folder, f".{name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with open(draft, "xb") as file:
            give(file.fileno(), os.stat(folder))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power failure could leave the name without its content
            yield _Draft(draft, file.fileno())
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(draft)


def _take_place(draft: _Draft, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        before = os.stat(path)
        give(draft.held, before)
        os.fchmod(draft.held, before.st_mode & 0o777)  # who may read it does not change with its content
        if os.fstat(draft.held).st_mtime_ns <= before.st_mtime_ns:
            os.utime(draft.held, ns=(before.st_mtime_ns + TICK_NANOSECONDS,) * 2)
    os.replace(draft.path, path)
    _settle(path)


def _settle(path: str) -> None:
    """Sync the folder, which holds the name: a marker must not survive a power failure that its rows did not."""
    with _folder(posixpath.dirname(path)) as folder:
        os.fsync(folder)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold the lock of a folder, for all processes of this machine; the kernel releases it if the holder is killed."""
    with _folder(folder) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _folder(path: str) -> Iterator[int]:
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield held
    finally:
        os.close(held)
