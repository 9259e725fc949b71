"""The fault proxy does to a request what its rules say, and nothing to all others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from urllib.parse import urlsplit

import fsspec
import pytest

from tests.drills.store import file_system
from tests.support.proxy import FaultProxy, Rule

BODY = bytes(range(256)) * 400  # 102,400 bytes


@pytest.fixture(scope="module")
def proxied(s3_environment: dict[str, str]) -> Iterator[FaultProxy]:
    with FaultProxy(s3_environment["AWS_ENDPOINT_URL"]) as proxy:
        yield proxy


@pytest.fixture
def proxy(proxied: FaultProxy) -> Iterator[FaultProxy]:
    proxied.log.clear()
    yield proxied
    proxied.clear()


@pytest.fixture(scope="module")
def client(
    proxied: FaultProxy, s3_environment: dict[str, str], store: fsspec.AbstractFileSystem
) -> fsspec.AbstractFileSystem:
    """A signing client that asks once and gives up."""
    fs = file_system(s3_environment | {"AWS_ENDPOINT_URL": proxied.url}, retries=False)
    store.mkdir("proxied")
    store.pipe_file("proxied/body", BODY)
    return fs


def test_requests_pass_with_their_signature_and_are_on_record(
    proxy: FaultProxy, client: fsspec.AbstractFileSystem
) -> None:
    client.pipe_file("proxied/a/_commits/x/1.json", b"12345")
    client.pipe_file("proxied/a/embeddings/run_date=2026-11-23/1.parquet", b"")
    read = client.cat_file("proxied/a/_commits/x/1.json")
    found = client.find("proxied/a")

    put, empty = proxy.requests("PUT")
    (got,) = proxy.requests("GET", "_commits/x/1")
    assert (read, len(found)) == (b"12345", 2)
    assert (put.kind, put.method, put.path, put.status, put.body) == (
        "marker PUT",
        "PUT",
        "/proxied/a/_commits/x/1.json",
        200,
        b"12345",
    )
    assert (empty.kind, empty.path) == ("table PUT", "/proxied/a/embeddings/run_date=2026-11-23/1.parquet")
    assert (got.kind, got.sent) == ("marker GET", 5)
    assert proxy.kinds()["listing"] >= 1
    assert proxy.count("PUT", "_commits") == 1


def test_a_long_upload_in_parts_passes(proxy: FaultProxy, client: fsspec.AbstractFileSystem) -> None:
    content = b"\7" * (11 << 20)
    with client.open("proxied/long", "wb", block_size=5 << 20) as file:
        for start in range(0, len(content), 1 << 20):
            file.write(content[start : start + (1 << 20)])

    assert client.cat_file("proxied/long") == content
    assert proxy.count("PUT", "partNumber=") >= 2


def test_a_store_s_refusal_is_made_up_and_never_forwarded(proxy: FaultProxy, client: fsspec.AbstractFileSystem) -> None:
    proxy.when("PUT").reply(412, "PreconditionFailed")

    with pytest.raises(OSError, match="PreconditionFailed"):
        client.pipe_file("proxied/refused", b"1")

    (put,) = proxy.requests("PUT")
    assert (put.status, put.applied, put.fault) == (412, None, "412 PreconditionFailed")
    assert not client.exists("proxied/refused")


def test_a_dropped_reply_leaves_the_object_behind(proxy: FaultProxy, client: fsspec.AbstractFileSystem) -> None:
    proxy.when("PUT").drop_reply()

    with pytest.raises(Exception, match=r"(?i)connect|disconnect|closed"):
        client.pipe_file("proxied/dropped", b"1")

    assert client.cat_file("proxied/dropped") == b"1"
    assert {(put.status, put.applied) for put in proxy.requests("PUT")} == {(None, 200)}


def test_a_reset_before_forwarding_leaves_nothing(proxy: FaultProxy, client: fsspec.AbstractFileSystem) -> None:
    proxy.when("PUT").reset()

    with pytest.raises(Exception, match=r"(?i)connect|disconnect|closed"):
        client.pipe_file("proxied/reset", b"1")

    assert not client.exists("proxied/reset")


def read(client: fsspec.AbstractFileSystem, seconds: float = 5.0) -> tuple[HTTPResponse, bytes]:
    """Read the body by the standard library's client, which checks nothing but the length and never asks twice."""
    place = urlsplit(client.url("proxied/body"))
    connection = HTTPConnection(place.netloc, timeout=seconds)
    try:
        connection.request("GET", f"{place.path}?{place.query}")
        reply = connection.getresponse()
        return reply, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize("n_bytes", [0, 1, len(BODY) // 2, len(BODY) - 1])
def test_a_connection_ends_after_so_many_bytes(
    n_bytes: int, proxy: FaultProxy, client: fsspec.AbstractFileSystem
) -> None:
    proxy.when("GET").reset_after(n_bytes)

    with pytest.raises((OSError, HTTPException)):
        read(client)

    assert proxy.log[0].sent == n_bytes


def test_bodies_are_short_long_changed_and_cut(proxy: FaultProxy, client: fsspec.AbstractFileSystem) -> None:
    proxy.when("GET").nth(1).short_body()
    proxy.when("GET").nth(2).short_body(claimed=True)
    proxy.when("GET").nth(3).long_body(claimed=True)
    proxy.when("GET").nth(4).flip_byte()
    proxy.when("GET").nth(5).truncate()

    with pytest.raises(IncompleteRead):
        read(client)
    bodies = [read(client)[1] for _ in range(5)]

    middle = len(BODY) // 2
    changed = BODY[:middle] + bytes([BODY[middle] ^ 1]) + BODY[middle + 1 :]
    assert bodies == [BODY[:-1], BODY + b"\0", changed, BODY[:middle], BODY]


def test_bodies_come_slowly_or_not_at_all(proxy: FaultProxy, client: fsspec.AbstractFileSystem) -> None:
    proxy.when("GET").nth(1).slow(200_000)
    proxy.when("GET").nth(2).delay(0.3)
    proxy.when("GET").nth(3).silence(after=10)
    proxy.when("GET").nth(4).silence(after=None)

    begun = time.monotonic()
    assert read(client)[1] == BODY
    slow = time.monotonic() - begun
    assert read(client)[1] == BODY
    late = time.monotonic() - begun - slow
    for _ in range(2):
        with pytest.raises(TimeoutError):
            read(client, seconds=0.3)

    assert slow == pytest.approx(len(BODY) / 200_000, rel=0.5)
    assert 0.3 <= late < 1.0
    assert [each.sent for each in proxy.log] == [len(BODY), len(BODY), 10, 0]


def test_a_client_is_sent_elsewhere(proxy: FaultProxy, client: fsspec.AbstractFileSystem) -> None:
    proxy.when("GET").redirect("http://elsewhere.invalid/body")

    reply, _ = read(client)

    assert (reply.status, reply.getheader("Location")) == (307, "http://elsewhere.invalid/body")


def test_callbacks_run_on_either_side_of_the_store(
    proxy: FaultProxy, client: fsspec.AbstractFileSystem, store: fsspec.AbstractFileSystem
) -> None:
    seen: list[bool] = []
    proxy.when("PUT").before(lambda _: seen.append(store.exists("proxied/between")))
    proxy.when("PUT").then(lambda _: seen.append(store.exists("proxied/between")))

    client.pipe_file("proxied/between", b"1")

    assert seen == [False, True]


def test_rules_pick_by_number_share_time_and_content(proxy: FaultProxy, client: fsspec.AbstractFileSystem) -> None:
    def struck(rule: Rule, count: int) -> list[int]:
        proxy.log.clear()
        rule.reply(500)
        for _ in range(count):
            read(client)
        proxy.clear()
        return [number for number, each in enumerate(proxy.log, start=1) if each.fault]

    assert struck(proxy.when("GET").nth(3), 5) == [3]
    assert struck(proxy.when("GET").first(2), 4) == [1, 2]
    assert struck(proxy.when("GET").after(2), 4) == [3, 4]
    assert struck(proxy.when("GET").every(2), 5) == [2, 4]
    assert struck(proxy.when("GET").every(2).times(1), 5) == [2]
    assert struck(proxy.when("GET").seconds(0.0), 2) == []
    assert struck(proxy.when("GET", "other"), 2) == []
    assert struck(proxy.when("*").where(lambda each: "body" in each.path), 2) == [1, 2]
    drawn = struck(proxy.when("GET").chance(0.5, seed=1), 40)
    assert drawn == struck(proxy.when("GET").chance(0.5, seed=1), 40)
    assert 10 < len(drawn) < 30
