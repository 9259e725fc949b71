"""Bodies on the wire: a range of an object as it arrives, and the time limits of receiving and sending."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import Awaitable
from typing import Any, TypeVar

from botocore import exceptions as boto

from jobs.storage.files import ContentDigest
from jobs.storage.retry_budget import CorruptReplyError
from jobs.storage.s3.errors import CONNECTION_ERRORS, SlowError

ANSWER_SECONDS = 40.0  # for headers, or for an answer without a body
SLOW_SECONDS = 20.0
SLOW_BYTES = 64_000 * 20  # of a body that must be transferred in that time
CHUNK_BYTES = 1 << 20

Answer = TypeVar("Answer")


async def answered(request: Awaitable[Answer]) -> Answer:
    """Wait for the headers of an answer; TimeoutError after ANSWER_SECONDS."""
    async with asyncio.timeout(ANSWER_SECONDS):
        return await request


class RangeBody:
    """A range of an object as far as it has arrived, over any number of requests.

    Parameters
    ----------
    planned : str
        ETag that the object must have; empty for any. Then it is the ETag of the first answer.
    """

    def __init__(self, planned: str = "") -> None:
        self.content = bytearray()
        self.etag = planned
        self._planned = planned
        self.total = 0
        self.encrypted = False  # by a key of the bucket or customer: then the ETag is no digest of what we read

    def condition(self, start: int, stop: int | None) -> dict[str, str]:
        """Return the arguments of a request for the part that is missing."""
        offset = start + len(self.content)
        last = "" if stop is None else stop - 1
        arguments = {"Range": f"bytes={offset}-{last}"} if offset or stop else {}
        return arguments | ({"IfMatch": f'"{self.etag}"'} if self.etag else {})

    def expected(self, reply: dict[str, Any], start: int, stop: int | None, size: int | None) -> int:
        """Return how many bytes an answer must bring; CorruptReplyError if it answers another request."""
        check_object(reply)
        offset = start + len(self.content)
        n_bytes = int(reply["ContentLength"])
        total = offset + n_bytes
        if "ContentRange" in reply:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", reply["ContentRange"])
            if found is None or int(found[1]) != offset:
                raise CorruptReplyError(f"asked for bytes from {offset}, the store sends {reply['ContentRange']}")
            total = int(found[3])
        elif offset:
            raise CorruptReplyError(f"asked for bytes from {offset}, the store sends the whole")
        if size is not None and "ContentRange" in reply and total != size:
            raise CorruptReplyError(f"{total} bytes where {size} were listed under the same ETag")
        end = stop if stop is not None else total
        if n_bytes > end - offset:
            raise CorruptReplyError(f"{n_bytes} bytes came where {end - offset} were asked for")
        if self.etag not in ("", etag_of(reply)):
            raise CorruptReplyError(f"the store sends the object {etag_of(reply)} where {self.etag} was asked for")
        self.etag, self.total = etag_of(reply), total
        self.encrypted = reply.get("ServerSideEncryption") not in (None, "AES256") or "SSECustomerAlgorithm" in reply
        return end - offset

    async def receive(self, stream: Any, n_bytes: int) -> None:
        """Read ``n_bytes`` of an answer; an error if they come too slowly, or if fewer or more come."""
        end = len(self.content) + n_bytes
        try:
            while len(self.content) < end:
                before = len(self.content)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SLOW_SECONDS):
                        await self._receive_until(stream, end)
                if len(self.content) < end and len(self.content) - before < SLOW_BYTES:
                    speed = SLOW_BYTES / SLOW_SECONDS / 1000
                    raise SlowError(f"a body of {n_bytes} bytes came at under {speed:.0f} kB/s")
            if len(self.content) > end or await _has_more(stream):
                raise self.discard("more bytes came than were announced")
        except boto.FlexibleChecksumError as error:
            raise self.discard(f"bytes came that are not those the store says it sent: {error}") from error

    async def _receive_until(self, stream: Any, end: int) -> None:
        while len(self.content) < end:
            chunk = await stream.read(CHUNK_BYTES)
            if not chunk:
                raise ConnectionError(f"the body ended {end - len(self.content)} bytes too soon")
            self.content += chunk

    def check(self) -> None:
        """Compare the content with the ETag, if it is a whole object."""
        digest = ContentDigest("" if self.encrypted else self.etag)
        if len(self.content) == self.total:
            digest.update(self.content)
            if not digest.matches():
                raise self.discard(f"{self.total} bytes came whose MD5 is not the ETag {self.etag}")

    def discard(self, cause: str) -> CorruptReplyError:
        """Discard all that arrived, and the ETag: any part of it may be wrong. Return the error to raise."""
        self.content.clear()
        self.etag = self._planned
        return CorruptReplyError(cause)


async def _has_more(stream: Any) -> bool:
    """Return True if an answer goes on after its end; this read also makes botocore compare its checksum."""
    with contextlib.suppress(*CONNECTION_ERRORS):
        async with asyncio.timeout(1.0):
            return bool(await stream.read(1))
    return False


async def send(request: Awaitable[Answer], body: io.BytesIO, n_bytes: int) -> Answer:
    """Send a request with a body; SlowError if the store takes it too slowly, or took all of it and does not answer."""
    task = asyncio.ensure_future(request)
    unanswered = 0.0
    try:
        while not task.done():
            before = body.tell()
            await asyncio.wait({task}, timeout=SLOW_SECONDS)
            if before == n_bytes:
                unanswered += SLOW_SECONDS
            elif not task.done() and body.tell() < min(n_bytes, before + SLOW_BYTES):
                raise SlowError(f"after {SLOW_SECONDS:.0f} s {body.tell():,} of {n_bytes:,} bytes were taken")
            if not task.done() and unanswered > ANSWER_SECONDS:
                raise SlowError("all bytes were taken, and no answer comes")
        return await task
    finally:
        task.cancel()


def etag_of(reply: dict[str, Any]) -> str:
    """Return the ETag of a reply, or of an entry of a listing, without its quotes."""
    return str(reply["ETag"]).strip('"')


def check_object(reply: dict[str, Any]) -> None:
    """Raise CorruptReplyError if a reply about an object lacks its ETag or length."""
    if not reply.get("ETag") or "ContentLength" not in reply:
        raise CorruptReplyError("an answer without ETag or length")


def check_page(page: dict[str, Any]) -> None:
    """Raise CorruptReplyError if a page of a listing does not say whether more follow.

    An empty body would otherwise be taken for an empty folder.
    """
    if "IsTruncated" not in page or (
        page["IsTruncated"] and not (page.get("NextContinuationToken") or page.get("NextKeyMarker"))
    ):
        raise CorruptReplyError("a listing that does not say how it goes on")
