"""Stored objects, what may be found in their place, and the errors about them."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from detector.errors import ConfigError
from jobs.errors import SourceChangedError, StorageError
from jobs.storage.places import NotFolderError, not_a_folder

ABSENT = ""  # the tag of a place without an object
DENIED = "no permission"  # the tag of a file or folder of which nothing may be known


@dataclass(frozen=True, order=True, slots=True)
class Stored:
    """One stored object: its URI, its size in bytes, and a tag that changes with its content."""

    uri: str
    size: int
    etag: str

    @property
    def is_absent(self) -> bool:
        """True if there is no such object, but its place is kept. Some stores give no tags: an object has bytes."""
        return self.etag == ABSENT and self.size == 0


@dataclass(frozen=True)
class Thinning:
    """What a listing is to be without: single objects as they are found, and, once many are kept, some of these.

    Parameters
    ----------
    asked : callable
        True for an object that is left out.
    thinned : callable
        Takes the objects that are kept so far, and returns those that the listing is to go on with.
    """

    asked: Callable[[Stored], bool]
    thinned: Callable[[list[Stored]], list[Stored]]

    def __call__(self, stored: Stored) -> bool:
        """Return True for an object that is left out."""
        return self.asked(stored)


LeaveOut = Callable[[Stored], bool] | None
"""Says of an object that a listing is to be without it; None: of none. It may be a :class:`Thinning`."""

THINNED_FROM = 100_000
"""Objects that a listing keeps before it is thinned: some 40 MB."""


@dataclass(frozen=True)
class Found:
    """The object that is at a place instead of the expected one; content None: there is no object."""

    content: bytes | None
    etag: str


class NotFoundError(ConfigError):
    """There is no such object, folder or bucket."""


class RefusedError(StorageError):
    """The store refuses a request for good: the role may not do that, or the object's state does not allow it."""


class NoPermissionError(RefusedError):
    """A local file or folder may not be read; of one that lies below an input, it becomes a row of failures."""


class Links(NamedTuple):
    """Links, and what is no file, that a listing passed over for one reason: how many there are, and the first."""

    n: int
    first: str


@dataclass(frozen=True)
class Listing:
    """What lies below a folder, a prefix or a glob, and what was passed over there.

    Parameters
    ----------
    objects : list of Stored
        Each once, sorted by URI. A file that may not even be looked at has the tag :data:`DENIED` and no size.
    denied : list of str
        URIs of folders that may not be listed, sorted.
    links : dict of str to Links
        By a key of :data:`jobs.storage.walk.REASONS`: links, and what is no file, that were passed over.
    root : str
        The local folder that was walked; empty for other stores.
    n_left_out : int
        How many objects were left out, as they were asked to be.
    """

    objects: list[Stored]
    denied: list[str] = field(default_factory=list)
    links: dict[str, Links] = field(default_factory=dict)
    root: str = ""
    n_left_out: int = 0


class Sieve:
    """Takes the objects of a listing one by one, and keeps those that are meant and not left out."""

    def __init__(self, leave_out: LeaveOut, is_meant: Callable[[str], bool] = lambda _: True) -> None:
        self.kept: list[Stored] = []
        self.n_left_out = 0
        self._leave_out, self._is_meant = leave_out, is_meant
        self._room = THINNED_FROM

    def take(self, stored: Stored) -> None:
        """Take an object."""
        if not self._is_meant(stored.uri):
            return
        if self._leave_out is not None and self._leave_out(stored):
            self.n_left_out += 1
            return
        self.kept.append(stored)
        if len(self.kept) >= self._room and isinstance(self._leave_out, Thinning):
            self.kept = self._leave_out.thinned(self.kept)
            self._room = THINNED_FROM + 2 * len(self.kept)


@contextlib.contextmanager
def storage_errors(uri: str, refusal: type[StorageError] = StorageError) -> Iterator[None]:
    """Re-raise errors of the operating system as our own classes, with the URI and what to do.

    Parameters
    ----------
    uri : str
    refusal : type
        Raised where permission is denied.
    """
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise NotFoundError(f"{uri}: not found. Check the spelling.") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise not_a_folder(uri) from error
    except IsADirectoryError as error:
        raise NotFolderError(f"{uri}: is a folder, not a file. Name a file.") from error
    except PermissionError as error:
        cause = error.strerror or error
        raise refusal(f"{uri}: permission denied ({cause}). Check who may read and write there.") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise NotFoundError(f"{uri}: no such file can exist ({error.strerror}). Check the spelling.") from error
        if error.errno == errno.EROFS:
            raise ConfigError(
                f"{uri}: is on a read-only file system. Mount it for writing, or name another place."
            ) from error
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "no space left. Make room there" if full else "the store gave up. Check the disk"
        raise StorageError(f"{uri}: {remedy}, then run the same command again ({error}).") from error


def source_changed(planned: Stored, now: Stored | None) -> SourceChangedError:
    """Return the error to raise if the object at a place, ``now``, is not the one that was planned."""
    found = "it is gone" if now is None else f"it has {now.size} bytes and tag {now.etag}"
    return SourceChangedError(
        f"{planned.uri}: changed since the plan was made: {planned.size} bytes and tag {planned.etag} were planned, "
        f"now {found}. Run the same command again to plan anew."
    )
