"""jobs.storage under faults on the wire: what each of them does to each kind of request.

A real S3 server stands behind a proxy that strikes requests; budgets and time limits are scaled down.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from jobs import storage
from jobs.errors import CorruptError, SourceChangedError, StorageError
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Shard
from jobs.storage import ABSENT, READ_AHEAD_BYTES, Found, Stored, retry_budget
from jobs.storage.s3 import body
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.proxy import FaultProxy, Request, Rule, refused
from tests.support.storage import forget_clients

BUDGET_SECONDS = 3.0
LONG = bytes(range(251)) * ((2 * READ_AHEAD_BYTES + 12_345) // 251)  # three blocks, no two alike
SHORT = LONG[:100_000]

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


@pytest.fixture(scope="module")
def proxied(s3_environment: dict[str, str], bucket: str) -> Iterator[FaultProxy]:
    """The way to the store for this module; its client is made once."""
    with FaultProxy(s3_environment["AWS_ENDPOINT_URL"]) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in (s3_environment | {"AWS_ENDPOINT_URL": proxy.url}).items():
            patch.setenv(name, value)
        forget_clients()
        yield proxy
    forget_clients()


@pytest.fixture
def proxy(proxied: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """What goes wrong there goes wrong faster."""
    monkeypatch.setattr(body, "SLOW_SECONDS", 0.4)
    monkeypatch.setattr(body, "SLOW_BYTES", 64_000 * 0.4)
    monkeypatch.setattr(body, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(retry_budget, "FIRST_PAUSE_SECONDS", 0.05)
    storage.set_retry_budget(BUDGET_SECONDS)
    yield proxied
    proxied.clear()
    storage.set_retry_budget(retry_budget.BUDGET_SECONDS)


@pytest.fixture
def s3_root(proxy: FaultProxy, bucket: str) -> str:
    """A prefix of its own with one object."""
    root = f"s3://{bucket}/{uuid.uuid4().hex}"
    storage.write_bytes(f"{root}/a", SHORT)
    proxy.log.clear()
    return root


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Talk to another endpoint from now on, and afterwards to ours again."""

    def go(endpoint: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        forget_clients()

    yield go
    forget_clients()


def planned(uri: str, content: bytes) -> Stored:
    storage.write_bytes(uri, content)
    stored = storage.stat(uri)
    assert stored is not None
    return stored


# every request


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


def test_what_cannot_be_is_not_asked_again(s3_root: str, proxy: FaultProxy) -> None:
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


def test_a_person_is_told_why_it_takes_so_long_but_not_all_the_time(
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
def test_a_store_that_goes_away_for_a_while_is_waited_for(
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


# listings


def test_a_page_of_a_listing_is_asked_for_again_and_a_key_that_comes_twice_counts_once(
    s3_root: str, proxy: FaultProxy, store: fsspec.AbstractFileSystem
) -> None:
    names = [f"{s3_root}/many/{number:04d}" for number in range(1_001)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: storage.write_bytes(name, b""), names))
    proxy.when("GET", "list-type=2.*continuation-token").first(2).reply(503, "SlowDown")
    proxy.when("GET", "list-type=2.*continuation-token").nth(3).truncate()
    change(proxy.when("GET", "list-type").first(1), repeat_the_last_key)

    found = storage.listing(f"{s3_root}/many")
    assert found is not None
    assert [each.uri for each in found] == names
    assert proxy.count("GET", "list-type=2") == 2 + 3


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"<ListBucketResult></ListBucketResult>"])
def test_a_listing_that_says_nothing_is_not_an_empty_folder(s3_root: str, proxy: FaultProxy, body: bytes) -> None:
    change(proxy.when("GET", "list-type").first(1), lambda _: body)

    assert [each.uri for each in storage.listing(s3_root) or []] == [f"{s3_root}/a"]


def change(rule: Rule, to: Callable[[bytes], bytes]) -> None:
    """Let the reply's body be another."""

    def fault(reply: Any) -> None:
        reply.body = to(reply.body)

    rule._change("another body", fault)


def repeat_the_last_key(listing: bytes) -> bytes:
    start, end = listing.rindex(b"<Contents>"), listing.rindex(b"</Contents>") + len(b"</Contents>")
    return listing[:end] + listing[start:]


# reads


