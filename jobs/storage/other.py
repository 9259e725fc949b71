"""Every other kind of storage that fsspec supports: `gs://`, `abfs://`, `memory://` …

Requests are retried by fsspec's client of that kind, by its own rules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from detector.errors import ConfigError
from jobs.storage.files import READ_AHEAD_BYTES, StoredFile
from jobs.storage.objects import (
    ABSENT,
    Found,
    LeaveOut,
    Listing,
    NotFoundError,
    RefusedError,
    Sieve,
    Stored,
    source_changed,
    storage_errors,
)


def filesystem(scheme: str) -> Any:
    """Return fsspec's file system of a scheme, for a library that reads through it, with credentials as everywhere."""
    import fsspec  # only now: runs on local disks need none of it

    return fsspec.filesystem(scheme)


@contextlib.contextmanager
def _errors(uri: str) -> Iterator[None]:
    """Re-raise errors as :func:`storage_errors`; ConfigError for a name that this kind of storage cannot have."""
    try:
        with storage_errors(uri):
            yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{uri}: no name of such a storage: {error}") from error


class Other:
    """The store of any other scheme. Without conditional writes, two runs at once on one output are not safe."""

    def __init__(self, scheme: str) -> None:
        import fsspec  # as above

        self._scheme = scheme
        try:
            self._fs: Any = fsspec.filesystem(scheme, use_listings_cache=False)
        except (ValueError, ImportError, TypeError) as error:  # some need arguments that no URI can give
            raise ConfigError(
                f"{scheme}://: no such kind of storage: {error}. Use a path, file:// or s3://."
            ) from error

    def stat(self, uri: str, *, as_source: bool = False) -> Stored | None:  # noqa: ARG002 - it has one kind of tag
        """The object; None if there is none."""
        try:
            with _errors(uri):
                info = self._fs.info(uri)
        except NotFoundError:
            return None
        return self._stored(info) if info["type"] == "file" else None

    def listing(self, folder: str, follow: str, leave_out: LeaveOut = None) -> Listing | None:  # noqa: ARG002 - no links
        """List by fsspec's `find`."""
        try:
            with _errors(folder):
                found = self._fs.find(folder)
                if not found and not self._fs.isdir(folder):
                    return None
        except NotFoundError:
            return None
        return self._files(found, leave_out)

    def names(self, folder: str) -> Iterator[str]:
        """List by fsspec's `ls`."""
        with contextlib.suppress(NotFoundError), storage_errors(folder):
            yield from (path.rstrip("/").rpartition("/")[2] for path in self._fs.ls(folder, detail=False))

    def matching(self, pattern: str, follow: str, leave_out: LeaveOut = None) -> Listing:  # noqa: ARG002
        """List by fsspec's `glob`."""
        with _errors(pattern):
            found = self._fs.glob(pattern, detail=True)
            below = [path for each in found if found[each]["type"] == "directory" for path in self._fs.find(each)]
        return self._files([*found, *below], leave_out)

    def _files(self, paths: list[str], leave_out: LeaveOut) -> Listing:
        sieve = Sieve(leave_out)
        for path in sorted(set(paths)):
            if (found := self.stat(self._fs.unstrip_protocol(path))) is not None:
                sieve.take(found)
        return Listing(sieve.kept, n_left_out=sieve.n_left_out)

    def _stored(self, info: dict[str, Any]) -> Stored:
        tag = next((info[name] for name in ("ETag", "etag", "mtime", "created") if info.get(name)), "")
        return Stored(self._fs.unstrip_protocol(info["name"]), info["size"], str(tag).strip('"'))

    @contextlib.contextmanager
    def opened(self, stored: Stored, *, whole: bool) -> Iterator[StoredFile]:  # noqa: ARG002 - there is no digest
        """Open, and compare with the plan before and after."""
        self._check(stored)
        with storage_errors(stored.uri, RefusedError):
            file = self._fs.open(stored.uri, "rb", block_size=READ_AHEAD_BYTES, cache_type="readahead")
        with file:
            yield StoredFile(file, stored.uri, lambda: self._check(stored))
        self._check(stored)

    def _check(self, stored: Stored) -> None:
        now = self.stat(stored.uri)
        if now != stored:
            raise source_changed(stored, now)

    def first_bytes(self, stored: Stored, n_bytes: int) -> bytes:
        """Read that range; a reader would fetch a whole block."""
        with storage_errors(stored.uri, RefusedError):
            return bytes(self._fs.cat_file(stored.uri, start=0, end=n_bytes))

    def around(self, uri: str, within: str) -> Iterator[list[Stored]]:  # noqa: ARG002
        """List its folder by fsspec's `ls`."""
        with contextlib.suppress(NotFoundError), storage_errors(uri, RefusedError):
            found = self._fs.ls(uri.rpartition("/")[0], detail=True)
            yield [self._stored(each) for each in found if each["type"] == "file"]

    def read(self, uri: str) -> bytes:
        """Read all of it."""
        with storage_errors(uri):
            return bytes(self._fs.cat_file(uri))

    def write(self, uri: str, content: bytes) -> None:
        """Write it in one call."""
        with storage_errors(uri):
            self._fs.pipe_file(uri, content)

    def put(self, uri: str, content: bytes, expected: str) -> Found | None:
        """Look, then write: a write between the two is lost."""
        stands = self.stat(uri)
        if (stands.etag if stands else ABSENT) == expected:
            self.write(uri, content)
            return None
        found = Found(self.read(uri), stands.etag) if stands else Found(None, ABSENT)
        return None if found.content == content else found

    def drafts(self, folder: str) -> list[Stored]:  # noqa: ARG002
        """None: a file of other stores is written at once."""
        return []

    def modified(self, folder: str) -> dict[str, float]:
        """Return times by fsspec's `modified`."""
        with storage_errors(folder):
            found = self.listing(folder, "no") or Listing([])
            return {each.uri: self._fs.modified(each.uri).timestamp() for each in found.objects}

    def remove(self, uri: str) -> None:
        """Delete it, if it exists."""
        with storage_errors(uri), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(uri)

    def abandon_uploads(self, folder: str, older_than: float) -> list[str]:  # noqa: ARG002 - one signature for all stores
        """Return none: fsspec does not list them."""
        return []
