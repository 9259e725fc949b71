"""The HTTP below aiobotocore: it follows no redirects, and of a reply it keeps the headers that are used.

Whoever uploads an object chooses most headers of the replies about it: Content-Disposition, Cache-Control, metadata,
and more. aiobotocore reads all of them as UTF-8, and botocore takes dates and numbers from them; a reply that they
cannot read looks like a fault of the store, which no later attempt mends. So they are dropped unread.
"""

from __future__ import annotations

from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession

USED = frozenset(
    {
        *(b"etag", b"content-length", b"content-range", b"x-amz-mp-parts-count"),
        *(b"x-amz-server-side-encryption", b"x-amz-server-side-encryption-customer-algorithm"),
        *(b"location", b"x-amz-bucket-region"),  # of a redirect, which is refused
        *(b"x-amz-request-id", b"x-amz-id-2"),  # for the store's operators
    }
)
"""Headers that the store computes, and that we or botocore use; beside them those of :data:`CHECKSUMS`."""

CHECKSUMS = b"x-amz-checksum-"

MAX_HEADER_BYTES = 1 << 20
"""In a reply, of one header: as many as any store takes in all of an upload."""

MAX_HEADERS = 1 << 16
"""In a reply: as many as fit into MAX_HEADER_BYTES."""


class HttpSession(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore has no stubs
    """aiobotocore's session, above an aiohttp session that does as this module says."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        return _Session(await super()._get_session(proxy_url))


class _Session:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, **options: Any) -> _Reply:
        options |= {"allow_redirects": False, "max_field_size": MAX_HEADER_BYTES, "max_headers": MAX_HEADERS}
        return _Reply(await self._session.request(method, **options))


class _Reply:
    """A reply of aiohttp with fewer headers; all else is as it is."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._reply = reply
        self.raw_headers = tuple(pair for pair in reply.raw_headers if _is_used(*pair))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reply, name)


def _is_used(name: bytes, value: bytes) -> bool:
    return (name.lower() in USED or name.lower().startswith(CHECKSUMS)) and value.isascii()
