"""The rules of the proxy: which requests are struck, and by what fault."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable

from tests.support.proxy.messages import Reply, Request, Reset, error_reply

Forward = Callable[[], Awaitable[Reply]]
Fault = Callable[[Request, Forward], Awaitable[Reply]]


class Rule:
    """Which requests of a method and pattern are struck, and the fault that strikes them."""

    def __init__(self, method: str, pattern: str, holding: asyncio.Event) -> None:
        self._method, self._pattern, self._holding = method, re.compile(pattern), holding
        self._picks: list[Callable[[Request], bool]] = []
        self._fault: Fault | None = None
        self.name = ""
        self.matched = 0
        self.struck: list[Request] = []

    # the choice of requests

    def nth(self, number: int) -> Rule:
        """Strike only the n-th that matches method and pattern, counted from 1."""
        return self._pick(lambda _: self.matched == number)

    def first(self, count: int) -> Rule:
        """Strike only the first ``count`` that match."""
        return self._pick(lambda _: self.matched <= count)

    def after(self, count: int) -> Rule:
        """Strike only those after the first ``count``."""
        return self._pick(lambda _: self.matched > count)

    def every(self, step: int) -> Rule:
        """Strike only every ``step``-th."""
        return self._pick(lambda _: self.matched % step == 0)

    def times(self, count: int) -> Rule:
        """Strike at most ``count`` times."""
        return self._pick(lambda _: len(self.struck) < count)

    def chance(self, share: float, *, seed: int) -> Rule:
        """Strike a random share, drawn with its own seed."""
        rng = random.Random(seed)
        return self._pick(lambda _: rng.random() < share)

    def seconds(self, limit: float) -> Rule:
        """Strike only for ``limit`` seconds from now."""
        end = time.monotonic() + limit
        return self._pick(lambda _: time.monotonic() < end)

    def where(self, predicate: Callable[[Request], bool]) -> Rule:
        """Strike only requests for which ``predicate`` returns True."""
        return self._pick(predicate)

    # the fault

    def reply(self, status: int, code: str = "InternalError") -> Rule:
        """Answer with an error in S3's XML, without forwarding the request."""

        async def fault(request: Request, _: Forward) -> Reply:
            return error_reply(request, status, code)

        return self._strike(f"{status} {code}", fault)

    def redirect(self, url: str, status: int = 307) -> Rule:
        """Redirect the client to another host."""

        async def fault(request: Request, _: Forward) -> Reply:
            return Reply(status, [("Location", url)], b"")

        return self._strike(f"{status} to {url}", fault)

    def reset(self) -> Rule:
        """End the connection without forwarding the request."""

        async def fault(request: Request, _: Forward) -> Reply:
            raise Reset

        return self._strike("reset", fault)

    def drop_reply(self, status: int | None = None, code: str = "InternalError") -> Rule:
        """Forward the request, and then end the connection, or answer ``status`` instead of the store's reply."""

        async def fault(request: Request, forward: Forward) -> Reply:
            await forward()
            if status is None:
                raise Reset
            return error_reply(request, status, code)

        return self._strike("reply dropped", fault)

    def reset_after(self, n_bytes: int | Callable[[int], int]) -> Rule:
        """End the connection after this many bytes of the reply's body; a function computes them from its length."""

        def cut(reply: Reply) -> None:
            reply.cut = n_bytes if isinstance(n_bytes, int) else n_bytes(len(reply.body))

        return self._change("reset inside the body", cut)

    def short_body(self, n_bytes: int = 1, *, claimed: bool = False) -> Rule:
        """Omit the last bytes; keep the Content-Length, or adapt it to the short body (``claimed``)."""

        def cut(reply: Reply) -> None:
            reply.length = None if claimed else len(reply.body)
            reply.body = reply.body[:-n_bytes]

        return self._change("body too short", cut)

    def long_body(self, n_bytes: int = 1, *, claimed: bool = False) -> Rule:
        """Append bytes; keep the Content-Length, or adapt it to the long body (``claimed``)."""

        def grow(reply: Reply) -> None:
            reply.length = None if claimed else len(reply.body)
            reply.body += b"\0" * n_bytes

        return self._change("body too long", grow)

    def flip_byte(self, at: float = 0.5) -> Rule:
        """Flip a bit of the reply's body, at this share of its length."""

        def flip(reply: Reply) -> None:
            if reply.body:
                place = min(int(at * len(reply.body)), len(reply.body) - 1)
                reply.body = reply.body[:place] + bytes([reply.body[place] ^ 1]) + reply.body[place + 1 :]

        return self._change("byte flipped", flip)

    def truncate(self) -> Rule:
        """Send half of the body with a matching Content-Length: XML that ends in the middle."""

        def halve(reply: Reply) -> None:
            reply.body = reply.body[: len(reply.body) // 2]

        return self._change("truncated", halve)

    def rewrite(self, change: Callable[[bytes], bytes]) -> Rule:
        """Replace the body, with a matching Content-Length."""

        def rewritten(reply: Reply) -> None:
            reply.body = change(reply.body)

        return self._change("rewritten", rewritten)

    def headers(self, *lines: tuple[str, str]) -> Rule:
        """Add headers to the reply; the bytes of a text are those of Latin-1."""

        def add(reply: Reply) -> None:
            reply.headers += lines

        return self._change("headers added", add)

    def slow(self, bytes_per_second: float) -> Rule:
        """Send the body at this rate."""

        def slow(reply: Reply) -> None:
            reply.rate = bytes_per_second

        return self._change(f"{bytes_per_second:g} B/s", slow)

    def silence(self, after: int | None = 0) -> Rule:
        """Send headers and ``after`` bytes of the body, then nothing; not even headers if ``after`` is None."""

        async def fault(request: Request, forward: Forward) -> Reply:
            if after is None:
                await self._holding.wait()
                raise Reset
            reply = await forward()
            reply.silent_after = after
            return reply

        return self._strike("silence", fault)

    def delay(self, seconds: float) -> Rule:
        """Wait before the request is forwarded."""

        async def fault(request: Request, forward: Forward) -> Reply:
            await asyncio.sleep(seconds)
            return await forward()

        return self._strike(f"{seconds:g} s late", fault)

    def before(self, callback: Callable[[Request], object]) -> Rule:
        """Call ``callback``, then forward the request; it runs in a thread, so it may block."""

        async def fault(request: Request, forward: Forward) -> Reply:
            await asyncio.to_thread(callback, request)
            return await forward()

        return self._strike("callback before", fault)

    def then(self, callback: Callable[[Request], object]) -> Rule:
        """Forward the request, call ``callback``, then answer."""

        async def fault(request: Request, forward: Forward) -> Reply:
            reply = await forward()
            await asyncio.to_thread(callback, request)
            return reply

        return self._strike("callback after", fault)

    # for the server

    def strikes(self, request: Request) -> bool:
        """Count a request; return True if it is to be struck."""
        if self._fault is None or self._method not in (request.method, "*") or not self._pattern.search(request.target):
            return False
        self.matched += 1
        if not all(pick(request) for pick in self._picks):
            return False
        self.struck.append(request)
        return True

    def around(self, request: Request, forward: Forward) -> Forward:
        """Wrap the forwarding of a request in the fault."""
        fault = self._fault
        assert fault is not None
        request.fault = ", ".join(filter(None, (request.fault, self.name)))

        async def struck() -> Reply:
            return await fault(request, forward)

        return struck

    def _pick(self, pick: Callable[[Request], bool]) -> Rule:
        self._picks.append(pick)
        return self

    def _strike(self, name: str, fault: Fault) -> Rule:
        self.name, self._fault = name, fault
        return self

    def _change(self, name: str, change: Callable[[Reply], None]) -> Rule:
        async def fault(request: Request, forward: Forward) -> Reply:
            reply = await forward()
            change(reply)
            return reply

        return self._strike(name, fault)
