"""Storage: the one module that knows fsspec. To the rest, a URI is a label.

A local URI is an absolute path without scheme; every other keeps its scheme (`s3://bucket/key`). Credentials
and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, a profile, a role), never from
a URI.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.exceptions
import fsspec

from detector.errors import ConfigError
from jobs.errors import RunAgain, StorageError

READ_AHEAD_BYTES = 8 << 20
log = logging.getLogger(__name__)

ATTEMPTS = 3  # of botocore, for one request; s3fs asks five times, with growing pauses: half a minute in all

OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        # listings are never cached: a run that looks twice must see the store, not its memory
        "use_listings_cache": False,
        "config_kwargs": {
            "retries": {"max_attempts": ATTEMPTS, "mode": "standard"},
            "connect_timeout": 5,
            "read_timeout": 30,
        },
    },
    "file": {"use_listings_cache": False},
}


@dataclass(frozen=True, order=True)
class Stored:
    """One stored object: where, how many bytes, and a tag that changes with its content."""

    uri: str
    size: int
    etag: str


def normal(uri: str) -> str:
    """The one spelling of a URI that ids and plans are made of.

    Examples
    --------
    >>> normal("s3://bucket/a//b.tar")
    's3://bucket/a//b.tar'
    >>> normal("file:///data/../data/a.flac")
    '/data/a.flac'
    """
    scheme, place = _scheme(uri), uri.partition("://")[2].partition("/")[0]
    if scheme == "file":
        return os.path.abspath(uri.removeprefix("file://"))
    if "@" in place or not re.fullmatch(r"arn:.*|[^:]*(:\d+)?", place):
        raise ConfigError(f"{scheme}://…: credentials in a URI; give them by environment, profile or role.")
    return uri


def key_of(uri: str) -> str:
    """A URI without its scheme and bucket: what `utterance_id` is made of.

    Examples
    --------
    >>> key_of("s3://bucket/shards/0001.tar"), key_of("/data/a.flac")
    ('shards/0001.tar', '/data/a.flac')
    """
    return uri.partition("://")[2].partition("/")[2] if "://" in uri else uri


def join(folder: str, *names: str) -> str:
    """Join a folder's URI and names below it."""
    return posixpath.join(folder, *names)


def name_of(uri: str) -> str:
    """The last part of a URI."""
    return posixpath.basename(uri.rstrip("/"))


@cache
def _filesystem(scheme: str) -> Any:
    try:
        return fsspec.filesystem(scheme, **OPTIONS.get(scheme, {}))
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{scheme}://: no such kind of storage: {error}. Use a path, file:// or s3://.") from error


def _located(uri: str) -> tuple[Any, str]:
    scheme = uri.split("://", 1)[0] if "://" in uri else "file"
    fs = _filesystem(scheme)
    return fs, fs._strip_protocol(uri)


class NotFoundError(ConfigError):
    """There is no such object, folder or bucket."""


