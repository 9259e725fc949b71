"""The store of `s3://` URIs: objects and listings of buckets."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from botocore.exceptions import ClientError
from fsspec.utils import glob_translate

from detector.errors import ConfigError
from jobs.errors import StorageError
from jobs.storage.files import RangeFile, StoredFile
from jobs.storage.objects import ABSENT, Found, Listing, NotFoundError, Stored
from jobs.storage.s3.body import RangeBody, check_page, etag_of
from jobs.storage.s3.client import S3Client
from jobs.storage.s3.errors import is_denied
from jobs.storage.s3.ranges import ObjectRanges


class S3:
    """Objects in buckets; an object's tag is its ETag."""

    def __init__(self) -> None:
        self._client = S3Client()

    def stat(self, uri: str) -> Stored | None:
        """HEAD."""
        head = self._client.head(uri, (404,)) if self._client.split(uri)[1] else None
        return None if head is None else Stored(uri.rstrip("/"), head["ContentLength"], etag_of(head))

    def read(self, uri: str) -> bytes:
        """GET; if it breaks off, GET the rest of the same object."""
        return self._read_tagged(uri)[0]

    def write(self, uri: str, content: bytes) -> None:
        """PUT."""
        self._client.put(uri, content)

    def put(self, uri: str, content: bytes, expected: str) -> Found | None:
        """PUT under a condition; if it is refused, an earlier attempt may have succeeded: so compare what is there."""
        if expected == ABSENT:
            done = self._client.put(uri, content, (412,), IfNoneMatch="*")
        else:
            done = self._client.put(uri, content, (404, 412), IfMatch=f'"{expected}"')
        if done:
            return None
        try:
            found = Found(*self._read_tagged(uri))
        except NotFoundError:
            return Found(None, ABSENT)
        return None if found.content == content else found

    def remove(self, uri: str) -> None:
        """DELETE; it succeeds on S3 without an object, too."""
        bucket, key = self._client.split(uri)
        self._client.ask(uri, "delete_object", refusals=(404,), Bucket=bucket, Key=key)

    def check_bucket(self, uri: str) -> None:
        """List one key, which needs the bucket and the right to list it."""
        bucket, key = self._client.split(uri)
        arguments = {"Bucket": bucket, "Prefix": _prefix_of(key), "MaxKeys": 1}
        if self._client.ask(uri, "list_objects_v2", check_page, (404,), **arguments) is None:
            raise NotFoundError(f"{uri}: not found. Check the bucket and the spelling.")

    @contextlib.contextmanager
    def opened(self, stored: Stored, *, whole: bool) -> Iterator[StoredFile]:
        """GET by ranges, each on the condition that the object is still the planned one: no HEAD is needed."""
        file = RangeFile(stored, ObjectRanges(self._client, stored, multipart=whole), whole=whole)
        yield StoredFile(file, stored.uri, file.verify)

    def first_bytes(self, stored: Stored, n_bytes: int) -> bytes:
        """GET that range, on the condition that the object is the planned one."""
        try:
            return ObjectRanges(self._client, stored, multipart=False).fetch(0, n_bytes)
        except StorageError as error:
            if isinstance(error.__cause__, ClientError) and is_denied(error.__cause__):
                return b""  # archived in a cold tier, or under a key that we do not have
            raise

    def listing(self, folder: str, follow: str) -> Listing | None:  # noqa: ARG002 - there are no links
        """List, with one request for each thousand keys."""
        bucket, key = self._client.split(folder)
        found = self._list(folder, bucket, _prefix_of(key))
        if found is None or (key and not found):
            return None
        return Listing([stored for stored, _ in found if not _is_folder(stored)])

    def matching(self, pattern: str, follow: str) -> Listing:  # noqa: ARG002 - there are no links
        """List keys with the pattern's constant prefix, with one request for each thousand, and match them."""
        bucket, key = self._client.split(pattern)
        try:
            matches = re.compile(glob_translate(key).removesuffix(r"\Z") + r"(?s:/.*)?\Z").match
        except ValueError as error:
            raise ConfigError(f"{pattern}: {error}.") from error
        found = self._list(pattern, bucket, re.split(r"[*?\[]", key)[0]) or []
        return Listing([each for each, _ in found if matches(self._client.split(each.uri)[1]) and not _is_folder(each)])

    def drafts(self, folder: str) -> list[Stored]:  # noqa: ARG002
        """None: an unfinished upload is no object."""
        return []

    def modified(self, folder: str) -> dict[str, float]:
        """LastModified, from the listing."""
        bucket, key = self._client.split(folder)
        found = self._list(folder, bucket, _prefix_of(key)) or []
        return {stored.uri: seconds for stored, seconds in found if not _is_folder(stored)}

    def abandon_uploads(self, folder: str, older_than: float) -> list[str]:
        """Abort multipart uploads."""
        bucket, key = self._client.split(folder)
        aborted = []
        marker: dict[str, str] = {}
        while True:
            arguments = {"Bucket": bucket, "Prefix": _prefix_of(key)} | marker
            page = self._client.ask(folder, "list_multipart_uploads", check_page, (404,), **arguments)
            for each in (page or {}).get("Uploads", ()):
                if each["Initiated"].timestamp() < older_than:
                    upload = {"Bucket": bucket, "Key": each["Key"], "UploadId": each["UploadId"]}
                    self._client.ask(folder, "abort_multipart_upload", refusals=(404,), **upload)
                    aborted.append(each["Key"])
            if page is None or not page["IsTruncated"]:
                return sorted(aborted)
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker", "")}

    def _list(self, uri: str, bucket: str, prefix: str) -> list[tuple[Stored, float]] | None:
        """Return all objects whose keys have a prefix, sorted, each once, and their times; None without the bucket."""
        base = uri.partition("://")[0] + f"://{bucket}/"
        found: dict[str, tuple[Stored, float]] = {}
        token: dict[str, str] = {}
        while True:
            arguments = {"Bucket": bucket, "Prefix": prefix} | token
            page = self._client.ask(uri, "list_objects_v2", check_page, (404,), **arguments)
            if page is None:
                return None
            for each in page.get("Contents", ()):
                stored = Stored(base + each["Key"], each["Size"], etag_of(each))
                found[stored.uri] = (stored, each["LastModified"].timestamp())
            if not page["IsTruncated"]:
                return sorted(found.values())
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _read_tagged(self, uri: str) -> tuple[bytes, str]:
        """Return content and ETag of the object that stands at ``uri``."""
        while True:
            body = RangeBody()
            if self._client.fetch(uri, body, 0, None):
                return bytes(body.content), body.etag
            if not body.etag:
                raise NotFoundError(f"{uri}: not found. Check the bucket and the spelling.")
            # it was replaced after a part of it had arrived: read the new one from its start


def _prefix_of(key: str) -> str:
    return f"{key}/" if key else ""


def _is_folder(stored: Stored) -> bool:
    """Return True for the empty objects with which some tools mark a folder."""
    return stored.uri.endswith("/")
