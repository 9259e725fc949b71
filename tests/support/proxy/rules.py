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
    """Requests of one method and pattern: which of them are struck, and by what."""

    def __init__(self, method: str, pattern: str, holding: asyncio.Event) -> None:
        self._method, self._pattern, self._holding = method, re.compile(pattern), holding
        self._picks: list[Callable[[Request], bool]] = []
        self._fault: Fault | None = None
        self.name = ""
        self.matched = 0
        self.struck: list[Request] = []

    # which

    def nth(self, number: int) -> Rule:
        """Only the n-th that matches method and pattern, from 1."""
        return self._pick(lambda _: self.matched == number)

    def first(self, count: int) -> Rule:
        """Only the first ``count`` that match."""
        return self._pick(lambda _: self.matched <= count)

    def after(self, count: int) -> Rule:
        """Only those after the first ``count``."""
        return self._pick(lambda _: self.matched > count)

    def every(self, step: int) -> Rule:
        """Only the ``step``-th, twice ``step``-th …"""
        return self._pick(lambda _: self.matched % step == 0)

    def times(self, count: int) -> Rule:
        """At most so many strikes."""
        return self._pick(lambda _: len(self.struck) < count)

    def chance(self, share: float, *, seed: int) -> Rule:
        """A share of them, drawn with a seed of its own."""
        rng = random.Random(seed)
        return self._pick(lambda _: rng.random() < share)

    def seconds(self, limit: float) -> Rule:
        """Only for so long, from now."""
        end = time.monotonic() + limit
        return self._pick(lambda _: time.monotonic() < end)

    def where(self, predicate: Callable[[Request], bool]) -> Rule:
        """Only those of which ``predicate`` holds."""
        return self._pick(predicate)

    # by what

    def reply(self, status: int, code: str = "InternalError") -> Rule:
        """Answer so, with the error in S3's XML; the store never hears of it."""

        async def fault(request: Request, _: Forward) -> Reply:
            return error_reply(request, status, code)

        return self._strike(f"{status} {code}", fault)

    def redirect(self, url: str, status: int = 307) -> Rule:
        """Send the client to another host."""

        async def fault(request: Request, _: Forward) -> Reply:
            return Reply(status, [("Location", url)], b"")

        return self._strike(f"{status} to {url}", fault)

    def reset(self) -> Rule:
        """End the connection; the store never hears of it."""

        async def fault(request: Request, _: Forward) -> Reply:
            raise Reset

        return self._strike("reset", fault)

    def drop_reply(self, status: int | None = None, code: str = "InternalError") -> Rule:
        """Let the store do it, and then end the connection; or answer ``status`` all the same."""

        async def fault(request: Request, forward: Forward) -> Reply:
            await forward()
            if status is None:
                raise Reset
            return error_reply(request, status, code)

        return self._strike("reply dropped", fault)

    def reset_after(self, n_bytes: int | Callable[[int], int]) -> Rule:
        """End the connection after so many bytes of the reply's body; of its length, where that is a function."""

        def cut(reply: Reply) -> None:
            reply.cut = n_bytes if isinstance(n_bytes, int) else n_bytes(len(reply.body))

        return self._change("reset inside the body", cut)

    def short_body(self, n_bytes: int = 1, *, claimed: bool = False) -> Rule:
        """Leave the last bytes out; the Content-Length stays as it was, or is that of the short body (``claimed``)."""

        def cut(reply: Reply) -> None:
            reply.length = None if claimed else len(reply.body)
            reply.body = reply.body[:-n_bytes]

        return self._change("body too short", cut)

    def long_body(self, n_bytes: int = 1, *, claimed: bool = False) -> Rule:
        """Send more than there is; the Content-Length stays as it was, or counts the rest in (``claimed``)."""

        def grow(reply: Reply) -> None:
            reply.length = None if claimed else len(reply.body)
            reply.body += b"\0" * n_bytes

        return self._change("body too long", grow)

    def flip_byte(self, at: float = 0.5) -> Rule:
        """Change one byte of the reply's body, at this share of its length."""

        def flip(reply: Reply) -> None:
            if reply.body:
                place = min(int(at * len(reply.body)), len(reply.body) - 1)
                reply.body = reply.body[:place] + bytes([reply.body[place] ^ 1]) + reply.body[place + 1 :]

        return self._change("byte flipped", flip)

    def truncate(self) -> Rule:
        """Half of the body, with a Content-Length that fits: XML that ends in the middle."""

        def halve(reply: Reply) -> None:
            reply.body = reply.body[: len(reply.body) // 2]

        return self._change("truncated", halve)

    def rewrite(self, change: Callable[[bytes], bytes]) -> Rule:
        """Another body, with a Content-Length that fits."""

        def rewritten(reply: Reply) -> None:
            reply.body = change(reply.body)

        return self._change("rewritten", rewritten)

    def slow(self, bytes_per_second: float) -> Rule:
        """Send the body at this rate."""

        def slow(reply: Reply) -> None:
            reply.rate = bytes_per_second

        return self._change(f"{bytes_per_second:g} B/s", slow)

    def silence(self, after: int | None = 0) -> Rule:
        """Send headers and so many bytes of the body, and then nothing; nothing at all where ``after`` is None."""

        async def fault(request: Request, forward: Forward) -> Reply:
            if after is None:
                await self._holding.wait()
                raise Reset
            reply = await forward()
            reply.silent_after = after
            return reply

        return self._strike("silence", fault)

    def delay(self, seconds: float) -> Rule:
        """Wait before it is passed on."""

        async def fault(request: Request, forward: Forward) -> Reply:
            await asyncio.sleep(seconds)
            return await forward()

        return self._strike(f"{seconds:g} s late", fault)

    def before(self, callback: Callable[[Request], object]) -> Rule:
        """Call it, then pass the request on. In a thread: it may wait."""

        async def fault(request: Request, forward: Forward) -> Reply:
            await asyncio.to_thread(callback, request)
            return await forward()

        return self._strike("callback before", fault)

    def then(self, callback: Callable[[Request], object]) -> Rule:
        """Let the store do it, call ``callback``, and then answer."""

        async def fault(request: Request, forward: Forward) -> Reply:
            reply = await forward()
            await asyncio.to_thread(callback, request)
            return reply

        return self._strike("callback after", fault)

    # inside

    def strikes(self, request: Request) -> bool:
        """Whether this request is one to strike; counts it."""
        if self._fault is None or self._method not in (request.method, "*") or not self._pattern.search(request.target):
            return False
        self.matched += 1
        if not all(pick(request) for pick in self._picks):
            return False
        self.struck.append(request)
        return True

    def around(self, request: Request, forward: Forward) -> Forward:
        """The fault with what lies behind it."""
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
