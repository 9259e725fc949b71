"""Ranges of a planned object, for a :class:`~jobs.storage.files.RangeFile`."""

from __future__ import annotations

import re

from jobs.errors import StorageError
from jobs.storage.files import ContentDigest
from jobs.storage.objects import Stored, source_changed
from jobs.storage.s3.body import RangeBody, etag_of
from jobs.storage.s3.client import S3Client


class ObjectRanges:
    """Fetches ranges of one object, and provides the digest to compare its content with.

    Parameters
    ----------
    client : S3Client
    stored : Stored
    multipart : bool
        Ask for the size of parts, so that the digest of a multipart upload can be compared, too.
    """

    def __init__(self, client: S3Client, stored: Stored, *, multipart: bool) -> None:
        self._client = client
        self._stored = stored
        self._multipart = multipart
        self._encrypted = False
        self._part_bytes: int | None = None

    def fetch(self, start: int, stop: int) -> bytes:
        """Return the bytes of a range; SourceChangedError if the object is no longer the planned one."""
        body = RangeBody(self._stored.etag)
        if self._client.fetch(self._stored.uri, body, start, stop, self._stored.size):
            self._encrypted = body.encrypted
            return bytes(body.content)
        now = self._find()
        if now == self._stored:
            raise StorageError(f"{self._stored.uri}: the store contradicts itself about whether it changed. Run again.")
        raise source_changed(self._stored, now)

    def _find(self) -> Stored | None:
        head = self._client.head(self._stored.uri, (404,))
        return None if head is None else Stored(self._stored.uri, head["ContentLength"], etag_of(head))

    def digest(self) -> ContentDigest:
        """Return the digest of the ETag; for a multipart upload, only if all of its parts seem to have one size."""
        etag = "" if self._encrypted else self._stored.etag
        n_parts = int(etag.partition("-")[2] or 0) if re.fullmatch(r"\w+-\d+", etag) else 0
        if n_parts and self._multipart:
            self._part_bytes = self._size_of_part(1)
            if self._part_bytes is None or -(-self._stored.size // self._part_bytes) != n_parts:
                return ContentDigest("")
        return ContentDigest(etag, self._part_bytes)

    def conclusive(self) -> bool:
        """Return True if the parts do have one size; asked only after a mismatch, as it takes a request for each."""
        if self._part_bytes is None:
            return True
        n_whole = (self._stored.size - 1) // self._part_bytes
        return all(self._size_of_part(number) == self._part_bytes for number in range(2, n_whole + 1))

    def _size_of_part(self, number: int) -> int | None:
        refusals = (400, 404, 412, 416, 501)
        head = self._client.head(self._stored.uri, refusals, IfMatch=f'"{self._stored.etag}"', PartNumber=number)
        return int(head["ContentLength"]) if head and head.get("PartsCount") else None
