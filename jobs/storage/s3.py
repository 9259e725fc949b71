"""S3, by requests of our own: one try each, whose status we see, and a patience that is ours.

s3fs finds credentials, endpoint and session. Its retries and botocore's are off, so that what the store is asked is
what stands here.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import re
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import aiohttp
import fsspec
from aiobotocore.httpsession import AIOHTTPSession
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync
from fsspec.utils import glob_translate

from detector.errors import ConfigError
from jobs.errors import StorageError
from jobs.storage.files import ContentDigest, RangeFile, StoredFile
from jobs.storage.names import ABSENT, Found, NotFoundError, Stored, changed, refuse_metadata
from jobs.storage.patience import CorruptReplyError, RetryBudget

CONNECT_SECONDS = 5
SILENCE_SECONDS = 30  # between two bytes, and before the first
ANSWER_SECONDS = 40.0  # for headers, or for an answer that is short
SLOW_SECONDS = 20.0
SLOW_BYTES = 64_000 * 20  # what a body must bring, or take, in that time
GAIN_BYTES = 64_000  # what a broken body must have brought to count as getting on
CHUNK_BYTES = 1 << 20
CONNECTIONS = 64
REFRESH_SECONDS = 60.0

Answer = TypeVar("Answer")


class SlowError(Exception):
    """A body that crawls: another connection may do better."""


class _RedirectedError(Exception):
    """The store sends us elsewhere."""


BROKEN = (
    boto.ConnectionError,  # refused, unresolvable
    boto.HTTPClientError,  # reset, timed out
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    boto.CredentialRetrievalError,
    ResponseParserError,
    aiohttp.ClientError,
    TimeoutError,
    ConnectionError,
    CorruptReplyError,
    SlowError,
)
HEARD = (  # of these, what shows that somebody was there
    boto.ReadTimeoutError,
    boto.ConnectionClosedError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    ResponseParserError,
    aiohttp.ClientPayloadError,
    CorruptReplyError,
    SlowError,
)
PASSING_STATUS = {409, 429, 500, 502, 503, 504}
PASSING_CODES = {
    *("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "RequestLimitExceeded"),
    *("ConditionalRequestConflict", "OperationAborted"),
    *("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "InvalidDigest"),  # changed on the way
}
EXPIRED_CODES = {
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestExpired",
    "400",
}  # 400: HEAD has no more


class _Straight(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore has no stubs
    """aiobotocore's session; aiohttp beneath it would follow a redirect to any host, and say nothing."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        return _Unredirected(await super()._get_session(proxy_url))


class _Unredirected:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def request(self, method: str, **options: Any) -> Awaitable[aiohttp.ClientResponse]:
        return self._session.request(method, allow_redirects=False, **options)


OPTIONS: dict[str, Any] = {
    # listings are never cached: a run that looks twice must see the store, not its memory
    "use_listings_cache": False,
    "config_kwargs": {
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": SILENCE_SECONDS,
        "max_pool_connections": CONNECTIONS,
        "request_checksum_calculation": "when_required",  # Content-MD5 is ours, and every store knows it
        "http_session_cls": _Straight,
    },
}


class _Body:
    """A range of an object as far as it has come, over any number of requests."""

    def __init__(self, planned: str = "") -> None:
        self.content = bytearray()
        self.etag = planned  # or that of the first answer: a body is of one object
        self._planned = planned
        self.total = 0
        self.opaque = False  # encrypted by a key of its own: the ETag is no digest of what we read

    def condition(self, start: int, stop: int | None) -> dict[str, str]:
        """What to ask for: the rest."""
        at = start + len(self.content)
        last = "" if stop is None else stop - 1
        asked = {"Range": f"bytes={at}-{last}"} if at or stop else {}
        return asked | ({"IfMatch": f'"{self.etag}"'} if self.etag else {})

    def expected(self, reply: dict[str, Any], start: int, stop: int | None, size: int | None) -> int:
        """How many bytes the answer must bring; refuses one to another question."""
        _check_object(reply)
        at = start + len(self.content)
        n_bytes = int(reply["ContentLength"])
        total = at + n_bytes
        if "ContentRange" in reply:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", reply["ContentRange"])
            if found is None or int(found[1]) != at:
                raise CorruptReplyError(f"asked for bytes from {at}, the store sends {reply['ContentRange']}")
            total = int(found[3])
        elif at:
            raise CorruptReplyError(f"asked for bytes from {at}, the store sends the whole")
        if size is not None and "ContentRange" in reply and total != size:
            raise CorruptReplyError(f"{total} bytes where {size} were listed under the same ETag")
        end = stop if stop is not None else total
        if n_bytes > end - at:
            raise CorruptReplyError(f"{n_bytes} bytes came where {end - at} were asked for")
        if self.etag not in ("", _tag(reply)):
            raise CorruptReplyError(f"the store sends the object {_tag(reply)} where {self.etag} was asked for")
        self.etag, self.total = _tag(reply), total
        self.opaque = reply.get("ServerSideEncryption") not in (None, "AES256") or "SSECustomerAlgorithm" in reply
        return end - at

    def check(self) -> None:
        """Hold the content against the ETag, where it is all there is of an object."""
        digest = ContentDigest("" if self.opaque else self.etag)
        if len(self.content) == self.total:
            digest.update(self.content)
            if not digest.matches():
                raise self.dropped(f"{self.total} bytes came whose MD5 is not the ETag {self.etag}")

    def dropped(self, cause: str) -> CorruptReplyError:
        """Forget what came: there is no telling which of it is good, or whether the ETag is."""
        self.content.clear()
        self.etag = self._planned
        return CorruptReplyError(cause)


