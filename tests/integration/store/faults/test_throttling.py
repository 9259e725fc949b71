"""A store that takes only so many requests a second makes a process slower, and fails none of its requests."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs import storage
from jobs.errors import StorageError
from jobs.storage import retry_budget
from tests.support.proxy import FaultProxy, Request
from tests.support.store_faults import SHORT

THREADS = 24


class Rate:
    """Requests beyond a rate, as a bucket of tokens tells them."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._tokens = self._most = per_second / 10
        self._looked = time.monotonic()
        self._lock = threading.Lock()

    def exceeded(self, _: Request) -> bool:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._most, self._tokens + (now - self._looked) * self._per_second)
            self._looked = now
            if self._tokens < 1.0:
                return True
            self._tokens -= 1.0
            return False


def write(root: str, count: int) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda number: storage.write_bytes(f"{root}/many/{number}", SHORT[:100]), range(count)))


def test_a_store_that_throttles_is_asked_less_and_no_request_fails(
    s3_root: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_budget, "FIRST_PAUSE_SECONDS", 0.2)  # as in a run
    write(s3_root, 1)  # the client is there
    storage.set_retry_budget(2.0)  # less than the store throttles for
    rule = proxy.when("PUT", "many").where(Rate(80.0).exceeded).reply(503, "SlowDown")
    proxy.log.clear()
    begun = time.monotonic()

    write(s3_root, 320)

    seconds = time.monotonic() - begun
    assert seconds > 320 / 80.0 - 1.0
    assert len(storage.listing(f"{s3_root}/many") or ()) == 320
    assert proxy.count("PUT", "many") == 320 + len(rule.struck)
    assert len(rule.struck) < 320 / 2  # no storm of retries


def test_a_store_that_takes_nothing_at_all_is_given_up(s3_root: str, proxy: FaultProxy) -> None:
    write(s3_root, 8)
    storage.set_retry_budget(0.5)
    proxy.when("PUT", "many").reply(503, "SlowDown")
    begun = time.monotonic()

    with pytest.raises(StorageError, match=r"gave up after .* 503 SlowDown"):
        write(s3_root, 8)

    assert time.monotonic() - begun < 5.0


def test_a_process_has_one_pool_of_connections(s3_root: str, proxy: FaultProxy) -> None:
    write(s3_root, 100)
    n_before = proxy.n_connections

    write(s3_root, 100)
    storage.read_bytes(f"{s3_root.replace('s3://', 's3a://')}/many/1")

    assert proxy.n_connections == n_before
    assert n_before <= THREADS + 1
