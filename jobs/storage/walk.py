"""Walk: the files below a local folder, in one pass, with what is passed over on the way.

```
/data/2026/a.wav                 a file
/data/x.wav   ─► /data/2026/…    a link to a file in /data counts as the file
/data/z.wav   ─► /disk/z.wav     one that leads out: only if links are followed anywhere, or in a folder of our own
/data/today   ─► /data/2026      a link to a folder: passed over, unless links are followed
/data/disk    ─► /disk           another, that leads out of /data: only if links are followed anywhere
/data/2026/up ─► /data           another, that leads back: never followed
/data/y.wav   ─► nothing         passed over
/data/lost+found                 a folder that may not be listed: denied
/data/deep/…/z.wav               a path that is longer than the system takes: passed over, whatever it is
```

A folder is read under its own path and, where links are followed, once more under the first link that leads to it. So a
walk ends however many links there are.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from stat import S_ISLNK, S_ISREG
from typing import NamedTuple

from jobs.storage.names import uri_of
from jobs.storage.objects import DENIED, LeaveOut, Links, Listing, Sieve, Stored
from jobs.storage.tags import tag_of

FOLLOW = ("no", "inside", "anywhere")
"""Which links in an archive are followed: those to files that stay in it; those to folders, too; all."""
OWN = "own"  # links in a folder of ours, or a model's: all to files, none to folders

SPECIAL, TOO_LONG, LIKE_FOLDER = "special", "too long", "like a folder"
REASONS = {
    "folder": "links to folders, which are passed over; --follow-links follows those that stay in the archive",
    "outside": "links that lead out of the archive, which are passed over; --follow-links=anywhere follows them",
    "repeated": "links to folders that they lie in, or that another link leads to, which are passed over",
    "broken": "links to nothing, which are passed over",
    SPECIAL: "pipes, sockets and devices, which are passed over",
    TOO_LONG: "files and folders with a longer path than the system takes, which are passed over; move them upwards",
    LIKE_FOLDER: "objects with content whose names end in a slash, as of folders, which are passed over; rename them",
}
"""Why links, and what is no file, are passed over, as a log says it."""

DRAFT = re.compile(r"\.\d+-[0-9a-f]{8}\.part$")  # a file that is being written, or was when its writer was killed
PATH_BYTES = 4_096  # of Linux, with the byte that ends a path
BROKEN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)  # what a link to nothing gives

Identity = tuple[int, int]  # device and inode


class _Folder(NamedTuple):
    """A folder to read and, behind a link, the real folders that the link lies in."""

    path: str
    above: frozenset[Identity] | None = None


def walk(
    root: str,
    follow: str = OWN,
    may_lead: Callable[[str], bool] = lambda _: True,
    leave_out: LeaveOut = None,
    is_meant: Callable[[str], bool] = lambda _: True,
) -> Listing:
    """List the files below a folder.

    Parameters
    ----------
    root : str
        Its path. It may be a link itself.
    follow : str
        One of :data:`FOLLOW`, or :data:`OWN`.
    may_lead : callable
        False for a folder that need not be read.
    leave_out : callable, optional
        True for a file that the listing is to be without.
    is_meant : callable
        False for the URI of a file that is none of those that are looked for.

    Raises
    ------
    OSError
        If the root may not be listed, or the disk fails.
    """
    return _Walk(root, follow, may_lead, is_meant, Sieve(leave_out, is_meant)).listing()


class _Walk:
    def __init__(
        self, root: str, follow: str, may_lead: Callable[[str], bool], is_meant: Callable[[str], bool], files: Sieve
    ) -> None:
        self._root, self._real_root = root, os.path.realpath(root)
        self._follow = follow
        self._may_lead = may_lead
        self._is_meant = is_meant
        self._pending = [_Folder(root)]
        self._behind_links: set[Identity] = set()
        self._files = files
        self._denied: list[str] = []
        self._links: dict[str, Links] = {}

    def listing(self) -> Listing:
        with contextlib.suppress(FileNotFoundError):
            os.stat(posixpath.join(self._root, "."))  # fails where names may be listed, but nothing more
        while self._pending:
            self._read(self._pending.pop())
        files = sorted(self._files.kept, key=lambda each: each.uri)
        return Listing(files, sorted(self._denied), self._links, uri_of(self._root), self._files.n_left_out)

    def _read(self, folder: _Folder) -> None:
        try:
            with _held(folder.path, os.O_RDONLY | os.O_DIRECTORY) as held:
                if self._lies_outside(held, folder.path):
                    self._pass_over("outside", folder.path)
                else:
                    self._read_held(held, folder)
        except PermissionError:
            if folder.path == self._root:
                raise
            self._denied.append(uri_of(folder.path))
        except (FileNotFoundError, NotADirectoryError):
            pass  # it was removed meanwhile
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG or folder.path == self._root:
                raise
            self._pass_over(TOO_LONG, folder.path)

    def _read_held(self, held: int, folder: _Folder) -> None:
        with os.scandir(held) as entries:
            in_order = sorted(entries, key=lambda entry: entry.name)
        n_before = len(self._pending)
        for entry in in_order:
            self._see(entry, posixpath.join(folder.path, entry.name), folder, held)
        self._pending[n_before:] = reversed(self._pending[n_before:])  # the last one is read first

    def _see(self, entry: os.DirEntry[str], path: str, folder: _Folder, held: int) -> None:
        """Take a file, or put a folder among those to read."""
        if len(os.fsencode(path)) >= PATH_BYTES:
            self._pass_over(TOO_LONG, path)
            return
        try:
            if entry.is_dir(follow_symlinks=False):
                self._enter(path, folder.above)
            elif entry.is_dir():
                self._see_link(path, folder)
            elif entry.is_file():
                self._see_file(entry.name, path, held)
            else:
                entry.stat()  # raises for a link that leads to nothing
                self._pass_over(SPECIAL, path)
        except PermissionError:
            self._files.take(Stored(uri_of(path), 0, DENIED))
        except OSError as error:
            if error.errno not in BROKEN:
                raise
            if entry.is_symlink():
                self._pass_over("broken", path)
            elif error.errno == errno.ENAMETOOLONG:
                self._pass_over(TOO_LONG, path)

    def _see_file(self, name: str, path: str, folder: int) -> None:
        """Take a file as it is where it lies, at one look: a link may lead elsewhere a moment later."""
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if S_ISLNK(found.st_mode):
            with _held(name, os.O_PATH, folder) as held:
                found = os.fstat(held)
                if self._lies_outside(held, path):
                    if self._is_meant(uri_of(path)):
                        self._pass_over("outside", path)
                    return
        if S_ISREG(found.st_mode):
            self._files.take(stored_at(path, found, as_source=self._follow != OWN))
        else:
            self._pass_over(SPECIAL, path)  # since the folder was read

    def _see_link(self, path: str, folder: _Folder) -> None:
        if not self._may_lead(path):
            return
        if self._follow in ("no", OWN):
            self._pass_over("folder", path)
        elif self._leads_out(path):
            self._pass_over("outside", path)
        elif not self._enter(path, folder.above or _above(folder.path, self._root)):
            self._pass_over("repeated", path)

    def _leads_out(self, path: str) -> bool:
        """Return True for a link that leads out of the archive, unless such links are followed."""
        return self._follow not in (OWN, "anywhere") and not _is_below(os.path.realpath(path), self._real_root)

    def _lies_outside(self, held: int, path: str) -> bool:
        """Return True for an open file or folder outside of the archive, whatever the links in its path are by now."""
        return self._follow not in (OWN, "anywhere") and not _is_below(_place_of(held, path), self._real_root)

    def _enter(self, path: str, above: frozenset[Identity] | None) -> bool:
        """Read a folder later; return False for one that a link leads to, or back to, and that is read already."""
        if above is not None:
            try:
                identity = _identity(path)
            except PermissionError:
                self._denied.append(uri_of(path))
                return True
            if identity in above or identity in self._behind_links:
                return False
            self._behind_links.add(identity)
        if self._may_lead(path):
            self._pending.append(_Folder(path, above))
        return True

    def _pass_over(self, reason: str, path: str) -> None:
        before = self._links.get(reason, Links(0, uri_of(path)))
        self._links[reason] = before._replace(n=before.n + 1)


def look_below(path: str, root: str) -> os.stat_result | None:
    """Return a file as it is where it lies; None if that is not below a root, which a link may lead to."""
    with _held(path, os.O_PATH) as held:
        return os.fstat(held) if _is_below(_place_of(held, path), os.path.realpath(root)) else None


def _place_of(held: int, path: str) -> str:
    """Return where an open file or folder really lies, whatever the links in its path are by now."""
    try:
        return os.readlink(f"/proc/self/fd/{held}")
    except OSError:  # a system that does not tell
        return os.path.realpath(path)


def _is_below(place: str, real_root: str) -> bool:
    return posixpath.commonpath([place, real_root]) == real_root


@contextlib.contextmanager
def _held(path: str, flags: int, folder: int | None = None) -> Iterator[int]:
    """Open a file or folder for a look."""
    held = os.open(path, flags | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield held
    finally:
        os.close(held)


def stored_at(path: str, found: os.stat_result, *, as_source: bool = False) -> Stored:
    """Return the file at a path, as listings and plans have it."""
    return Stored(uri_of(path), found.st_size, tag_of(found, as_source=as_source))


def is_draft(stored: Stored) -> bool:
    """Return True for a local file that is being written to an output; in an archive, the name means nothing."""
    return DRAFT.search(stored.uri) is not None


def _identity(path: str) -> Identity:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _above(folder: str, root: str) -> frozenset[Identity]:
    """Return the root, a folder below it, and all folders between them."""
    inner = [] if folder == root else posixpath.relpath(folder, root).split("/")
    return frozenset(_identity(posixpath.join(root, *inner[:n])) for n in range(len(inner) + 1))