def _check_endpoint(endpoint: str) -> None:
    place = urllib.parse.urlsplit(endpoint).netloc
    if "@" in place:  # it would stand in the log
        raise ConfigError("AWS_ENDPOINT_URL: credentials in it; give them by environment, profile or role.")
    refuse_metadata(place, "AWS_ENDPOINT_URL")


class S3:
    """All requests of this process; threads share one client."""

    def __init__(self) -> None:
        self._fs: Any = fsspec.filesystem("s3", **OPTIONS)
        self._endpoint = "the endpoint"
        self._refreshed = float("-inf")

    # objects

    def stat(self, uri: str) -> Stored | None:
        """HEAD."""
        head = self.head(uri, (404,)) if self._split(uri)[1] else None
        return None if head is None else Stored(uri.rstrip("/"), head["ContentLength"], _tag(head))

    def head(self, uri: str, told: tuple[int, ...], **conditions: Any) -> Any:
        """What the store says of an object; None where it refuses with a status of ``told``."""
        bucket, key = self._split(uri)
        return self._ask(uri, "head_object", _check_object, told, Bucket=bucket, Key=key, **conditions)

    def read(self, uri: str) -> bytes:
        """GET; where it breaks off, GET the rest of the same object."""
        return self._found(uri)[0]

    def write(self, uri: str, content: bytes) -> None:
        """PUT."""
        self._put(uri, content)

    def put(self, uri: str, content: bytes, expected: str) -> Found | None:
        """PUT under a condition; where it is refused, an earlier try may have done it: so look at what stands there."""
        if expected == ABSENT:
            done = self._put(uri, content, told=(412,), IfNoneMatch="*")
        else:
            done = self._put(uri, content, told=(404, 412), IfMatch=f'"{expected}"')
        if done:
            return None
        try:
            found = Found(*self._found(uri))
        except NotFoundError:
            return Found(None, ABSENT)
        return None if found.content == content else found

    def remove(self, uri: str) -> None:
        """DELETE; S3 does not mind what is not there."""
        bucket, key = self._split(uri)
        self._ask(uri, "delete_object", told=(404,), Bucket=bucket, Key=key)

    @contextlib.contextmanager
    def opened(self, stored: Stored, *, whole: bool) -> Iterator[StoredFile]:
        """GET by ranges, each under the condition that it is the planned object still: no HEAD is needed."""
        file = RangeFile(stored, _Object(self, stored, multipart=whole), whole=whole)
        yield StoredFile(file, stored.uri, file.verify)

    # listings

    def listing(self, folder: str) -> list[Stored] | None:
        """A request for each thousand keys."""
        bucket, key = self._split(folder)
        found = self._keys(folder, bucket, _below(key))
        if found is None or (key and not found):
            return None
        return [stored for stored, _ in found if not stored.uri.endswith("/")]  # those are folders that somebody made

    def matching(self, pattern: str) -> list[Stored]:
        """A request for each thousand keys that begin as the pattern does."""
        bucket, key = self._split(pattern)
        try:
            wanted = re.compile(glob_translate(key).removesuffix(r"\Z") + r"(?s:/.*)?\Z")
        except ValueError as error:
            raise ConfigError(f"{pattern}: {error}.") from error
        found = self._keys(pattern, bucket, re.split(r"[*?\[]", key)[0]) or []
        return [each for each, _ in found if wanted.match(self._split(each.uri)[1]) and not each.uri.endswith("/")]

    def modified(self, folder: str) -> dict[str, float]:
        """LastModified, as it is listed."""
        bucket, key = self._split(folder)
        found = self._keys(folder, bucket, _below(key)) or []
        return {stored.uri: seconds for stored, seconds in found if not stored.uri.endswith("/")}

    def abandon_uploads(self, folder: str, older_than: float) -> list[str]:
        """Abort uploads in parts."""
        bucket, key = self._split(folder)
        aborted = []
        marker: dict[str, str] = {}
        while True:
            names = {"Bucket": bucket, "Prefix": _below(key)} | marker
            page = self._ask(folder, "list_multipart_uploads", _check_page, told=(404,), **names)
            for each in (page or {}).get("Uploads", ()):
                if each["Initiated"].timestamp() < older_than:
                    upload = {"Bucket": bucket, "Key": each["Key"], "UploadId": each["UploadId"]}
                    self._ask(folder, "abort_multipart_upload", told=(404,), **upload)
                    aborted.append(each["Key"])
            if page is None or not page["IsTruncated"]:
                return sorted(aborted)
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker", "")}

    def _keys(self, uri: str, bucket: str, prefix: str) -> list[tuple[Stored, float]] | None:
        """Keys that begin so, sorted, each once, with their times; None where there is no such bucket."""
        base = uri.partition("://")[0] + f"://{bucket}/"
        found: dict[str, tuple[Stored, float]] = {}
        token: dict[str, str] = {}
        while True:
            page = self._ask(uri, "list_objects_v2", _check_page, told=(404,), Bucket=bucket, Prefix=prefix, **token)
            if page is None:
                return None
            for each in page.get("Contents", ()):
                stored = Stored(base + each["Key"], each["Size"], _tag(each))
                found[stored.uri] = (stored, each["LastModified"].timestamp())
            if not page["IsTruncated"]:
                return sorted(found.values())
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _split(self, uri: str) -> tuple[str, str]:
        """Bucket and key."""
        place = uri.partition("://")[2]
        if place.startswith("arn:"):
            bucket, key, _ = self._fs.split_path(place)
        else:
            bucket, _, key = place.partition("/")
        return bucket, key.rstrip("/")

    # requests

    def _put(self, uri: str, content: bytes, told: tuple[int, ...] = (), **condition: str) -> Any:
        bucket, key = self._split(uri)
        # the store compares: what was changed on the way is refused, and sent again
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()

        async def attempt(client: Any) -> Any:
            body = io.BytesIO(content)
            names = self._arguments(client.put_object, Bucket=bucket, Key=key, ContentMD5=md5, **condition)
            return await _watched(client.put_object(Body=body, **names), body, len(content))

        try:
            return self._persist(uri, attempt, told)
        except NotFoundError as error:
            raise StorageError(f"{uri}: cannot be written: {error}") from error

    def _found(self, uri: str) -> tuple[bytes, str]:
        """Content and etag of whatever stands there."""
        while True:
            body = _Body()
            if self.fetch(uri, body, 0, None):
                return bytes(body.content), body.etag
            if not body.etag:
                raise NotFoundError(f"{uri}: not found. Check the bucket and the spelling.")
            # it was replaced after a part of it had come: begin anew

    def fetch(self, uri: str, body: _Body, start: int, stop: int | None, size: int | None = None) -> bool:
        """Complete ``body`` to the bytes from ``start`` to ``stop`` of one object, over as many tries as it takes.

        Parameters
        ----------
        uri : str
        body : _Body
            Where it has an etag, only the object with that one is read.
        start, stop : int
            Stop None: to the end.
        size : int, optional
            Of the whole object, where it is known.

        Returns
        -------
        bool
            False where it is not there, or not the one with that etag.
        """
        bucket, key = self._split(uri)

        async def attempt(client: Any) -> bool:
            names = self._arguments(client.get_object, Bucket=bucket, Key=key, **body.condition(start, stop))
            async with asyncio.timeout(ANSWER_SECONDS):
                reply = await client.get_object(**names)
            async with reply["Body"] as stream:
                await _drain(stream, body, body.expected(reply, start, stop, size))
            await asyncio.to_thread(body.check)
            return True

        return bool(self._persist(uri, attempt, (404, 412, 416), lambda: len(body.content)))

    def _ask(
        self,
        uri: str,
        operation: str,
        check: Callable[[Any], None] = lambda _: None,
        told: tuple[int, ...] = (),
        **arguments: Any,
    ) -> Any:
        """A request with a short answer; None where the answer is one of the refusals that the caller is ``told``."""

        async def attempt(client: Any) -> Any:
            method = getattr(client, operation)
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await method(**self._arguments(method, **arguments))
            check(answer)
            return answer

        return self._persist(uri, attempt, told)

    def _arguments(self, method: Any, **arguments: Any) -> Any:
        """What was asked, and what the settings of s3fs add: who pays, how it is encrypted."""
        return self._fs._get_s3_method_kwargs(method, **arguments)

    async def _with_client(self, attempt: Callable[[Any], Awaitable[Answer]]) -> Answer:
        try:
            client = await self._fs.set_session()
        except ValueError as error:
            told = re.sub(r"//[^/@]*@", "//…@", str(error))
            raise ConfigError(f"{told}. Check AWS_ENDPOINT_URL.") from None
        _check_endpoint(client.meta.endpoint_url)
        self._endpoint = client.meta.endpoint_url
        events = client.meta.events
        events.register_first("needs-retry.s3", _refuse_redirect, unique_id="bonafide-redirect")
        events.register_last("before-call.s3", _expect_nothing, unique_id="bonafide-expect")
        return await attempt(client)

    def _persist(
        self,
        uri: str,
        attempt: Callable[[Any], Awaitable[Answer]],
        told: tuple[int, ...],
        gained: Callable[[], int] = lambda: 0,
    ) -> Answer | None:
        """Try until it is answered; None where the answer is a status that the caller is to be ``told``."""
        patience = RetryBudget(uri)
        denied = False
        while True:
            before = gained()
            try:
                with _settings(uri):
                    answer: Answer = sync(self._fs.loop, self._with_client, attempt)
            except boto.ClientError as error:
                patience.heard(self._endpoint)
                if _status(error) in told:
                    return None
                if _denies(error) and not denied:  # once, with credentials that are read anew
                    denied = True
                    self._refresh()
                    continue
                _raise_unless_passing(uri, error)
                patience.pause(_cause(error), self._endpoint, error)
            except BROKEN as error:
                if isinstance(error, HEARD):
                    patience.heard(self._endpoint)
                if gained() - before >= GAIN_BYTES and not isinstance(error, SlowError):
                    patience.got_on()
                patience.pause(_cause(error), self._endpoint, error)
            else:
                patience.heard(self._endpoint)
                return answer

    def _refresh(self) -> None:
        """Read credentials anew; not for each of a thousand requests that are refused together."""
        if time.monotonic() - self._refreshed > REFRESH_SECONDS:
            self._refreshed = time.monotonic()
            sync(self._fs.loop, self._fs.set_session, refresh=True)


