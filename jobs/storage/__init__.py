"""Storage: objects on S3, on local disks, and on all else that fsspec supports. No other package imports fsspec.

A local URI is an absolute path without scheme, as text (:mod:`jobs.storage.names`); every other keeps its scheme
(`s3://bucket/key`). Credentials and
endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, a profile, a role), never from a URI.

A request that fails is retried until the budget of :func:`set_retry_budget` is spent. Then it raises a
:class:`~jobs.errors.StorageError` that names the URI; every error of a store is one of these.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Protocol

from jobs.storage.files import READ_AHEAD_BYTES, ReadOnlyFile, StoredFile
from jobs.storage.globs import Glob
from jobs.storage.local import Local, bytes_on_disk, empty_local_folders, links_to_files, local_below
from jobs.storage.names import bytes_of, path_of, text_of, uri_of
from jobs.storage.objects import (
    ABSENT,
    DENIED,
    Found,
    LeaveOut,
    Links,
    Listing,
    NoPermissionError,
    NotFoundError,
    RefusedError,
    Stored,
    Thinning,
    storage_errors,
)
from jobs.storage.other import Other, filesystem
from jobs.storage.owners import as_owner
from jobs.storage.permissions import OUTPUTS, is_private, private_unless, set_private
from jobs.storage.places import NotFolderError, check_local_folder
from jobs.storage.request_counts import request_counts
from jobs.storage.retry_budget import retries, set_retry_budget
from jobs.storage.tags import dated, is_same, source_tag, without_ctime
from jobs.storage.uris import join, key_of, name_of, normal, real_folder, scheme_of
from jobs.storage.walk import FOLLOW, OWN, REASONS, SPECIAL, TOO_LONG, is_draft

__all__ = [
    "ABSENT",
    "DENIED",
    "FOLLOW",
    "OUTPUTS",
    "READ_AHEAD_BYTES",
    "SPECIAL",
    "STORES",
    "TOO_LONG",
    "Found",
    "Glob",
    "Links",
    "Listing",
    "NoPermissionError",
    "NotFolderError",
    "NotFoundError",
    "ReadOnlyFile",
    "RefusedError",
    "Stored",
    "StoredFile",
    "Thinning",
    "abandon_uploads",
    "around",
    "as_owner",
    "bytes_of",
    "check_bucket",
    "check_folder",
    "dated",
    "download",
    "drafts",
    "empty_folders",
    "filesystem",
    "first_bytes",
    "is_private",
    "is_same",
    "join",
    "key_of",
    "linked_files",
    "listing",
    "matching",
    "modified",
    "name_of",
    "names",
    "normal",
    "opened",
    "path_of",
    "private_unless",
    "put",
    "read_bytes",
    "real_folder",
    "remove",
    "request_counts",
    "retries",
    "scheme_of",
    "set_private",
    "set_retry_budget",
    "source_tag",
    "stat",
    "stat_below",
    "storage_errors",
    "survey",
    "text_of",
    "uri_of",
    "warn_of",
    "without_ctime",
    "write_bytes",
]

log = logging.getLogger("jobs.storage")


class Store(Protocol):
    """A kind of storage; the functions below document its methods."""

    def stat(self, uri: str, *, as_source: bool = False) -> Stored | None: ...
    def listing(self, folder: str, follow: str, leave_out: LeaveOut = None) -> Listing | None: ...
    def names(self, folder: str) -> Iterator[str]: ...
    def matching(self, pattern: str, follow: str, leave_out: LeaveOut = None) -> Listing: ...
    def opened(self, stored: Stored, *, whole: bool) -> AbstractContextManager[StoredFile]: ...
    def first_bytes(self, stored: Stored, n_bytes: int) -> bytes: ...
    def around(self, uri: str, within: str) -> Iterator[list[Stored]]: ...
    def read(self, uri: str) -> bytes: ...
    def write(self, uri: str, content: bytes) -> None: ...
    def put(self, uri: str, content: bytes, expected: str) -> Found | None: ...
    def drafts(self, folder: str) -> list[Stored]: ...
    def modified(self, folder: str) -> dict[str, float]: ...
    def remove(self, uri: str) -> None: ...
    def abandon_uploads(self, folder: str, older_than: float) -> list[str]: ...


def _s3() -> Store:
    from jobs.storage.s3 import S3  # only now: its client takes 0.2 s, and runs on local disks need none of it

    return S3()


STORES: dict[str, Callable[[], Store]] = {"file": Local, "s3": _s3, "s3a": _s3}
"""Kinds of storage, by the scheme of their URIs. Every other scheme is left to fsspec: :class:`Other`."""


@cache
def _store(scheme: str, pid: int) -> Store:  # noqa: ARG001 - a client's thread does not exist in a forked child
    """Return the client of a scheme, one for all threads of a process."""
    return STORES[scheme]() if scheme in STORES else Other(scheme)


def _located(uri: str) -> tuple[Store, str]:
    scheme = scheme_of(uri)
    return _store(scheme, os.getpid()), normal(uri) if scheme == "file" else uri


def stat(uri: str, *, as_source: bool = False) -> Stored | None:
    """Return the object at ``uri``; None if there is none, or a folder.

    Parameters
    ----------
    uri : str
    as_source : bool
        True for a source of an archive, which strangers may replace: :mod:`jobs.storage.tags` says what a local one's
        tag has beside a file's of ours. Listings that follow links as in an archive have such tags.
    """
    store, uri = _located(uri)
    return store.stat(uri, as_source=as_source)


def check_folder(uri: str) -> None:
    """Raise :class:`ConfigError` if it is known before any work that a folder cannot be written to."""
    if scheme_of(uri) == "file":
        check_local_folder(normal(uri))


def check_bucket(uri: str) -> None:
    """Raise :class:`NotFoundError` if an output's bucket is not there; other kinds of storage have none."""
    store, uri = _located(uri)
    check = getattr(store, "check_bucket", None)
    if check is not None:
        check(uri)


