"""A HTTP fault proxy before an S3 server: passes every request on, except where a rule says otherwise.

```python
with FaultProxy(endpoint) as proxy:                               # in a thread; clients are told proxy.url
    proxy.when("PUT", r"/_commits/").nth(1).drop_reply()          # the first marker is stored, and nobody hears of it
    proxy.when("GET", r"\\.tar$").chance(0.1, seed=7).reply(503, "SlowDown")
    proxy.when("PUT", r"/embeddings/").nth(3).before(lambda _: run.kill(SIGKILL))
    ...
    assert proxy.count("GET", r"\\.tar$") == 12                    # everything that came is on record
```

A rule is a pattern of requests, then which of those that match (all of them, unless said), then one fault. Where
several rules want one request, the first that was made is the outermost. The Host header is passed through, because
it is signed; bodies are held whole, because the archives of the tests are small.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import unquote, urlsplit

START_SECONDS = 10.0
ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>{code}, says the fault proxy</Message><RequestId>drill</RequestId></Error>"""
THINGS = {  # of a key, the first that matches
    "marker": r"/_commits/",
    "plan": r"/_plans/",
    "garbage": r"/_garbage/",
    "record": r"/runs/[^/]*\.json$",
    "table": r"\.parquet$",
    "audio": r"\.(tar|wav|flac)$",
}


@dataclass
class Request:
    """A request on its way through, and afterwards what became of it.

    `target` is the path with its query, percent-decoded; `kind` is what it is about, as in `audio GET`, `marker PUT`,
    `table PUT`, `plan PUT`, `record PUT`, `listing`; `status` is what the client got, None where it got nothing, and
    `applied` what the store answered, None where it was never asked.
    """

    method: str
    target: str
    headers: dict[str, str]
    head: bytes
    body: bytes
    started: float = field(default_factory=time.monotonic)
    status: int | None = None
    applied: int | None = None
    sent: int = 0  # bytes of the reply's body
    fault: str = ""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def kind(self) -> str:
        if "list-type=" in self.target or ("?uploads" in self.target and self.method == "GET"):
            return "listing"
        thing = next((name for name, pattern in THINGS.items() if re.search(pattern, self.path)), "other")
        return f"{thing} {self.method}"


