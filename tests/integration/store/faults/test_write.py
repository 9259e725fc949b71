"""Faults of writes: lost replies, conflicts and bodies that change on the way."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable

import pytest

from jobs import storage
from jobs.errors import StorageError
from jobs.storage import ABSENT, Found
from tests.support.proxy import FaultProxy, Request
from tests.support.store_faults import LONG, SHORT


def test_a_write_whose_reply_is_lost_is_looked_up_and_counts_as_ours(s3_root: str, proxy: FaultProxy) -> None:
    uri = f"{s3_root}/marker"
    proxy.when("PUT").first(1).drop_reply()
    assert storage.put(uri, b"one", ABSENT) is None
    assert [each.status for each in proxy.requests("PUT")][1:] == [412]

    proxy.clear()
    proxy.when("PUT").first(1).drop_reply()
    assert storage.put(uri, b"two", hashlib.md5(b"one").hexdigest()) is None
    assert storage.read_bytes(uri) == b"two"


def test_a_failed_condition_on_a_deleted_object_reports_that_it_is_missing(s3_root: str, proxy: FaultProxy) -> None:
    proxy.when("PUT").first(1).reply(412, "PreconditionFailed")

    assert storage.put(f"{s3_root}/marker", b"ours", ABSENT) == Found(None, ABSENT)
    assert storage.put(f"{s3_root}/marker", b"ours", "0" * 32) == Found(None, ABSENT)


def test_a_conflict_is_retried_and_a_lost_race_is_reported(s3_root: str, proxy: FaultProxy) -> None:
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
