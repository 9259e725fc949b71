"""The proxy's server, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Awaitable, Iterator
from types import TracebackType
from urllib.parse import urlsplit

from tests.support.proxy.messages import Reply, Request, Reset, parsed_head, read_body, read_request
from tests.support.proxy.rules import Forward, Rule

START_SECONDS = 10.0


class FaultProxy:
    """The proxy in front of ``upstream`` (`http://host:port`), in a thread of its own during the block."""

    def __init__(self, upstream: str) -> None:
        place = urlsplit(upstream)
        self._upstream = (place.hostname, place.port)
        self._rules: list[Rule] = []
        self._loop = asyncio.new_event_loop()
        self._release = asyncio.Event()
        self.log: list[Request] = []
        self.n_connections = 0
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
        """Forward to another server from now on, or to the same one on another port."""
        place = urlsplit(upstream)
        self._upstream = (place.hostname, place.port)

    def when(self, method: str, pattern: str = "") -> Rule:
        """Add a rule for requests of ``method`` (`*` is any) whose decoded path and query contain the pattern."""
        rule = Rule(method, pattern, self._release)
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Remove all rules, and release the connections that are held in silence."""
        self._rules.clear()

        def release() -> None:
            self._release.set()
            self._release.clear()  # tasks that waited are woken nevertheless

        self._loop.call_soon_threadsafe(release)

    def requests(self, method: str = "*", pattern: str = "") -> list[Request]:
        """Return the requests of a method and pattern, in order."""
        found = re.compile(pattern)
        return [each for each in list(self.log) if method in (each.method, "*") and found.search(each.target)]

    def count(self, method: str = "*", pattern: str = "") -> int:
        """Return the number of requests of a method and pattern."""
        return len(self.requests(method, pattern))

    def kinds(self) -> dict[str, int]:
        """Return the number of requests by kind."""
        found: dict[str, int] = {}
        for request in list(self.log):
            found[request.kind] = found.get(request.kind, 0) + 1
        return found

    # in the thread

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
        self.n_connections += 1
        try:
            while (request := await read_request(reader, writer)) is not None:
                self.log.append(request)
                reply = await self._handled(request)
                if not await self._send(request, reply, writer):
                    break
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()  # a reset instead of an orderly close
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
            status, headers = parsed_head(await reader.readuntil(b"\r\n\r\n"))
            body = b"" if request.method == "HEAD" or status in (204, 304) else await read_body(reader, headers)
        finally:
            writer.close()
        request.applied = status
        kept = [(name, value) for name, value in headers if name.lower() not in ("transfer-encoding", "connection")]
        if request.method != "HEAD":
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
        return Reply(status, kept, body)

    async def _send(self, request: Request, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        """Send the reply; return True if the connection stays open."""
        request.status = reply.status
        headers = list(reply.headers)
        length = len(reply.body) if reply.length is None else reply.length
        if request.method != "HEAD" and reply.status not in (204, 304):
            headers.append(("Content-Length", str(length)))
        lines = [f"HTTP/1.1 {reply.status} Status", *(f"{name}: {value}" for name, value in headers), "", ""]
        writer.write("\r\n".join(lines).encode("latin-1"))
        for part in _parts(reply):
            request.sent += len(part)  # counted before it is sent, because a client that has read it may check at once
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


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """Yield an endpoint on loopback that refuses connections; its port stays bound, so no other process takes it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