def listing(folder: str, follow: str = OWN, leave_out: LeaveOut = None) -> list[Stored] | None:
    """Return every object below a folder or prefix, once, sorted by URI; None if there is no such folder.

    Local files that are being written are left out: :func:`drafts` has these.

    Parameters
    ----------
    folder : str
    follow : str
        On local disks, one of :data:`FOLLOW` for an archive; :data:`jobs.storage.walk.OWN` for a folder of ours.
    leave_out : callable, optional
        As for :func:`survey`; it is not asked for what may not be read.

    Raises
    ------
    StorageError
        If any of it may not be listed.
    """
    is_local = scheme_of(folder) == "file"

    def is_left_out(stored: Stored) -> bool:
        if is_local and is_draft(stored):
            return True
        return leave_out is not None and stored.etag != DENIED and leave_out(stored)

    found = survey(folder, follow, is_left_out)
    if found is None:
        return None
    denied = [*found.denied, *(each.uri for each in found.objects if each.etag == DENIED)]
    if denied:
        raise NoPermissionError(f"{denied[0]}: permission denied. Check who may read and write there.")
    warn_of(found.links)
    return found.objects


def names(folder: str) -> Iterator[str]:
    """Yield the names of the objects right below a folder, in no order; none if there is no such folder.

    It asks for nothing but names, and holds none of them: a folder may have millions.
    """
    store, folder = _located(folder)
    return store.names(folder)


def drafts(folder: str) -> list[Stored]:
    """Return the files below a folder that are being written, or were when their writers were killed.

    No listing has them. On S3 there are none: an unfinished upload is no object.
    """
    store, folder = _located(folder)
    return store.drafts(folder)


def stat_below(uri: str, root: str) -> Stored | None:
    """Return a source as :func:`stat` does; None for a local file to which a link leads out of the archive's root."""
    return local_below(uri, root) if scheme_of(uri) == "file" else stat(uri, as_source=True)


def survey(folder: str, follow: str = OWN, leave_out: LeaveOut = None) -> Listing | None:
    """Return what :func:`listing` does, and beside it what may not be read, and the links that are passed over.

    Parameters
    ----------
    leave_out : callable, optional
        Asked for each object as it is found; one that it leaves out takes no memory.
    """
    store, folder = _located(folder)
    return store.listing(folder, follow, leave_out)


def matching(pattern: str, follow: str = OWN, leave_out: LeaveOut = None) -> Listing:
    """Return every object that a glob matches, or that lies below a folder that it matches, as :func:`survey` does."""
    store, pattern = _located(pattern)
    return store.matching(pattern, follow, leave_out)


