"""The next block of an object is on its way while one is in use: one at most, and none that nobody will ask for."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import pytest

from jobs.errors import CorruptError, StorageError
from jobs.storage import READ_AHEAD_BYTES, Stored
from jobs.storage.files import ContentDigest, RangeFile

BLOCK = READ_AHEAD_BYTES
CONTENT = np.random.default_rng(0).bytes(3 * BLOCK + 1_000)
STORED = Stored("s3://b/o", len(CONTENT), hashlib.md5(CONTENT, usedforsecurity=False).hexdigest())
PATIENCE = 20.0


class Memory:
    """An object in memory; fetches are noted, and those from ``held`` on wait until they are let go."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.fetched: list[int] = []
        self.asked = {start: threading.Event() for start in range(0, len(CONTENT), BLOCK)}
        self.fails_at: int | None = None
        self._content = content

    def fetch(self, start: int, stop: int) -> bytes:
        self.fetched.append(start)
        if start == self.fails_at:
            raise StorageError("the store gave up")
        if start in self.asked:
            self.asked[start].set()
        return self._content[start:stop]

    def digest(self) -> ContentDigest:
        return ContentDigest(STORED.etag)

    def conclusive(self) -> bool:
        return True


def test_the_next_block_is_asked_for_while_one_is_in_use_and_no_more() -> None:
    store = Memory()
    file = RangeFile(STORED, store, whole=True)

    assert file.read(10) == CONTENT[:10]

    assert store.asked[BLOCK].wait(PATIENCE)
    assert not store.asked[2 * BLOCK].wait(0.05)
    file.read(BLOCK)
    assert store.asked[2 * BLOCK].wait(PATIENCE)
    assert not store.asked[3 * BLOCK].wait(0.05)
    rest = file.readall()
    assert CONTENT.endswith(rest)
    file.verify()
    assert sorted(store.fetched) == [0, BLOCK, 2 * BLOCK, 3 * BLOCK]


def test_who_seeks_asks_for_nothing_ahead_until_it_goes_on_to_the_next_block() -> None:
    store = Memory()
    file = RangeFile(STORED, store, whole=False)

    for place in (2 * BLOCK, 5, 3 * BLOCK):
        file.seek(place)
        assert file.read(10) == CONTENT[place : place + 10]
    assert store.fetched == [2 * BLOCK, 5, 3 * BLOCK]

    file.seek(0)
    assert file.read(BLOCK + 1) == CONTENT[: BLOCK + 1]
    assert store.asked[2 * BLOCK].wait(PATIENCE)


def test_an_error_ahead_is_raised_when_its_bytes_are_asked_for() -> None:
    store = Memory()
    store.fails_at = BLOCK
    file = RangeFile(STORED, store, whole=True)

    assert file.read(BLOCK) == CONTENT[:BLOCK]
    with pytest.raises(StorageError, match="gave up"):
        file.read(1)


def test_bytes_that_came_ahead_are_verified() -> None:
    file = RangeFile(STORED, Memory(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])), whole=True)
    file.readall()

    with pytest.raises(CorruptError, match="those of the ETag"):
        file.verify()
