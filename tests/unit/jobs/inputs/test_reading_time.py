"""A container whose reading takes the processor for ever is a row; a slow store is none, and a library's loop ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs import storage
from jobs.decoding import process_handle
from jobs.inputs import reading_time
from jobs.inputs.containers import CONTAINERS, Container, Member, decompressed, tar
from jobs.inputs.containers.decompressed import zstd
from jobs.inputs.reading_time import ReadingTime
from jobs.storage import Stored, StoredFile
from tests.support.containers import FLAC, MEMBERS, errors, put, tarred


def stored_at(path: Path) -> Stored:
    stored = storage.stat(str(path))
    assert stored is not None
    return stored


def then_reads_for_ever(file: StoredFile, stored: Stored) -> Iterator[Member]:
    yield next(tar.members(file, stored))
    while True:
        file.seek(0)
        file.read(512)


def then_computes(file: StoredFile, stored: Stored) -> Iterator[Member]:
    yield next(tar.members(file, stored))
    began = time.thread_time()
    while time.thread_time() < began + 0.1:
        sum(range(10_000))
    yield from ()


def then_waits(file: StoredFile, stored: Stored) -> Iterator[Member]:
    for member in tar.members(file, stored):
        time.sleep(0.1)
        yield member


@pytest.mark.parametrize("reader", [then_reads_for_ever, then_computes])
def test_a_container_whose_reading_takes_the_processor_too_long_is_a_row_behind_its_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Callable[[StoredFile, Stored], Iterator[Member]]
) -> None:
    monkeypatch.setattr(reading_time, "FREE_SECONDS", 0.05)
    monkeypatch.setitem(CONTAINERS, "tar", Container((".tar",), reader))

    assert errors(put(tmp_path / "0.tar", tarred({"a.flac": FLAC}))) == [("a.flac", None), (None, "bad_archive")]


def test_time_that_a_store_takes_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_time, "FREE_SECONDS", 0.05)
    path = put(tmp_path / "0.tar", tarred(MEMBERS))

    with storage.opened(stored_at(path)) as file:
        found = list(ReadingTime(stored_at(path)).members(Container((".tar",), then_waits), file))

    assert [member.name for member in found] == list(MEMBERS)


def test_a_worker_reports_that_it_works_while_a_container_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[float] = []
    monkeypatch.setattr(process_handle, "_report", lambda: reports.append(time.monotonic()))
    monkeypatch.setattr(reading_time, "LOOK_SECONDS", 0.01)
    path = put(tmp_path / "0.tar", tarred(MEMBERS))

    with storage.opened(stored_at(path)) as file:
        list(ReadingTime(stored_at(path)).members(Container((".tar",), then_computes), file))

    assert reports


ENDLESS = """
import sys, time
from jobs import storage
from jobs.inputs import reading_time
from jobs.inputs.containers import Container

def members(file, stored):
    while True:
        pass
    yield

reading_time.FREE_SECONDS, reading_time.GRACE_SECONDS, reading_time.LOOK_SECONDS = 0.05, 0.05, 0.02
stored = storage.stat(sys.argv[1])
with storage.opened(stored) as file:
    list(reading_time.ReadingTime(stored).members(Container((".tar",), members), file))
"""


def test_a_reader_that_never_comes_back_ends_its_process_and_says_of_which_container(tmp_path: Path) -> None:
    # the passes of a run then make it a row: tests/unit/jobs/embedding/test_attempts.py
    path = put(tmp_path / "0.tar", tarred(MEMBERS))

    ended = subprocess.run([sys.executable, "-c", ENDLESS, str(path)], stderr=subprocess.PIPE, timeout=60, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert f"{path}: its reader does not come back" in ended.stderr.decode()


def test_a_hole_behind_the_last_member_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_PADDING", 4 << 20)
    path = put(tmp_path / "0.tar", tarred({"a.flac": FLAC}))
    with open(path, "r+b") as file:
        file.truncate(1 << 40)

    assert errors(path) == [("a.flac", None), (None, "bad_archive")]


def test_a_hole_behind_a_compressed_stream_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompressed, "MAX_PADDING", 4 << 20)
    path = put(tmp_path / "0.tar.zst", zstd.compress(tarred({"a.flac": FLAC})))
    with open(path, "r+b") as file:
        file.truncate(1 << 40)

    assert errors(path) == [("a.flac", None), (None, "bad_archive")]
