"""Storage: the one package that knows fsspec. To the rest, a URI is a label.

A local URI is an absolute path without scheme; every other keeps its scheme (`s3://bucket/key`). Credentials
and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, a profile, a role), never from
a URI.

Every request is tried again until :func:`be_patient`'s budget is spent; what is raised then is a
:class:`~jobs.errors.StorageError` that names the URI, and a trouble of the store is never anything else.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from contextlib import AbstractContextManager
from functools import cache
from typing import Protocol

from jobs.storage.files import READ_AHEAD_BYTES, ReadOnlyFile, StoredFile
from jobs.storage.local import Local
from jobs.storage.names import ABSENT, Found, NotFoundError, Stored, join, key_of, name_of, named, normal, scheme_of
from jobs.storage.other import Other
from jobs.storage.patience import retries, set_retry_budget
from jobs.storage.s3 import S3

__all__ = [
    "ABSENT",
    "READ_AHEAD_BYTES",
    "Found",
    "NotFoundError",
    "ReadOnlyFile",
    "Stored",
    "StoredFile",
    "abandon_uploads",
    "download",
    "join",
    "key_of",
    "listing",
    "matching",
    "modified",
    "name_of",
    "normal",
    "opened",
    "put",
    "read_bytes",
    "remove",
    "retries",
    "set_retry_budget",
    "stat",
    "write_bytes",
]


class Store(Protocol):
    """A kind of storage; what its methods promise is said at the functions below."""

    def stat(self, uri: str) -> Stored | None: ...
    def listing(self, folder: str) -> list[Stored] | None: ...
    def matching(self, pattern: str) -> list[Stored]: ...
    def opened(self, stored: Stored, *, whole: bool) -> AbstractContextManager[StoredFile]: ...
    def read(self, uri: str) -> bytes: ...
    def write(self, uri: str, content: bytes) -> None: ...
    def put(self, uri: str, content: bytes, expected: str) -> Found | None: ...
    def modified(self, folder: str) -> dict[str, float]: ...
    def remove(self, uri: str) -> None: ...
    def abandon_uploads(self, folder: str, older_than: float) -> list[str]: ...


@cache
def _store(scheme: str, pid: int) -> Store:  # noqa: ARG001 - a client's thread does not live on in a forked child
    """One client of a kind for all threads of a process."""
    if scheme == "file":
        return Local()
    return S3() if scheme in ("s3", "s3a") else Other(scheme)


def _located(uri: str) -> tuple[Store, str]:
    scheme = scheme_of(uri)
    return _store(scheme, os.getpid()), normal(uri) if scheme == "file" else uri


def stat(uri: str) -> Stored | None:
    """The object at ``uri``; None where there is none (or a folder)."""
    store, uri = _located(uri)
    return store.stat(uri)


def listing(folder: str) -> list[Stored] | None:
    """Every object below a folder or prefix, once each, sorted by URI; None where there is no such folder."""
    store, folder = _located(folder)
    return store.listing(folder)


def matching(pattern: str) -> list[Stored]:
    """Every object that a glob matches, or that lies below a folder that it matches, sorted by URI."""
    store, pattern = _located(pattern)
    return store.matching(pattern)


def opened(stored: Stored, *, whole: bool = False) -> AbstractContextManager[StoredFile]:
    """Open an object that was planned, for reading from front to back; seeking is possible.

    Parameters
    ----------
    stored : Stored
    whole : bool
        Whether :meth:`StoredFile.verify` is to have seen every byte: what the reader skips is then read, too.

    Raises
    ------
    SourceChangedError
        Where it is gone, or is no longer the one that was planned; on S3 at the first read, elsewhere at once.
    StorageError
        Where the store gave up, also during the caller's reads.
    """
    store, _ = _located(stored.uri)
    return store.opened(stored, whole=whole)


def read_bytes(uri: str) -> bytes:
    """The whole content of a small object, held against its ETag where that is a digest."""
    store, uri = _located(uri)
    return store.read(uri)


def write_bytes(uri: str, content: bytes) -> None:
    """Put an object whole, whatever stands there: readers see all of it or nothing."""
    store, uri = _located(uri)
    store.write(uri, content)


def put(uri: str, content: bytes, expected: str) -> Found | None:
    """Put an object whole, only where the one with the etag ``expected`` stands; ABSENT: only where none does.

    Returns
    -------
    Found or None
        None where it is done, by this try or by one whose reply was lost: whatever stands there and is the same
        to the byte counts as ours. Else what stands there instead.
    """
    store, uri = _located(uri)
    return store.put(uri, content, expected)


def modified(folder: str) -> dict[str, float]:
    """When each object below a folder was written, by URI: seconds since 1970 by the store's clock, not ours."""
    store, folder = _located(folder)
    return store.modified(folder)


def remove(uri: str) -> None:
    """Delete an object; where there is none, that is fine."""
    store, uri = _located(uri)
    store.remove(uri)


def abandon_uploads(folder: str, older_than: float) -> list[str]:
    """Give up what somebody began to write below a folder and did not finish: uploads in parts, drafts of files.

    Parameters
    ----------
    folder : str
    older_than : float
        Begun before this, in seconds since 1970 by the store's clock.

    Returns
    -------
    list of str
        Their keys. Nobody ever saw an object there.
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
            with named(copied), opened(stored, whole=True) as file, open(copied, "wb") as copy:
                shutil.copyfileobj(file, copy, READ_AHEAD_BYTES)
                file.verify()