@contextlib.contextmanager
def _named(uri: str) -> Iterator[None]:
    """Give the store's troubles the class that says what to do, and the URI that they are about."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{uri}: not found ({error}). Check the bucket and the spelling.") from error
    except botocore.exceptions.ParamValidationError as error:
        raise ConfigError(f"{uri}: no such name can be: {str(error).splitlines()[-1][:200]}") from error
    except PermissionError as error:
        raise StorageError(f"{uri}: permission denied ({error}). Check credentials and policy.") from error
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as error:
        raise StorageError(f"{uri}: no credentials ({error}). Set AWS_ACCESS_KEY_ID or a role.") from error
    except (OSError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise StorageError(f"{uri}: the store gave up, after retries: {error}") from error


def _stored(scheme: str, info: dict[str, Any]) -> Stored:
    if scheme == "file":
        return Stored(info["name"], info["size"], f"{int(info['mtime'] * 1e9):x}")
    return Stored(f"{scheme}://{info['name']}", info["size"], str(info.get("ETag", "")).strip('"'))


def stat(uri: str) -> Stored | None:
    """The object at ``uri``; None where there is none (or a folder)."""
    fs, path = _located(uri)
    try:
        with _named(uri):
            info = fs.info(path)
    except NotFoundError:
        return None
    return _stored(_scheme(uri), info) if info["type"] == "file" else None


def listing(folder: str) -> list[Stored] | None:
    """Every object below a folder or prefix, sorted by URI; None where there is no such folder."""
    fs, path = _located(folder)
    try:
        with _named(folder):
            found = fs.find(path, detail=True)
            if not found and not fs.isdir(path):
                return None
    except NotFoundError:
        return None
    return _files(fs, folder, found)


def matching(pattern: str) -> list[Stored]:
    """Every object that a glob matches, or that lies below a folder that it matches, sorted by URI."""
    fs, path = _located(pattern)
    with _named(pattern):
        found = fs.glob(path, detail=True)
        for folder in [each for each, info in found.items() if info["type"] == "directory"]:
            found |= fs.find(folder, detail=True)
    return _files(fs, pattern, {name: info for name, info in found.items() if info["type"] != "directory"})


def _files(fs: Any, uri: str, found: dict[str, dict[str, Any]]) -> list[Stored]:
    """What of a listing is an object; local links count as what they point to, where that is a file."""
    files = []
    for path, listed in found.items():
        info = fs.info(path) if listed.get("islink") else listed
        if info["type"] == "file":
            files.append(_stored(_scheme(uri), info))
        elif listed.get("islink"):
            log.warning("%s: a link to a folder, or to nothing, is passed over; name a folder as an input", path)
    return sorted(files)


def _scheme(uri: str) -> str:
    return uri.split("://", 1)[0] if "://" in uri else "file"


@contextlib.contextmanager
def opened(stored: Stored) -> Iterator[StoredFile]:
    """Open an object that was planned, for reading from front to back; seeking is possible.

    Raises
    ------
    RunAgain
        Where it is gone, or is no longer the one that was planned.
    StorageError
        Where the store gave up, also during the caller's reads.
    """
    now = stat(stored.uri)
    if now != stored:
        found = "it is gone" if now is None else f"it has {now.size} bytes and tag {now.etag}"
        raise RunAgain(
            f"{stored.uri}: changed since the plan was made: {stored.size} bytes and tag {stored.etag} were planned, "
            f"now {found}. Run the same command again to plan anew."
        )
    fs, path = _located(stored.uri)
    options = {} if _scheme(stored.uri) == "file" else {"block_size": READ_AHEAD_BYTES, "cache_type": "readahead"}
    with _named(stored.uri):
        file = fs.open(path, "rb", **options)
    with file:
        yield StoredFile(file, stored.uri)


class StoredFile:
    """A readable file whose troubles carry its URI and :class:`StorageError`, and are remembered.

    Decoders written in C swallow an exception of the file that they read and take it for its end; so whoever
    gave them this file asks afterwards, by :meth:`raise_trouble`.
    """

    def __init__(self, file: Any, uri: str) -> None:
        self._file = file
        self._uri = uri
        self._trouble: Exception | None = None

    def raise_trouble(self) -> None:
        """Raise what a read ran into, if any did."""
        if self._trouble is not None:
            raise self._trouble

    def read(self, size: int = -1) -> bytes:
        """As any file's."""
        try:
            with _named(self._uri):
                try:
                    return bytes(self._file.read(size))
                except OSError as error:
                    if isinstance(error, FileNotFoundError) or error.errno == errno.EBUSY:  # s3fs: the tag changed
                        raise RunAgain(f"{self._uri}: changed while it was read; run again to plan anew.") from error
                    raise
        except Exception as error:
            self._trouble = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        """As any file's."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """As any file's."""
        return int(self._file.tell())

    def seekable(self) -> bool:
        """It is; tarfile asks."""
        return True


def read_bytes(uri: str) -> bytes:
    """The whole content of a small object."""
    fs, path = _located(uri)
    with _named(uri):
        return bytes(fs.cat_file(path))


def write_bytes(uri: str, content: bytes) -> None:
    """Put an object whole: readers see all of it or nothing."""
    fs, path = _located(uri)
    with _named(uri):
        if _scheme(uri) != "file":
            fs.pipe_file(path, content)
            return
        # a local file appears by renaming, from a name that no *.parquet glob matches
        os.makedirs(posixpath.dirname(path), exist_ok=True)
        draft = f"{path}.{os.getpid()}.part"
        try:
            with open(draft, "wb") as file:
                file.write(content)
            os.replace(draft, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(draft)


def download(folder: str, target: str, names: tuple[str, ...]) -> None:
    """Copy the objects of a folder whose names match one of the globs ``names`` into a local folder."""
    fs, path = _located(folder)
    with _named(folder):
        for pattern in names:
            for found in fs.glob(posixpath.join(path, pattern)):
                fs.get_file(found, posixpath.join(target, posixpath.basename(found)))
