"""Files of this machine, or of a file system that it mounts: what is written appears whole or not at all."""

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
from jobs.storage.names import ABSENT, Found, NotFoundError, Stored, changed, named

log = logging.getLogger("jobs.storage")

DRAFT = re.compile(r"\.\d+-[0-9a-f]{8}\.part$")  # what is being written, or was when somebody was killed
TICK_NANOSECONDS = 1_000


class Local:
    """A file's tag is its time of change, to the nanosecond.

    A file that we write over another gets a later time than that, however fast the writes follow one another and
    whatever the clock does: so a tag does not come back.
    """

    def __init__(self) -> None:
        self._fs = fsspec.filesystem("file", use_listings_cache=False)

    def stat(self, uri: str) -> Stored | None:
        """The file; None where there is none, or a folder."""
        try:
            with named(uri):
                found = os.stat(uri)
        except NotFoundError:
            return None
        return Stored(uri, found.st_size, _etag(found)) if os.path.isfile(uri) else None

    def listing(self, folder: str) -> list[Stored] | None:
        """Every file below, sorted; None where there is no such folder."""
        if not os.path.isdir(folder):
            return None
        return self._files(posixpath.join(at, name) for at, _, names in _walk(folder) for name in names)

    def matching(self, pattern: str) -> list[Stored]:
        """What a glob of fsspec's matches, and what lies below folders that it matches."""
        found: set[str] = set()
        with named(pattern):
            for path, info in self._fs.glob(pattern, detail=True).items():
                found |= set(self._fs.find(path)) if info["type"] == "directory" else {path}
        return self._files(found)

    def _files(self, paths: Iterable[str]) -> list[Stored]:
        """Those that are files, drafts apart; links count as what they point to."""
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
    def opened(self, stored: Stored, *, whole: bool) -> Iterator[StoredFile]:  # noqa: ARG002 - a time is no digest
        """An open file stays what it was when another is renamed to its place, but not when it is written over."""
        self._check(stored)
        with named(stored.uri):
            file = open(stored.uri, "rb")  # noqa: SIM115 - a trouble inside the caller's block is not the disk's
        with file:
            yield StoredFile(file, stored.uri, lambda: self._check(stored))
        self._check(stored)

    def _check(self, stored: Stored) -> None:
        now = self.stat(stored.uri)
        if now != stored:
            raise changed(stored, now)

    def read(self, uri: str) -> bytes:
        """All of it."""
        with named(uri), open(uri, "rb") as file:
            return file.read()

    def write(self, uri: str, content: bytes) -> None:
        """Rename a draft."""
        with named(uri), _draft(uri, content) as draft:
            _take_place(draft, uri)

    def put(self, uri: str, content: bytes, expected: str) -> Found | None:
        """A link is made only where nothing stands; who takes another file's place compares and renames alone."""
        with named(uri), _draft(uri, content) as draft:
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
        """Times of change."""
        times = {}
        for stored in self.listing(folder) or []:
            with contextlib.suppress(FileNotFoundError):
                times[stored.uri] = os.stat(stored.uri).st_mtime
        return times

    def remove(self, uri: str) -> None:
        """Delete it, if it is there."""
        with named(uri), contextlib.suppress(FileNotFoundError):
            os.remove(uri)

    def abandon_uploads(self, folder: str, older_than: float) -> list[str]:
        """Delete drafts that nobody finished."""
        dropped = []
        for path in sorted(posixpath.join(at, name) for at, _, names in _walk(folder) for name in names):
            with named(path), contextlib.suppress(FileNotFoundError):
                if DRAFT.search(path) and os.stat(path).st_mtime < older_than:
                    os.remove(path)
                    dropped.append(path)
        return dropped


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}"


def _walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, which takes a folder that it may not read for an empty one."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # it went meanwhile
            raise error

    with named(folder):
        yield from os.walk(folder, onerror=fail)


def _standing(path: str) -> Found:
    """Content and tag of one and the same file, whoever renames what to its place meanwhile."""
    try:
        with open(path, "rb") as file:
            return Found(file.read(), _etag(os.fstat(file.fileno())))
    except FileNotFoundError:
        return Found(None, ABSENT)


@contextlib.contextmanager
def _draft(path: str, content: bytes) -> Iterator[str]:
    """The content on the disk, under a name of its own that no reader of tables looks at; gone afterwards."""
    folder, name = posixpath.split(path)
    os.makedirs(folder, exist_ok=True)
    # with a dot before it: engines that read a whole folder pass over such names, whatever they end in
    draft = posixpath.join(folder, f".{name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a name must never outlive a power failure that its content did not
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
    """A name is on the disk when its folder is: a marker must not survive the rows that it is about."""
    with _folder(posixpath.dirname(path)) as folder:
        os.fsync(folder)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Be the only one of this machine who compares and renames in a folder; a killed holder lets go."""
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