@pytest.mark.parametrize("n_bytes", [0, 1, len(LONG) // 2, len(LONG) - 1])
@pytest.mark.parametrize("how", ["read", "opened"])
def test_a_body_that_breaks_off_is_read_on_from_there(s3_root: str, proxy: FaultProxy, how: str, n_bytes: int) -> None:
    stored = planned(f"{s3_root}/long", LONG)
    proxy.when("GET").first(2).reset_after(lambda length: min(n_bytes, length - 1))

    if how == "read":
        content = storage.read_bytes(stored.uri)
    else:
        with storage.opened(stored, whole=True) as file:
            content = file.read()
            file.verify()

    assert content == LONG
    lost = 1 << 20  # of what was on its way
    assert sum(each.sent for each in proxy.requests("GET")) <= len(LONG) + 2 * lost


def test_as_long_as_a_body_gets_on_the_budget_begins_anew(s3_root: str, proxy: FaultProxy) -> None:
    stored = planned(f"{s3_root}/long", LONG)
    storage.set_retry_budget(0.3)
    proxy.when("GET").reset_after(1 << 20)
    began = time.monotonic()

    assert storage.read_bytes(stored.uri) == LONG
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("how", ["read", "opened"])
@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("change", ["short", "long"])
def test_a_body_of_another_length_is_noticed(
    s3_root: str, proxy: FaultProxy, how: str, change: str, claimed: bool
) -> None:
    stored = planned(f"{s3_root}/a", SHORT)
    rule = proxy.when("GET").first(1)
    rule.short_body(claimed=claimed) if change == "short" else rule.long_body(claimed=claimed)

    with storage.opened(stored, whole=True) as file:
        content = storage.read_bytes(stored.uri) if how == "read" else file.read()
        file.verify()

    assert content == SHORT


def test_a_byte_that_flips_on_the_way_is_fetched_again(s3_root: str, proxy: FaultProxy) -> None:
    stored = planned(f"{s3_root}/a", SHORT)
    proxy.when("GET").first(3).flip_byte()

    assert storage.read_bytes(stored.uri) == SHORT
    proxy.clear()
    proxy.when("GET").first(3).flip_byte()
    with storage.opened(stored) as file:
        assert file.read() == SHORT


def test_a_byte_that_always_flips_is_a_trouble_by_name(s3_root: str, proxy: FaultProxy) -> None:
    stored = planned(f"{s3_root}/a", SHORT)
    proxy.when("GET").flip_byte()

    with pytest.raises(CorruptError, match=f"{s3_root}/a: .*MD5 is not the ETag .*4 times"):
        storage.read_bytes(stored.uri)
    assert proxy.count("GET") == 4
    with storage.opened(stored) as file:
        with pytest.raises(CorruptError, match=f"{s3_root}/a"):
            file.read()
        with pytest.raises(CorruptError):  # a decoder may have swallowed it
            file.verify()


@pytest.mark.parametrize("times", [1, 100])
def test_an_etag_that_is_another_on_the_way_is_a_body_that_is_not_its_own(
    s3_root: str, proxy: FaultProxy, times: int
) -> None:
    def fault(reply: Any) -> None:
        reply.headers = [(name, f'"{"0" * 32}"' if name.lower() == "etag" else value) for name, value in reply.headers]

    stored = planned(f"{s3_root}/a", SHORT)
    proxy.when("GET").times(times)._change("another ETag", fault)

    for read in (lambda: storage.read_bytes(stored.uri), lambda: read_planned(stored)):
        if times == 1:
            assert read() == SHORT
        else:
            with pytest.raises(CorruptError, match=stored.uri):
                read()


def read_planned(stored: Stored) -> bytes:
    with storage.opened(stored, whole=True) as file:
        content = file.read()
        file.verify()
        return content


@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_byte_that_flips_in_a_long_object_shows_at_its_end(s3_root: str, proxy: FaultProxy, block: int) -> None:
    stored = planned(f"{s3_root}/long", LONG)
    proxy.when("GET").nth(block).flip_byte()

    with storage.opened(stored, whole=True) as file:
        assert len(file.read()) == len(LONG)
        with pytest.raises(CorruptError, match=f"{s3_root}/long: .*not those of the ETag"):
            file.verify()


def test_a_reader_that_skips_sees_a_flipped_byte_where_the_whole_is_asked_for(s3_root: str, proxy: FaultProxy) -> None:
    stored = planned(f"{s3_root}/long", LONG)
    proxy.when("GET").nth(2).flip_byte()

    with storage.opened(stored, whole=True) as file:
        file.read(10)
        file.seek(-10, 2)
        assert file.read() == LONG[-10:]
        file.seek(20)
        assert file.read(10) == LONG[20:30]
        with pytest.raises(CorruptError):
            file.verify()


def test_an_object_is_fetched_once_however_it_is_read(s3_root: str, proxy: FaultProxy) -> None:
    stored = planned(f"{s3_root}/long", LONG)
    proxy.log.clear()

    with storage.opened(stored, whole=True) as file:
        for start in range(0, len(LONG), 1_000_003):  # skips the most of it
            file.seek(start)
            assert file.read(7) == LONG[start : start + 7]
        file.verify()

    assert sum(each.sent for each in proxy.requests("GET")) == len(LONG)
    assert proxy.count() == 3  # a request a block, and no HEAD


def test_what_was_not_read_is_not_fetched_unless_the_whole_is_asked_for(s3_root: str, proxy: FaultProxy) -> None:
    stored = planned(f"{s3_root}/long", LONG)
    proxy.log.clear()

    with storage.opened(stored) as file:
        file.seek(-10, 2)
        assert file.read() == LONG[-10:]
        file.verify()

    assert sum(each.sent for each in proxy.requests("GET")) == 10


@pytest.mark.parametrize("flips", [False, True], ids=["whole", "flipped"])
@pytest.mark.parametrize("sizes", [(6, 6, 1), (6, 6, 6), (6, 5, 6)], ids=["even", "full", "uneven"])
def test_an_object_that_came_in_parts_is_held_against_the_digest_of_their_digests(
    s3_root: str, proxy: FaultProxy, store: fsspec.AbstractFileSystem, sizes: tuple[int, ...], flips: bool
) -> None:
    uri = f"{s3_root}/parts"
    parts = [LONG[n : n + (size << 20)] for n, size in enumerate(sizes)]
    upload_in_parts(store, uri, parts)
    stored = storage.stat(uri)
    assert stored is not None
    assert stored.etag.endswith("-3")
    if flips:
        proxy.when("GET").nth(2).flip_byte()

    with storage.opened(stored, whole=True) as file:
        content = file.read()
        if flips and sizes != (6, 5, 6):  # of parts of many sizes only the length is checked
            with pytest.raises(CorruptError):
                file.verify()
        else:
            file.verify()

    assert (content == b"".join(parts)) is not flips


def upload_in_parts(store: fsspec.AbstractFileSystem, uri: str, parts: list[bytes]) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    upload = store.call_s3("create_multipart_upload", Bucket=bucket, Key=key)["UploadId"]
    etags = []
    for number, part in enumerate(parts, start=1):
        names = {"Bucket": bucket, "Key": key, "UploadId": upload, "PartNumber": number}
        etags.append({"PartNumber": number, "ETag": store.call_s3("upload_part", Body=part, **names)["ETag"]})
    parts_of = {"MultipartUpload": {"Parts": etags}}
    store.call_s3("complete_multipart_upload", Bucket=bucket, Key=key, UploadId=upload, **parts_of)


@pytest.mark.parametrize("rate", [1, 20_000])
def test_a_body_that_crawls_is_left_and_read_on_from_there(s3_root: str, proxy: FaultProxy, rate: int) -> None:
    proxy.when("GET").first(2).slow(rate)

    assert storage.read_bytes(f"{s3_root}/a") == SHORT
    assert proxy.count("GET") == 3


def test_a_body_that_always_crawls_is_given_up(s3_root: str, proxy: FaultProxy) -> None:
    proxy.when("GET").slow(1)
    storage.set_retry_budget(1.0)

    with pytest.raises(StorageError, match=r"gave up after .* came at under 64 kB/s"):
        storage.read_bytes(f"{s3_root}/a")


@pytest.mark.parametrize("after", [None, 0, 10])
def test_a_store_that_falls_silent_is_asked_again(s3_root: str, proxy: FaultProxy, after: int | None) -> None:
    proxy.when("GET").first(1).silence(after)

    assert storage.read_bytes(f"{s3_root}/a") == SHORT


def test_a_source_that_is_replaced_or_deleted_is_never_mixed(s3_root: str, proxy: FaultProxy) -> None:
    stored = planned(f"{s3_root}/long", LONG)

    with storage.opened(stored, whole=True) as file:
        assert file.read(10) == LONG[:10]
        storage.write_bytes(stored.uri, LONG[::-1])
        file.read(100)  # what has come is of the planned one
        with pytest.raises(SourceChangedError, match=f"{stored.etag} were planned, now it has {len(LONG)} bytes"):
            file.read()
        with pytest.raises(SourceChangedError):
            file.verify()
    storage.remove(stored.uri)
    with storage.opened(stored, whole=True) as file, pytest.raises(SourceChangedError, match="it is gone"):
        file.verify()


def test_an_empty_source_is_looked_at_too(s3_root: str, proxy: FaultProxy) -> None:
    stored = planned(f"{s3_root}/empty", b"")

    with storage.opened(stored, whole=True) as file:
        assert file.read() == b""
        file.verify()
    storage.write_bytes(stored.uri, b"1")
    with storage.opened(stored, whole=True) as file, pytest.raises(SourceChangedError):
        file.verify()


def test_an_object_replaced_while_it_is_read_whole_is_read_anew(s3_root: str, proxy: FaultProxy) -> None:
    storage.write_bytes(f"{s3_root}/long", LONG)
    proxy.when("GET").first(1).reset_after(1_000_000)
    proxy.when("GET").nth(2).before(lambda _: storage.write_bytes(f"{s3_root}/long", LONG[::-1]))

    assert storage.read_bytes(f"{s3_root}/long") == LONG[::-1]


@pytest.mark.parametrize("at", [0.0, 0.3], ids=["in a header", "in a member"])
def test_a_tar_that_is_changed_on_the_way_is_never_a_broken_archive(
    s3_root: str, proxy: FaultProxy, tmp_path: Path, at: float
) -> None:
    members = {f"{number}.flac": encoded(tone(0.1, seed=number)) for number in range(4)}
    padding = {"notes.bin": bytes(READ_AHEAD_BYTES)}  # so that it comes in two blocks, and the first cannot be checked
    source = planned(f"{s3_root}/0.tar", write_tar(tmp_path / "0.tar", members | padding).read_bytes())
    proxy.when("GET").first(1).flip_byte(at / 1000)

    with pytest.raises(CorruptError, match=f"{s3_root}/0.tar"):
        list(read_shard(Portion(Shard("tar", (source,))), 4.0))

    assert [piece["error"] for piece in read_shard(Portion(Shard("tar", (source,))), 4.0) if piece.get("error")] == []


# conditional writes


def test_a_write_whose_reply_is_lost_is_looked_up_and_counts_as_ours(s3_root: str, proxy: FaultProxy) -> None:
    uri = f"{s3_root}/marker"
    proxy.when("PUT").first(1).drop_reply()
    assert storage.put(uri, b"one", ABSENT) is None
    assert [each.status for each in proxy.requests("PUT")][1:] == [412]

    proxy.clear()
    proxy.when("PUT").first(1).drop_reply()
    assert storage.put(uri, b"two", hashlib.md5(b"one").hexdigest()) is None
    assert storage.read_bytes(uri) == b"two"


def test_a_refusal_because_of_what_is_gone_again_says_that_nothing_is_there(s3_root: str, proxy: FaultProxy) -> None:
    proxy.when("PUT").first(1).reply(412, "PreconditionFailed")

    assert storage.put(f"{s3_root}/marker", b"ours", ABSENT) == Found(None, ABSENT)
    assert storage.put(f"{s3_root}/marker", b"ours", "0" * 32) == Found(None, ABSENT)


def test_a_conflict_is_asked_again_and_a_lost_race_is_told(s3_root: str, proxy: FaultProxy) -> None:
    uri = f"{s3_root}/marker"
    storage.write_bytes(uri, b"theirs")
    proxy.log.clear()
    proxy.when("PUT").first(2).reply(409, "ConditionalRequestConflict")

    found = storage.put(uri, b"ours", ABSENT)

    assert found == Found(b"theirs", hashlib.md5(b"theirs").hexdigest())
    assert [each.status for each in proxy.requests("PUT")] == [409, 409, 412]


def test_a_body_that_changes_on_the_way_is_refused_by_the_store_and_sent_again(s3_root: str, proxy: FaultProxy) -> None:
    def flip(request: Request) -> None:
        request.body = request.body[:-1] + bytes([request.body[-1] ^ 1])

    proxy.when("PUT").first(2).before(flip)

    assert storage.put(f"{s3_root}/marker", SHORT, ABSENT) is None
    assert storage.read_bytes(f"{s3_root}/marker") == SHORT
    assert [each.status for each in proxy.requests("PUT")] == [400, 400, 200]


def test_a_long_object_is_one_request(s3_root: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # it takes its time
    content = LONG * 3  # s3fs would send it in parts

    assert storage.put(f"{s3_root}/long", content, ABSENT) is None

    (request,) = proxy.requests()
    assert (request.method, len(request.body)) == ("PUT", len(content))
    assert "expect" not in request.headers  # who waits for `100 Continue` may wait without end


def test_what_a_store_does_not_take_is_given_up(s3_root: str, elsewhere: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # connects, and reads nothing
        elsewhere(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        storage.set_retry_budget(1.0)

        with pytest.raises(StorageError, match=r"gave up after .* bytes were taken"):
            storage.put(f"{s3_root}/long", LONG * 4, ABSENT)
