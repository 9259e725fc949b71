"""A folder and a real S3 server write and remove objects alike; a write is seen whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import storage
from jobs.errors import SourceChangedError, StorageError
from jobs.storage import ABSENT, Found
from jobs.tables.parquet import parquet_bytes


def test_a_local_object_is_never_seen_half_written(tmp_path: Path) -> None:
    uri = f"{tmp_path}/rows.parquet"
    contents = [letter * 1_000_000 for letter in (b"a", b"b")]
    storage.write_bytes(uri, contents[0])

    def write() -> None:
        for each in contents * 50:
            storage.write_bytes(uri, each)

    read, names = set(), set()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            read.add(storage.read_bytes(uri))
            names |= {path.name for path in tmp_path.glob("**/*.parquet")}

    writing.result()
    assert read <= set(contents)
    assert names == {"rows.parquet"}
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_the_draft_of_a_write_that_failed_looks_like_no_table(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").mkdir()  # nothing can be renamed onto it

    with pytest.raises(storage.NotFolderError, match=f"{tmp_path}/rows.parquet"):
        storage.write_bytes(f"{tmp_path}/rows.parquet", b"rows")

    assert [path for path in tmp_path.rglob("*.parquet") if path.is_file()] == []


def test_a_path_below_a_file_is_a_trouble_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(storage.NotFolderError, match=f"{tmp_path}/file/rows.parquet"):
        storage.write_bytes(f"{tmp_path}/file/rows.parquet", b"rows")


def test_an_object_is_replaced_only_if_the_writer_knows_its_current_version(root: str) -> None:
    uri = f"{root}/_plans/marker.json"

    assert storage.put(uri, b"two", "0" * 32) == Found(None, ABSENT)
    assert storage.put(uri, b"one", ABSENT) is None
    first = storage.stat(uri)
    assert first is not None
    assert storage.put(uri, b"two", ABSENT) == Found(b"one", first.etag)
    assert storage.put(uri, b"one", ABSENT) is None  # what stands there is ours, whoever put it there
    assert storage.put(uri, b"two", first.etag) is None
    second = storage.stat(uri)
    assert second is not None
    assert storage.put(uri, b"three", first.etag) == Found(b"two", second.etag)
    assert [each.uri for each in storage.listing(root) or []] == [uri]
    assert storage.read_bytes(uri) == b"two"


@pytest.mark.parametrize("expected", ["absent", "the first"])
def test_of_many_concurrent_creators_exactly_one_succeeds(root: str, expected: str) -> None:
    for number in range(2 if "://" in root else 50):  # SeaweedFS lets the others wait for a second
        uri = f"{root}/{number}"
        etag = ABSENT
        if expected == "the first":
            storage.write_bytes(uri, b"first")
            stands = storage.stat(uri)
            assert stands is not None
            etag = stands.etag
        start = threading.Barrier(4)

        def put(name: bytes, uri: str = uri, etag: str = etag, start: threading.Barrier = start) -> Found | None:
            start.wait()
            return storage.put(uri, name, etag)

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(put, [b"a", b"b", b"c", b"d"]))

        assert found.count(None) == 1
        stands = storage.stat(uri)
        assert stands is not None
        winner = b"abcd"[found.index(None) : found.index(None) + 1]
        assert {each for each in found if each is not None} == {Found(winner, stands.etag)}


@pytest.mark.parametrize("ahead", [0.0, 3600.0], ids=["at once", "by a clock that went back"])
def test_a_file_written_over_has_a_later_tag(tmp_path: Path, ahead: float) -> None:
    uri = f"{tmp_path}/a"
    storage.write_bytes(uri, b"000")
    os.utime(uri, (time.time() + ahead,) * 2)
    tags = []
    for number in range(50):
        stands = storage.stat(uri)
        assert stands is not None
        tags.append(int(stands.etag, 16))
        assert storage.put(uri, b"%03d" % (number + 1), stands.etag) is None

    assert sorted(set(tags)) == tags


@pytest.mark.parametrize("write", [storage.write_bytes, lambda uri, content: storage.put(uri, content, ABSENT)])
def test_a_disk_that_takes_no_more_is_a_trouble_by_name_and_leaves_no_draft(
    tmp_path: Path, write: Callable[[str, bytes], object]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=f"{tmp_path}/rows.parquet"):
            write(f"{tmp_path}/rows.parquet", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert list(tmp_path.iterdir()) == []


def test_a_draft_of_a_killed_writer_is_not_listed_and_can_be_dropped(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/_plans/1.json", b"1")
    writer = multiprocessing.get_context("fork").Process(target=write_and_die, args=(f"{tmp_path}/_plans/2.json",))
    writer.start()
    writer.join()

    assert len(list((tmp_path / "_plans").iterdir())) == 2
    assert [each.uri for each in storage.listing(str(tmp_path)) or []] == [f"{tmp_path}/_plans/1.json"]
    assert storage.abandon_uploads(str(tmp_path), time.time() - 60) == []
    (dropped,) = storage.abandon_uploads(str(tmp_path), time.time() + 60)
    assert dropped.startswith(f"{tmp_path}/_plans/.2.json.")
    assert [path.name for path in (tmp_path / "_plans").iterdir()] == ["1.json"]


def test_an_engine_that_reads_a_whole_folder_passes_over_a_draft(tmp_path: Path) -> None:
    rows = pa.table({"utterance_id": ["a", "b"]})
    storage.write_bytes(f"{tmp_path}/scores/1.parquet", parquet_bytes(rows))
    writer = multiprocessing.get_context("fork").Process(target=write_and_die, args=(f"{tmp_path}/scores/2.parquet",))
    writer.start()
    writer.join()

    assert len(list((tmp_path / "scores").iterdir())) == 2
    assert pq.read_table(tmp_path / "scores").equals(rows)


def write_and_die(uri: str) -> None:
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    storage.write_bytes(uri, b"2")


def test_a_file_that_is_written_over_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(100_000))
    planned = storage.stat(str(path))
    assert planned is not None

    def read() -> None:
        with storage.opened(planned) as file:
            file.read(10)
            with path.open("r+b") as there:
                there.write(b"1")
            with pytest.raises(SourceChangedError):
                file.verify()

    with pytest.raises(SourceChangedError, match=f"{path}: changed"):  # also where nobody asked
        read()


def test_times_are_the_store_s_and_unfinished_uploads_are_dropped(
    s3_root: str, store: fsspec.AbstractFileSystem
) -> None:
    storage.write_bytes(f"{s3_root}/a", b"1")
    bucket, _, prefix = s3_root.removeprefix("s3://").partition("/")
    for folder in (prefix, f"{prefix}-beside"):
        store.call_s3("create_multipart_upload", Bucket=bucket, Key=f"{folder}/rows.parquet")
    times = storage.modified(s3_root)

    assert list(times) == [f"{s3_root}/a"]
    assert times[f"{s3_root}/a"] == pytest.approx(time.time(), abs=60)  # the store of the tests has our clock
    assert storage.abandon_uploads(s3_root, time.time() - 60) == []
    assert storage.abandon_uploads(s3_root, time.time() + 60) == [f"{prefix}/rows.parquet"]
    assert storage.abandon_uploads(s3_root, time.time() + 60) == []


def test_what_is_removed_is_gone_and_may_have_been_gone(root: str) -> None:
    storage.write_bytes(f"{root}/a", b"1")
    before = storage.modified(root)
    storage.remove(f"{root}/a")
    storage.remove(f"{root}/a")

    assert list(before) == [f"{root}/a"]
    assert storage.stat(f"{root}/a") is None
    assert storage.modified(f"{root}/none") == {}


def test_any_other_kind_of_store_is_read_and_written_too() -> None:
    root = f"memory://{uuid.uuid4().hex}"
    assert storage.put(f"{root}/day/a", b"one", ABSENT) is None
    stored = storage.stat(f"{root}/day/a")
    assert stored is not None
    assert storage.put(f"{root}/day/a", b"two", ABSENT) == Found(b"one", stored.etag)

    assert storage.listing(f"{root}/day") == storage.matching(f"{root}/d*").objects == [stored]
    with storage.opened(stored, whole=True) as file:
        assert file.read() == b"one"
        file.verify()
    storage.remove(stored.uri)
    assert storage.stat(stored.uri) is None


def test_a_download_takes_only_the_files_that_are_named(root: str, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "old/config.json"):
        storage.write_bytes(f"{root}/model/{name}", name.encode())
    target = tmp_path / "target"
    target.mkdir()

    storage.download(f"{root}/model", str(target), ("config.json", "*.safetensors"))

    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        "config.json": b"config.json",
        "model.safetensors": b"model.safetensors",
    }
