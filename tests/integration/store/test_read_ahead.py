"""Small files of a store are read ahead of the decoder, so many at a time, and errors come when it is their turn."""

from __future__ import annotations

import threading
import uuid

import pytest

from jobs import storage
from jobs.errors import SourceChangedError
from jobs.inputs.read_ahead import FILES_AHEAD, ReadAhead
from jobs.storage import Stored
from tests.support.proxy import FaultProxy

N_FILES = 60


@pytest.fixture
def files(proxy: FaultProxy, bucket: str) -> list[Stored]:
    folder = f"s3://{bucket}/{uuid.uuid4().hex}"
    for number in range(N_FILES):
        storage.write_bytes(f"{folder}/{number:02}", b"%d" % number * 1_000)
    found = storage.listing(folder)
    assert found is not None
    proxy.log.clear()
    return found


def test_files_come_in_their_order_each_is_asked_for_once_and_few_are_ahead(
    files: list[Stored], proxy: FaultProxy
) -> None:
    most_ahead = 0
    with ReadAhead(files) as ahead:
        for number, each in enumerate(files):
            with ahead.opened(each) as file:
                assert file.read() == b"%d" % number * 1_000
                file.verify()
            most_ahead = max(most_ahead, proxy.count("GET") - number - 1)

    assert proxy.count("GET") == N_FILES
    assert 1 < most_ahead <= FILES_AHEAD


def test_requests_of_many_files_overlap(files: list[Stored], proxy: FaultProxy) -> None:
    four = threading.Barrier(4)
    proxy.when("GET").before(lambda _: four.wait(30.0))  # none is answered before four are under way

    with ReadAhead(files) as ahead:
        for each in files:
            with ahead.opened(each) as file:
                file.read()

    assert not four.broken


def test_a_file_that_was_replaced_is_told_at_its_turn(files: list[Stored]) -> None:
    storage.write_bytes(files[3].uri, b"other")

    with ReadAhead(files) as ahead:
        for each in files[:3]:
            with ahead.opened(each) as file:
                assert file.read()
        with pytest.raises(SourceChangedError, match=files[3].uri), ahead.opened(files[3]):
            pass


def test_who_leaves_early_leaves_the_rest_unread(files: list[Stored], proxy: FaultProxy) -> None:
    with ReadAhead(files) as ahead, ahead.opened(files[0]) as file:
        file.read()

    assert proxy.count("GET") <= 1 + 2 * FILES_AHEAD < N_FILES
