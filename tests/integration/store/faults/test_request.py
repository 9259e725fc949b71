"""Faults of requests: what is retried, for how long, and what is refused at once."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import pytest

from jobs import storage
from jobs.errors import StorageError
from jobs.storage import ABSENT, retry_budget
from tests.support.proxy import FaultProxy, Rule, refused
from tests.support.store_faults import SHORT, change

REQUESTS: dict[str, Callable[[str], Any]] = {
    "LIST": storage.listing,
    "HEAD": lambda root: storage.stat(f"{root}/a"),
    "GET": lambda root: storage.read_bytes(f"{root}/a"),
    "PUT": lambda root: storage.write_bytes(f"{root}/b", SHORT),
    "PUT IF": lambda root: storage.put(f"{root}/c", SHORT, ABSENT),
    "DELETE": lambda root: storage.remove(f"{root}/d"),
}


FAULTS: dict[str, Callable[[Rule], Rule]] = {
    "500": lambda rule: rule.reply(500, "InternalError"),
    "503": lambda rule: rule.reply(503, "SlowDown"),
    "429": lambda rule: rule.reply(429, "TooManyRequests"),
    "timeout": lambda rule: rule.reply(400, "RequestTimeout"),
    "reset": lambda rule: rule.reset(),
    "reply lost": lambda rule: rule.drop_reply(),
    "error after it was done": lambda rule: rule.drop_reply(500),
    "silence": lambda rule: rule.silence(None),
}


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_leaves_no_trace(s3_root: str, proxy: FaultProxy, request_: str, fault: str) -> None:
    expected = REQUESTS[request_](s3_root)
    storage.remove(f"{s3_root}/c")
    proxy.log.clear()
    rule = FAULTS[fault](proxy.when("*").first(1 if fault == "silence" else 2))

    found = REQUESTS[request_](s3_root)

    assert found == expected
    assert rule.struck
    written = {"PUT": "b", "PUT IF": "c"}.get(request_, "a")
    assert storage.read_bytes(f"{s3_root}/{written}") == SHORT


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_fault_that_stays_is_given_up_after_the_budget_by_name(
    s3_root: str, proxy: FaultProxy, request_: str
) -> None:
    proxy.when("*").reply(503, "SlowDown")
    storage.set_retry_budget(0.7)
    began = time.monotonic()

    with pytest.raises(StorageError, match=rf"{s3_root}.*gave up after 1 s and \d+ tries: 503 .*{proxy.url}"):
        REQUESTS[request_](s3_root)

    assert 0.7 <= time.monotonic() - began < 2.0


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_refusal_is_asked_twice_and_no_more(s3_root: str, proxy: FaultProxy, request_: str) -> None:
    proxy.when("*").reply(403, "AccessDenied")

    with pytest.raises(StorageError, match=f"{s3_root}.*: permission denied .*403"):
        REQUESTS[request_](s3_root)

    assert proxy.count() == 2


@pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied"])
def test_credentials_that_ran_out_are_read_anew(s3_root: str, proxy: FaultProxy, code: str) -> None:
    proxy.when("GET").first(1).reply(403 if code == "AccessDenied" else 400, code)

    assert storage.read_bytes(f"{s3_root}/a") == SHORT


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_redirect_is_refused_and_not_followed(
    s3_root: str, proxy: FaultProxy, s3_environment: dict[str, str], request_: str, status: int
) -> None:
    with FaultProxy(s3_environment["AWS_ENDPOINT_URL"]) as other:
        proxy.when("*").redirect(f"{other.url}/unit-tests/x", status)

        with pytest.raises(StorageError, match=f"{s3_root}.*sends us to {other.url}.*follow to no other"):
            REQUESTS[request_](s3_root)

        assert (proxy.count(), other.count()) == (1, 0)


def test_a_permanent_error_is_not_retried(s3_root: str, proxy: FaultProxy) -> None:
    proxy.when("*").reply(400, "InvalidArgument")

    with pytest.raises(StorageError, match="refuses: 400 InvalidArgument"):
        storage.write_bytes(f"{s3_root}/b", SHORT)

    assert proxy.count() == 1


def test_one_refusal_in_ten_costs_a_tenth_of_the_requests_more(s3_root: str, proxy: FaultProxy) -> None:
    proxy.when("*").chance(0.1, seed=3).reply(503, "SlowDown")
    names = [f"{s3_root}/{number:03d}" for number in range(200)]

    with ThreadPoolExecutor(8) as pool:  # they share one client
        put = list(pool.map(lambda name: storage.put(name, name.encode(), ABSENT), names))
        read = list(pool.map(storage.read_bytes, names))

    assert put == [None] * len(names)
    assert read == [name.encode() for name in names]
    assert 2 * len(names) < proxy.count() <= 1.3 * 2 * len(names)


def test_slow_requests_are_explained_at_most_once_per_interval(
    s3_root: str, proxy: FaultProxy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_budget._Process, "warned", float("-inf"))
    proxy.when("GET").first(4).reply(503, "SlowDown")

    with caplog.at_level(logging.WARNING, logger="jobs.storage"):
        storage.read_bytes(f"{s3_root}/a")

    (record,) = caplog.records
    assert f"{s3_root}/a: 503 SlowDown" in record.getMessage()


def test_an_address_that_never_answered_is_given_up_sooner(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[[str], None]
) -> None:
    monkeypatch.setattr(retry_budget, "UNKNOWN_ENDPOINT_SECONDS", 0.5)
    storage.set_retry_budget(60.0)
    with refused() as nobody:
        for endpoint in (nobody, "http://no-such-host.invalid:8333"):
            elsewhere(endpoint)
            began = time.monotonic()

            with pytest.raises(StorageError, match=f"{s3_root}/a: the store gave up after .*{endpoint}"):
                storage.stat(f"{s3_root}/a")

            assert time.monotonic() - began < 30.0


@pytest.mark.parametrize("known", ["it answered this process", "it answered whoever started us"])
def test_a_temporarily_unreachable_store_is_waited_for(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[[str], None], known: str
) -> None:
    monkeypatch.setattr(retry_budget, "UNKNOWN_ENDPOINT_SECONDS", 0.0)
    with refused() as endpoint:
        elsewhere(endpoint)
        if known == "it answered this process":
            monkeypatch.setattr(retry_budget._Process, "endpoints", {endpoint})
        storage.set_retry_budget(0.7, answered=known != "it answered this process")
        began = time.monotonic()

        with pytest.raises(StorageError, match=endpoint):
            storage.stat(f"{s3_root}/a")

    assert time.monotonic() - began >= 0.7


FORKS = """
import multiprocessing, sys
from jobs import storage

