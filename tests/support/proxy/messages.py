"""Requests and replies as the proxy holds them, and the functions that read them from a connection."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import unquote

ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>{code}, says the fault proxy</Message><RequestId>drill</RequestId></Error>"""
THINGS = {  # by a pattern of the key; the first that matches counts
    "marker": r"/_commits/",
    "plan": r"/_plans/",
    "canaries": r"/_canaries/",
    "garbage": r"/_garbage/",
    "record": r"/runs/[^/]*\.json$",
    "table": r"\.parquet$",
    "audio": r"\.(tar|wav|flac)$",
}


@dataclass
class Request:
    """A request, and afterwards its outcome.

    `target` is the path with its query, percent-decoded; `kind` is its subject and method, such as `audio GET`,
    `marker PUT`, `table PUT`, `plan PUT`, `record PUT`, `listing`; `status` is the status that the client received, if
    any; `applied` is the status that the store answered, None if the request never reached it.
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
    """A reply, and how it is sent: `cut` ends it after this many bytes of the body, `rate` is in bytes a second."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: int | None = None  # the Content-Length header; None for that of the body
    cut: int | None = None
    rate: float | None = None
    chunk: int = 1 << 16
    silent_after: int | None = None  # bytes of the body to send before the connection falls silent


class Reset(ConnectionError):  # noqa: N818 - it is what the client sees
    """Raised to end the connection at once."""


def error_reply(request: Request, status: int, code: str) -> Reply:
    body = b"" if request.method == "HEAD" else ERROR.format(code=code).encode()
    return Reply(status, [("Content-Type", "application/xml"), ("x-amz-request-id", "drill")], body)


def parsed_head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    return int(first.split()[1]), [_header(line) for line in lines]


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if not end.partial:
            return None  # the client closed the connection between two requests
        raise
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value for name, value in map(_header, lines)}
    if "expect" in headers:  # answered here and not forwarded; the header is not signed
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        lines = [line for line in lines if not line.lower().startswith("expect:")]
    body = await _read_raw_body(reader, headers)
    return Request(method, unquote(target), headers, "\r\n".join([first, *lines, "", ""]).encode("latin-1"), body)


async def _read_raw_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """Read a request's body as it is forwarded, with its chunks."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", "0")))
    return b"".join([raw async for raw, _ in _chunks(reader)])


async def read_body(reader: asyncio.StreamReader, headers: list[tuple[str, str]]) -> bytes:
    """Read a reply's body without its chunks."""
    found = {name.lower(): value for name, value in headers}
    if "chunked" in found.get("transfer-encoding", "").lower():
        return b"".join([content async for _, content in _chunks(reader)])
    if "content-length" in found:
        return await reader.readexactly(int(found["content-length"]))
    return await reader.read()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield each chunk, raw and as content; the last one with the trailer."""
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