def empty_folders(folder: str) -> list[str]:
    """Return the URIs of folders below a local folder that hold nothing; other stores have no folders."""
    return empty_local_folders(folder) if scheme_of(folder) == "file" else []


def linked_files(folder: str) -> list[str]:
    """Return the URIs of links below a local folder that lead to files; other stores have no links."""
    return links_to_files(folder) if scheme_of(folder) == "file" else []


def bytes_held(stored: Stored) -> int | None:
    """Return the bytes that a local disk holds of a file, without its holes; None if that is not known."""
    return bytes_on_disk(stored.uri) if scheme_of(stored.uri) == "file" else None


def warn_of(links: dict[str, Links]) -> None:
    """Log how many links a listing passed over, by reason, and the first of each."""
    for reason, each in links.items():
        log.warning("%d %s; first: %s", each.n, REASONS[reason], each.first)


def opened(stored: Stored, *, whole: bool = False) -> AbstractContextManager[StoredFile]:
    """Open a planned object for reading, best from front to back; seeking is possible.

    Parameters
    ----------
    stored : Stored
    whole : bool
        True if :meth:`StoredFile.verify` must see every byte: then the bytes that the reader skips are read, too.

    Raises
    ------
    NoPermissionError
        If it is a local file that may not be read.
    SourceChangedError
        If it is gone, or no longer the one that was planned; on S3 at the first read, elsewhere at once.
    StorageError
        If the store gave up, also during the caller's reads.
    """
    store, _ = _located(stored.uri)
    return store.opened(stored, whole=whole)


def first_bytes(stored: Stored, n_bytes: int) -> bytes:
    """Read the first bytes of an object in one small request, or all of a shorter one.

    Raises
    ------
    RefusedError
        If it may not be read.
    SourceChangedError
        If it is gone, or replaced.
    StorageError
    """
    store, _ = _located(stored.uri)
    return store.first_bytes(stored, min(n_bytes, stored.size))


def around(uri: str, within: str) -> Iterator[list[Stored]]:
    """Yield objects near one, a page of a listing at a time: of its folder, and of those above it in a place."""
    store, uri = _located(uri)
    return store.around(uri, within)


def read_bytes(uri: str) -> bytes:
    """Read the whole content of a small object; it is compared with the ETag if that is a digest."""
    store, uri = _located(uri)
    return store.read(uri)


def write_bytes(uri: str, content: bytes) -> None:
    """Write an object, replacing any other; readers see all of it or nothing."""
    store, uri = _located(uri)
    store.write(uri, content)


def put(uri: str, content: bytes, expected: str) -> Found | None:
    """Write an object only if the one there has the tag ``expected``; ABSENT: only if there is none.

    Returns
    -------
    Found or None
        None if it is written, by this request or by an earlier one whose reply was lost: an object with the same
        bytes counts as ours. Otherwise the object that is there instead.
    """
    store, uri = _located(uri)
    return store.put(uri, content, expected)


def modified(folder: str) -> dict[str, float]:
    """Return when each object below a folder was written, by URI: seconds since 1970 by the store's clock, not ours."""
    store, folder = _located(folder)
    return store.modified(folder)


def remove(uri: str) -> None:
    """Delete an object; do nothing if there is none."""
    store, uri = _located(uri)
    store.remove(uri)


def abandon_uploads(folder: str, older_than: float) -> list[str]:
    """Remove unfinished writes below a folder: multipart uploads, and drafts of files.

    Parameters
    ----------
    folder : str
    older_than : float
        Remove those that were begun before this time, in seconds since 1970 by the store's clock.

    Returns
    -------
    list of str
        Their keys. No reader ever saw an object there.
    """
    store, folder = _located(folder)
    return store.abandon_uploads(folder, older_than)


def download(folder: str, target: str, names: tuple[str, ...]) -> None:
    """Copy the objects right below a folder whose names match one of the globs ``names`` into a local folder."""
    for stored in listing(folder) or []:
        name = name_of(stored.uri)
        inside = stored.uri == join(normal(folder), name)
        if inside and any(fnmatch.fnmatchcase(name, each) for each in names):
            copied = os.path.join(target, name)
            with storage_errors(copied), opened(stored, whole=True) as file, open(copied, "wb") as copy:
                shutil.copyfileobj(file, copy, READ_AHEAD_BYTES)
                file.verify()
