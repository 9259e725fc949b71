"""Files of this machine, or of a file system that it mounts; a file that is written appears whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import posixpath
import re
from collections.abc import Iterable, Iterator

import fsspec

from jobs.storage.files import StoredFile
from jobs.storage.objects import ABSENT, Found, NotFoundError, Stored, source_changed, storage_errors

log = logging.getLogger("jobs.storage")

DRAFT = re.compile(r"\.\d+-[0-9a-f]{8}\.part$")  # a file that is being written, or was when its writer was killed
TICK_NANOSECONDS = 1_000


class Local:
    """The store of local paths; a file's tag is its time of change, to the nanosecond.

    A file that replaces another one gets a later time, however fast the writes follow each other and whatever the clock
    does. So no tag is used twice.
    """

    def __init__(self) -> None:
        self._fs = fsspec.filesystem("file", use_listings_cache=False)

    def stat(self, uri: str) -> Stored | None:
        """The file; None if there is none, or a folder."""
        try:
            with storage_errors(uri):
                found = os.stat(uri)
        except NotFoundError:
            return None
        return Stored(uri, found.st_size, _etag(found)) if os.path.isfile(uri) else None

    def listing(self, folder: str) -> list[Stored] | None:
        """List every file below, sorted; None if there is no such folder."""
        if not os.path.isdir(folder):
            return None
        return self._files(posixpath.join(at, name) for at, _, names in _walk(folder) for name in names)

    def matching(self, pattern: str) -> list[Stored]:
        """List what fsspec's glob matches, and the files below folders that it matches."""
        found: set[str] = set()
        with storage_errors(pattern):
            for path, info in self._fs.glob(pattern, detail=True).items():
                found |= set(self._fs.find(path)) if info["type"] == "directory" else {path}
        return self._files(found)

    def _files(self, paths: Iterable[str]) -> list[Stored]:
        """Return those that are files, without drafts; a link counts as the file that it points to."""
        files = []
        for path in paths:
            if DRAFT.search(path):
                continue
            if stored := self.stat(path):
                files.append(stored)
            elif os.path.islink(path):
                log.warning("%s: a link to a folder, or to nothing, is passed over; name a folder as an input", path)
        return sorted(files)

    @contextlib.contextmanager
    def opened(self, stored: Stored, *, whole: bool) -> Iterator[StoredFile]:  # noqa: ARG002 - the tag is no digest
        """Open and check before and after: a file may be overwritten in place; one that is replaced stays as it was."""
        self._check(stored)
        with storage_errors(stored.uri):
            file = open(stored.uri, "rb")  # noqa: SIM115 - an error in the caller's block is not the disk's
        with file:
            yield StoredFile(file, stored.uri, lambda: self._check(stored))
        self._check(stored)

    def _check(self, stored: Stored) -> None:
        now = self.stat(stored.uri)
        if now != stored:
            raise source_changed(stored, now)

    def first_bytes(self, stored: Stored, n_bytes: int) -> bytes:
        """Read them, and check that it is the same file."""
        with self.opened(stored, whole=False) as file:
            return file.read(n_bytes)

    def read(self, uri: str) -> bytes:
        """Read all of it."""
        with storage_errors(uri), open(uri, "rb") as file:
            return file.read()

    def write(self, uri: str, content: bytes) -> None:
        """Write a draft and rename it."""
        with storage_errors(uri), _draft(uri, content) as draft:
            _take_place(draft, uri)

    def put(self, uri: str, content: bytes, expected: str) -> Found | None:
        """Link the draft, which fails if a file exists; to replace one, compare and rename under a lock."""
        with storage_errors(uri), _draft(uri, content) as draft:
            if expected == ABSENT:
                with contextlib.suppress(FileExistsError):
                    os.link(draft, uri)
                    _settle(uri)
                    return None
                found = _standing(uri)
            else:
                with _locked(posixpath.dirname(uri)):
                    found = _standing(uri)
                    if found.etag == expected:
                        _take_place(draft, uri)
                        return None
            return None if found.content == content else found

    def modified(self, folder: str) -> dict[str, float]:
        """Return times of change."""
        times = {}
        for stored in self.listing(folder) or []:
            with contextlib.suppress(FileNotFoundError):
                times[stored.uri] = os.stat(stored.uri).st_mtime
        return times

    def remove(self, uri: str) -> None:
        """Delete it, if it exists."""
        with storage_errors(uri), contextlib.suppress(FileNotFoundError):
            os.remove(uri)

    def abandon_uploads(self, folder: str, older_than: float) -> list[str]:
        """Delete drafts of writers that were killed."""
        dropped = []
        for path in sorted(posixpath.join(at, name) for at, _, names in _walk(folder) for name in names):
            with storage_errors(path), contextlib.suppress(FileNotFoundError):
                if DRAFT.search(path) and os.stat(path).st_mtime < older_than:
                    os.remove(path)
                    dropped.append(path)
        return dropped


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}"


def _walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as os.walk does, which would silently pass over a folder that it may not read."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # it was removed meanwhile
            raise error

    with storage_errors(folder):
        yield from os.walk(folder, onerror=fail)


def _standing(path: str) -> Found:
    """Return content and tag of one and the same file, even if it is replaced meanwhile."""
    try:
        with open(path, "rb") as file:
            return Found(file.read(), _etag(os.fstat(file.fileno())))
    except FileNotFoundError:
        return Found(None, ABSENT)


@contextlib.contextmanager
def _draft(path: str, content: bytes) -> Iterator[str]:
    """Write the content to the disk, under a name that no reader of tables looks at; remove it afterwards."""
    folder, name = posixpath.split(path)
    os.makedirs(folder, exist_ok=True)
    # it begins with a dot: engines that read a whole folder skip such names, whatever their suffix
    draft = posixpath.join(folder, f".{name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power failure could leave the name without its content
        yield draft
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(draft)


def _take_place(draft: str, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        before = os.stat(path).st_mtime_ns
        if os.stat(draft).st_mtime_ns <= before:
            os.utime(draft, ns=(before + TICK_NANOSECONDS,) * 2)
    os.replace(draft, path)
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