@dataclass
class Reply:
    """An answer, and how it is sent: `cut` ends it after so many bytes of the body, `rate` is in bytes a second."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: int | None = None  # the Content-Length that it claims; that of the body where None
    cut: int | None = None
    rate: float | None = None
    chunk: int = 1 << 16
    silent_after: int | None = None  # bytes of the body, and then nothing for ever


class Reset(ConnectionError):  # noqa: N818 - it is what the client sees
    """End the connection now."""


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
            return _error(request, status, code)

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
            return _error(request, status, code)

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


class FaultProxy:
    """The proxy before ``upstream`` (`http://host:port`), in a thread of its own while the block lasts."""

    def __init__(self, upstream: str) -> None:
        place = urlsplit(upstream)
        self._upstream = (place.hostname, place.port)
        self._rules: list[Rule] = []
        self._loop = asyncio.new_event_loop()
        self._release = asyncio.Event()
        self.log: list[Request] = []
        self.url = ""

    def __enter__(self) -> FaultProxy:
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True, name="fault proxy")
        self._thread.start()
        if not started.wait(START_SECONDS):
            raise RuntimeError("the fault proxy did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.clear()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)

    def turn_to(self, upstream: str) -> None:
        """Go on with another server, or the same one on another port."""
        place = urlsplit(upstream)
        self._upstream = (place.hostname, place.port)

    def when(self, method: str, pattern: str = "") -> Rule:
        """A rule for requests of ``method`` (`*` is any) whose decoded path and query match the pattern somewhere."""
        rule = Rule(method, pattern, self._release)
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all rules; whoever is held in silence is let go."""
        self._rules.clear()

        def release() -> None:
            self._release.set()
            self._release.clear()  # who waited has been woken all the same

        self._loop.call_soon_threadsafe(release)

    def requests(self, method: str = "*", pattern: str = "") -> list[Request]:
        """What came, in order, of ``method`` and pattern."""
        found = re.compile(pattern)
        return [each for each in list(self.log) if method in (each.method, "*") and found.search(each.target)]

    def count(self, method: str = "*", pattern: str = "") -> int:
        """How many came."""
        return len(self.requests(method, pattern))

    def kinds(self) -> dict[str, int]:
        """How many came of each kind."""
        found: dict[str, int] = {}
        for request in list(self.log):
            found[request.kind] = found.get(request.kind, 0) + 1
        return found

    # inside

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 20))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read_request(reader, writer)) is not None:
                self.log.append(request)
                reply = await self._handled(request)
                if not await self._send(request, reply, writer):
                    break
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()  # a reset, not an orderly end
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()

    def _handled(self, request: Request) -> Awaitable[Reply]:
        forward: Forward = lambda: self._forward(request)  # noqa: E731 - it is wrapped below
        for rule in reversed([rule for rule in list(self._rules) if rule.strikes(request)]):
            forward = rule.around(request, forward)
        return forward()

    async def _forward(self, request: Request) -> Reply:
        reader, writer = await asyncio.open_connection(*self._upstream, limit=1 << 20)
        try:
            writer.write(request.head + request.body)
            await writer.drain()
            status, headers = _parsed_head(await reader.readuntil(b"\r\n\r\n"))
            body = b"" if request.method == "HEAD" or status in (204, 304) else await _read_body(reader, headers)
        finally:
            writer.close()
        request.applied = status
        kept = [(name, value) for name, value in headers if name.lower() not in ("transfer-encoding", "connection")]
        if request.method != "HEAD":
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
        return Reply(status, kept, body)

    async def _send(self, request: Request, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        """Send the reply; returns whether the connection can go on."""
        request.status = reply.status
        headers = list(reply.headers)
        length = len(reply.body) if reply.length is None else reply.length
        if request.method != "HEAD" and reply.status not in (204, 304):
            headers.append(("Content-Length", str(length)))
        lines = [f"HTTP/1.1 {reply.status} Status", *(f"{name}: {value}" for name, value in headers), "", ""]
        writer.write("\r\n".join(lines).encode("latin-1"))
        for part in _parts(reply):
            request.sent += len(part)  # before: who has read it may look at once
            writer.write(part)
            await writer.drain()
            if reply.rate:
                await asyncio.sleep(len(part) / reply.rate)
        await writer.drain()
        if reply.silent_after is not None:
            await self._release.wait()
        if reply.cut is not None or reply.silent_after is not None:
            raise Reset
        return length == len(reply.body) and "close" not in request.headers.get("connection", "").lower()


def _parts(reply: Reply) -> Iterator[bytes]:
    end = min([len(reply.body), *(each for each in (reply.cut, reply.silent_after) if each is not None)])
    step = max(1, round(reply.rate / 10)) if reply.rate else reply.chunk
    for start in range(0, end, step):
        yield reply.body[start : min(start + step, end)]


def _error(request: Request, status: int, code: str) -> Reply:
    body = b"" if request.method == "HEAD" else ERROR.format(code=code).encode()
    return Reply(status, [("Content-Type", "application/xml"), ("x-amz-request-id", "drill")], body)


def _parsed_head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    return int(first.split()[1]), [_header(line) for line in lines]


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if not end.partial:
            return None  # an orderly end between two requests
        raise
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value for name, value in map(_header, lines)}
    if "expect" in headers:  # answered here and not passed on; it is not signed
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        lines = [line for line in lines if not line.lower().startswith("expect:")]
    body = await _read_raw_body(reader, headers)
    return Request(method, unquote(target), headers, "\r\n".join([first, *lines, "", ""]).encode("latin-1"), body)


async def _read_raw_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """A request's body as it is sent on: chunks stay chunks."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", "0")))
    return b"".join([raw async for raw, _ in _chunks(reader)])


async def _read_body(reader: asyncio.StreamReader, headers: list[tuple[str, str]]) -> bytes:
    """A reply's body, out of its chunks."""
    found = {name.lower(): value for name, value in headers}
    if "chunked" in found.get("transfer-encoding", "").lower():
        return b"".join([content async for _, content in _chunks(reader)])
    if "content-length" in found:
        return await reader.readexactly(int(found["content-length"]))
    return await reader.read()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    """Each chunk as it came, and its content; the last with the trailer."""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            trailer = line
            while (more := await reader.readuntil(b"\r\n")) != b"\r\n":
                trailer += more
            yield trailer + b"\r\n", b""
            return
        content = await reader.readexactly(size)
        yield line + content + await reader.readexactly(2), content


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """An endpoint on loopback where nobody listens: its port is bound, so that nobody else takes it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