class _Object:
    """A planned object, for a :class:`RangeFile`."""

    def __init__(self, store: S3, stored: Stored, *, multipart: bool) -> None:
        self._store = store
        self._stored = stored
        self._multipart = multipart
        self._opaque = False
        self._part_bytes: int | None = None

    def fetch(self, start: int, stop: int) -> bytes:
        """The bytes of a range, of the planned object and no other."""
        body = _Body(self._stored.etag)
        if self._store.fetch(self._stored.uri, body, start, stop, self._stored.size):
            self._opaque = body.opaque
            return bytes(body.content)
        now = self._store.stat(self._stored.uri)
        if now == self._stored:
            raise StorageError(f"{self._stored.uri}: the store says that it changed, and that it did not. Run again.")
        raise changed(self._stored, now)

    def digest(self) -> ContentDigest:
        """By MD5; where the object came in parts, by theirs, as long as they are of one size."""
        etag = "" if self._opaque else self._stored.etag
        n_parts = int(etag.partition("-")[2] or 0) if re.fullmatch(r"\w+-\d+", etag) else 0
        if n_parts and self._multipart:
            self._part_bytes = self._size_of_part(1)
            if self._part_bytes is None or -(-self._stored.size // self._part_bytes) != n_parts:
                return ContentDigest("")
        return ContentDigest(etag, self._part_bytes)

    def conclusive(self) -> bool:
        """Parts need not be of one size; we can only tell afterwards, for it takes a request for each."""
        if self._part_bytes is None:
            return True
        n_whole = (self._stored.size - 1) // self._part_bytes
        return all(self._size_of_part(number) == self._part_bytes for number in range(2, n_whole + 1))

    def _size_of_part(self, number: int) -> int | None:
        head = self._store.head(
            self._stored.uri, (400, 404, 412, 416, 501), IfMatch=f'"{self._stored.etag}"', PartNumber=number
        )
        return int(head["ContentLength"]) if head and head.get("PartsCount") else None


def _below(key: str) -> str:
    return f"{key}/" if key else ""


def _tag(reply: dict[str, Any]) -> str:
    return str(reply["ETag"]).strip('"')


def _check_object(reply: dict[str, Any]) -> None:
    if not reply.get("ETag") or "ContentLength" not in reply:
        raise CorruptReplyError("an answer without ETag or length")


def _check_page(page: dict[str, Any]) -> None:
    """A listing says of itself whether it ends; an empty body would be taken for an empty folder."""
    if "IsTruncated" not in page or (
        page["IsTruncated"] and not (page.get("NextContinuationToken") or page.get("NextKeyMarker"))
    ):
        raise CorruptReplyError("a listing that does not say how it goes on")


@contextlib.contextmanager
def _settings(uri: str) -> Iterator[None]:
    """Say what to set where no try can help."""
    try:
        yield
    except _RedirectedError as error:
        raise StorageError(
            f"{uri}: the store sends us to {error}; we follow to no other place. "
            "Set AWS_ENDPOINT_URL, or AWS_DEFAULT_REGION, to where the bucket is."
        ) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
        raise StorageError(f"{uri}: no credentials ({error}). Set AWS_ACCESS_KEY_ID or a role.") from error
    except boto.ParamValidationError as error:
        raise ConfigError(f"{uri}: no such name can be: {str(error).splitlines()[-1][:200]}") from error
    except BROKEN:
        raise
    except boto.BotoCoreError as error:
        raise ConfigError(f"{uri}: {error}. Check the settings of AWS.") from error


def _raise_unless_passing(uri: str, error: boto.ClientError) -> None:
    """Raise where to ask again would bring the same answer."""
    if _status(error) == 404:
        raise NotFoundError(f"{uri}: not found ({_cause(error)}). Check the bucket and the spelling.") from error
    if _denies(error):
        raise StorageError(f"{uri}: permission denied ({_cause(error)}). Check credentials and policy.") from error
    if _status(error) not in PASSING_STATUS and _code(error) not in PASSING_CODES:
        raise StorageError(f"{uri}: the store refuses: {_cause(error)}.") from error


def _denies(error: boto.ClientError) -> bool:
    return _status(error) in (401, 403) or _code(error) in EXPIRED_CODES


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _cause(error: Exception) -> str:
    if isinstance(error, boto.ClientError):
        message = error.response.get("Error", {}).get("Message", "").strip().rstrip(".")
        return (
            f"{_status(error)} {message}" if _code(error).isdigit() else f"{_status(error)} {_code(error)}: {message}"
        )
    return str(error).strip().rstrip(".") or type(error).__name__


def _refuse_redirect(response: Any = None, **_: Any) -> None:
    """Before botocore looks for another region: the answer that names another host may come from anybody."""
    if response is not None and response[0].status_code in (301, 302, 303, 307, 308):
        headers = response[0].headers
        raise _RedirectedError(headers.get("location") or headers.get("x-amz-bucket-region") or "another place")


def _expect_nothing(params: dict[str, Any], **_: Any) -> None:
    """Send a body at once: a store that never says `100 Continue` would be waited for without end."""
    params["headers"].pop("Expect", None)


async def _drain(stream: Any, body: _Body, n_bytes: int) -> None:
    """Read ``n_bytes`` of an answer's body, unless it crawls, or ends too soon."""
    end = len(body.content) + n_bytes
    try:
        while len(body.content) < end:
            before = len(body.content)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SLOW_SECONDS):
                    while len(body.content) < end:
                        chunk = await stream.read(CHUNK_BYTES)
                        if not chunk:
                            raise ConnectionError(f"the body ended {end - len(body.content)} bytes too soon")
                        body.content += chunk
            if len(body.content) < end and len(body.content) - before < SLOW_BYTES:
                raise SlowError(f"a body of {n_bytes} bytes came at under {SLOW_BYTES / SLOW_SECONDS / 1000:.0f} kB/s")
        if len(body.content) > end or await _more(stream):
            raise body.dropped("more bytes came than were said to come")
    except boto.FlexibleChecksumError as error:
        raise body.dropped(f"bytes came that are not those the store says it sent: {error}") from error


async def _more(stream: Any) -> bool:
    """Whether an answer goes on after its end; asking also makes botocore compare its checksum."""
    with contextlib.suppress(*BROKEN):
        async with asyncio.timeout(1.0):
            return bool(await stream.read(1))
    return False


async def _watched(sending: Awaitable[Answer], body: io.BytesIO, n_bytes: int) -> Answer:
    """Send a body, unless the store takes it at a crawl, or has it all and does not answer."""
    task = asyncio.ensure_future(sending)
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