before = storage.read_bytes(sys.argv[1])
with multiprocessing.get_context("fork").Pool(2) as pool:
    read = pool.map_async(storage.read_bytes, [sys.argv[1]] * 4).get(timeout=20)
print(read == [before] * 4)
"""


def test_a_forked_process_has_a_client_of_its_own(s3_root: str, proxy: FaultProxy) -> None:
    # in a process of its own: this one may have threads of Ray's, and a fork beside these may never end
    done = subprocess.run(
        [sys.executable, "-c", FORKS, f"{s3_root}/a"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.split() == ["True"], done.stderr


def test_a_page_of_a_listing_is_asked_for_again_and_a_key_that_comes_twice_counts_once(
    s3_root: str, proxy: FaultProxy, store: fsspec.AbstractFileSystem
) -> None:
    names = [f"{s3_root}/many/{number:04d}" for number in range(1_001)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: storage.write_bytes(name, b""), names))
    proxy.when("GET", "list-type=2.*continuation-token").first(2).reply(503, "SlowDown")
    proxy.when("GET", "list-type=2.*continuation-token").nth(3).truncate()
    change(proxy.when("GET", "list-type").nth(2), repeat_the_last_key)  # the first one looks for folders

    found = storage.listing(f"{s3_root}/many")
    assert found is not None
    assert [each.uri for each in found] == names
    assert proxy.count("GET", "list-type=2") == 1 + 2 + 3


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"<ListBucketResult></ListBucketResult>"])
def test_a_listing_that_says_nothing_is_not_an_empty_folder(s3_root: str, proxy: FaultProxy, body: bytes) -> None:
    change(proxy.when("GET", "list-type").first(1), lambda _: body)

    assert [each.uri for each in storage.listing(s3_root) or []] == [f"{s3_root}/a"]


def repeat_the_last_key(listing: bytes) -> bytes:
    start, end = listing.rindex(b"<Contents>"), listing.rindex(b"</Contents>") + len(b"</Contents>")
    return listing[:end] + listing[start:]
