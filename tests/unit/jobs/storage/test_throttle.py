"""Requests under way are halved when the store says so, and grow by one when as many were answered."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from jobs.storage.s3.throttle import Throttle


def test_requests_that_were_refused_together_halve_the_limit_once() -> None:
    throttle = Throttle(64)

    with ExitStack() as places:
        for _ in range(40):
            places.enter_context(throttle.place())
        sent = throttle.n_slowed
        for _ in range(40):
            throttle.slow_down(sent)
        assert throttle.limit == 20.0

        for _ in range(10):
            throttle.slow_down(throttle.n_slowed)
        assert throttle.limit == 1.0  # never less, or nothing would be asked for again


def test_the_limit_grows_by_one_for_as_many_answers_as_it_allows_up_to_the_most() -> None:
    throttle = Throttle(64)
    throttle.limit = 16.0

    for _ in range(16):
        throttle.speed_up()
    assert throttle.limit == pytest.approx(17.0, abs=0.05)  # 16 + 1/16 + 1/16.06 + …

    for _ in range(64 * 64):
        throttle.speed_up()
    assert throttle.limit == 64.0


def test_no_more_requests_are_under_way_than_the_limit_and_all_get_their_turn() -> None:
    throttle = Throttle(4)
    lock, under_way, most = threading.Lock(), 0, 0

    def request(_: int) -> None:
        nonlocal under_way, most
        with throttle.place():
            with lock:
                under_way += 1
                most = max(most, under_way)
            time.sleep(0.001)
            with lock:
                under_way -= 1

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(request, range(200)))

    assert most == throttle.limit == 4.0
