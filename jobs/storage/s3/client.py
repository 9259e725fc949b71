"""The client of S3: it sends requests, retries them within their budget, and refreshes credentials."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
import time
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import fsspec
from botocore import exceptions as boto
from fsspec.asyn import sync

from detector.errors import ConfigError
from jobs.errors import StorageError
from jobs.storage.objects import NotFoundError
from jobs.storage.request_counts import GET, PUT, count_request, kind_of
from jobs.storage.retry_budget import RetryBudget
from jobs.storage.s3.body import RangeBody, answered, check_object, send
from jobs.storage.s3.errors import (
    ANSWERED_ERRORS,
    CONNECTION_ERRORS,
    RedirectedError,
    SlowError,
    cause_of,
    is_denied,
    is_throttling,
    is_unreadable,
    raise_unless_passing,
    setting_errors,
    status_of,
)
from jobs.storage.s3.http import HttpSession
from jobs.storage.s3.throttle import Throttle
from jobs.storage.uris import refuse_metadata

CONNECT_SECONDS = 5
SILENCE_SECONDS = 30  # between two bytes, and before the first
PROGRESS_BYTES = 64_000  # of a broken body that count as progress
CONNECTIONS = 64
REFRESH_SECONDS = 60.0

Answer = TypeVar("Answer")


OPTIONS: dict[str, Any] = {
    # listings are never cached: a run that lists twice must see what changed in between
    "use_listings_cache": False,
    "config_kwargs": {
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": SILENCE_SECONDS,
        "max_pool_connections": CONNECTIONS,
        "request_checksum_calculation": "when_required",  # we send Content-MD5, which every store knows
        "http_session_cls": HttpSession,
    },
}


class S3Client:
    """Sends all requests of this process to S3; threads share one client."""

    def __init__(self) -> None:
        self._fs: Any = fsspec.filesystem("s3", **OPTIONS)
        self._throttle = Throttle(CONNECTIONS)
        self._endpoint = "the endpoint"
        self._refreshed = float("-inf")

    def split(self, uri: str) -> tuple[str, str]:
        """Return bucket and key of a URI."""
        place = uri.partition("://")[2]
        if place.startswith("arn:"):
            bucket, key, _ = self._fs.split_path(place)
        else:
            bucket, _, key = place.partition("/")
        return bucket, key.rstrip("/")

    def ask(
        self,
        uri: str,
        operation: str,
        check: Callable[[Any], None] = lambda _: None,
        refusals: tuple[int, ...] = (),
        **arguments: Any,
    ) -> Any:
        """Send a request whose answer has no large body; return None if its status is one of ``refusals``."""

        kind = kind_of(operation)

        async def attempt(client: Any) -> Any:
            method = getattr(client, operation)
            if kind is not None:
                count_request(kind)
            answer = await answered(method(**self._arguments(method, **arguments)))
            check(answer)
            return answer

        return self._retry(uri, attempt, refusals)

    def head(self, uri: str, refusals: tuple[int, ...], **conditions: Any) -> Any:
        """Return the store's description of an object; None if its status is one of ``refusals``."""
        bucket, key = self.split(uri)
        return self.ask(uri, "head_object", check_object, refusals, Bucket=bucket, Key=key, **conditions)

    def put(self, uri: str, content: bytes, refusals: tuple[int, ...] = (), **condition: str) -> Any:
        """Write an object in one request; return None if its status is one of ``refusals``."""
        bucket, key = self.split(uri)
        # the store compares: it refuses a body that changed on the way, and we send it again
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()

        async def attempt(client: Any) -> Any:
            count_request(PUT)
            body = io.BytesIO(content)
            arguments = self._arguments(client.put_object, Bucket=bucket, Key=key, ContentMD5=md5, **condition)
            return await send(client.put_object(Body=body, **arguments), body, len(content))

        try:
            return self._retry(uri, attempt, refusals)
        except NotFoundError as error:
            raise StorageError(f"{uri}: cannot be written: {error}") from error

    def fetch(self, uri: str, body: RangeBody, start: int, stop: int | None, size: int | None = None) -> bool:
        """Complete ``body`` to the bytes from ``start`` to ``stop`` of one object, in as many attempts as it takes.

        Parameters
        ----------
        uri : str
        body : RangeBody
            If it has an ETag, only the object with this ETag is read.
        start, stop : int
            Stop None: to the end.
        size : int, optional
            Of the whole object, if it is known.

        Returns
        -------
        bool
            False if there is no such object, or not with that ETag.
        """
        bucket, key = self.split(uri)

        async def attempt(client: Any) -> bool:
            count_request(GET)
            arguments = self._arguments(client.get_object, Bucket=bucket, Key=key, **body.condition(start, stop))
            reply = await answered(client.get_object(**arguments))
            async with reply["Body"] as stream:
                await body.receive(stream, body.expected(reply, start, stop, size))
            await asyncio.to_thread(body.check)
            return True

        return bool(self._retry(uri, attempt, (404, 412, 416), lambda: len(body.content)))

    def _arguments(self, method: Any, **arguments: Any) -> Any:
        """Add to arguments what the settings of s3fs say: who pays, how objects are encrypted."""
        return self._fs._get_s3_method_kwargs(method, **arguments)

    def _retry(
        self,
        uri: str,
        attempt: Callable[[Any], Awaitable[Answer]],
        refusals: tuple[int, ...],
        received: Callable[[], int] = lambda: 0,
    ) -> Answer | None:
        """Repeat an attempt until it is answered; return None if the status of the answer is one of ``refusals``."""
        with self._throttle.place():
            return self._attempts(uri, attempt, refusals, received)

    def _attempts(
        self,
        uri: str,
        attempt: Callable[[Any], Awaitable[Answer]],
        refusals: tuple[int, ...],
        received: Callable[[], int],
    ) -> Answer | None:
        budget = RetryBudget(uri)
        refreshed = False
        while True:
            before, sent = received(), self._throttle.n_slowed
            try:
                with setting_errors(uri):
                    answer: Answer = sync(self._fs.loop, self._with_client, attempt)
            except boto.ClientError as error:
                budget.answered(self._endpoint)
                if status_of(error) in refusals:
                    return None
                if is_throttling(error):
                    self._throttle.slow_down(sent)
                    budget.note_throttling()
                if is_denied(error) and not refreshed:
                    refreshed = True
                    self._refresh()
                    continue
                raise_unless_passing(uri, error)
                budget.pause(cause_of(error), self._endpoint, error)
            except CONNECTION_ERRORS as error:
                if isinstance(error, ANSWERED_ERRORS) or is_unreadable(error):
                    budget.answered(self._endpoint)
                if is_unreadable(error):
                    budget.note_unreadable()
                if received() - before >= PROGRESS_BYTES and not isinstance(error, SlowError):
                    budget.restart()
                budget.pause(cause_of(error), self._endpoint, error)
            else:
                budget.answered(self._endpoint)
                budget.succeeded()
                self._throttle.speed_up()
                return answer

    async def _with_client(self, attempt: Callable[[Any], Awaitable[Answer]]) -> Answer:
        try:
            client = await self._fs.set_session()
        except ValueError as error:
            message = re.sub(r"//[^/@]*@", "//…@", str(error))  # it quotes the endpoint, which may hold a password
            raise ConfigError(f"{message}. Check AWS_ENDPOINT_URL.") from None
        _check_endpoint(client.meta.endpoint_url)
        self._endpoint = client.meta.endpoint_url
        events = client.meta.events
        events.register_first("needs-retry.s3", _refuse_redirect, unique_id="bonafide-redirect")
        events.register_last("before-call.s3", _drop_expect_header, unique_id="bonafide-expect")
        return await attempt(client)

    def _refresh(self) -> None:
        """Read credentials again, but only once for a thousand requests that are refused together."""
        if time.monotonic() - self._refreshed > REFRESH_SECONDS:
            self._refreshed = time.monotonic()
            sync(self._fs.loop, self._fs.set_session, refresh=True)


def _check_endpoint(endpoint: str) -> None:
    place = urllib.parse.urlsplit(endpoint).netloc
    if "@" in place:  # it would be written to logs
        raise ConfigError("AWS_ENDPOINT_URL: credentials in it; give them by environment, profile or role.")
    refuse_metadata(place, "AWS_ENDPOINT_URL")


def _refuse_redirect(response: Any = None, **_: Any) -> None:
    """Refuse a redirect before botocore looks for another region: anyone on the way could have sent it."""
    if response is not None and response[0].status_code in (301, 302, 303, 307, 308):
        headers = response[0].headers
        raise RedirectedError(headers.get("location") or headers.get("x-amz-bucket-region") or "another place")


def _drop_expect_header(params: dict[str, Any], **_: Any) -> None:
    """Send bodies at once: botocore would wait without limit for a store that never says `100 Continue`."""
    params["headers"].pop("Expect", None)
