"""A folder and a real S3 server behave alike, and a trouble carries its class and its URI."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.errors import RunAgain, SourceChangedError, StorageError
from jobs.storage import ABSENT, Found, StoredFile, retry_budget
from jobs.tables.parquet import parquet_bytes
from tests.support.storage import forget_clients, remove

LONG_BYTES = storage.READ_AHEAD_BYTES + (2 << 20)

OPERATIONS: dict[str, Callable[[str], Any]] = {
    "stat": storage.stat,
    "listing": storage.listing,
    "matching": lambda uri: storage.matching(f"{uri}/*"),
    "read_bytes": storage.read_bytes,
    "write_bytes": lambda uri: storage.write_bytes(uri, b""),
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("file:///data/../data/a.flac", "/data/a.flac"),
        ("/data//a.flac", "/data/a.flac"),
        ("s3://bucket/a//b.tar", "s3://bucket/a//b.tar"),  # to S3 every slash counts
        ("s3://bucket/me@home/a.flac", "s3://bucket/me@home/a.flac"),
        ("s3://bucket/10:30/a.flac", "s3://bucket/10:30/a.flac"),
    ],
)
def test_a_uri_has_one_spelling(given: str, expected: str) -> None:
    assert storage.normal(given) == expected


def test_a_relative_path_is_taken_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert storage.normal("day/a.flac") == f"{tmp_path}/day/a.flac"


@pytest.mark.parametrize("secret", ["hush", "hu/sh"])  # a key of AWS often has a slash
def test_credentials_in_a_uri_are_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigError, match="credentials in a URI") as refused:
        storage.normal(f"s3://id:{secret}@bucket/a.flac")

    assert "hu" not in str(refused.value)


@pytest.mark.parametrize("name", ["X-Amz-Signature", "x-amz-security-token", "X-Goog-Signature", "sig", "access_token"])
def test_a_signed_uri_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError, match="a signed URI") as refused:
        storage.normal(f"https://store.example/a.flac?part=1&{name}=hush")

    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://bucket/shards/0001.tar", "shards/0001.tar"),
        ("/data/a.flac", "/data/a.flac"),
        ("s3://bucket/take #2.flac", "take #2.flac"),
        ("s3://bucket/who?.flac", "who?.flac"),
        ("s3://bucket/50%20.flac", "50%20.flac"),
    ],
)
def test_a_key_is_all_that_follows_the_bucket(uri: str, key: str) -> None:
    assert storage.key_of(uri) == key


def test_what_is_written_is_listed_in_order_and_read_back(root: str) -> None:
    contents = {"b/two.flac": b"22", "one.flac": b"1", "b/a/three.flac": b"333", "a #[1]*?.flac": b"4444"}
    for name, content in contents.items():
        storage.write_bytes(storage.join(root, name), content)

    found = storage.listing(root)

    assert found is not None
    assert [(each.uri, each.size) for each in found] == sorted(
        (f"{root}/{name}", len(content)) for name, content in contents.items()
    )
    assert [storage.stat(each.uri) for each in found] == found
    assert {each.uri: storage.read_bytes(each.uri) for each in found} == {
        f"{root}/{name}": content for name, content in contents.items()
    }


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_listing_stays_below_its_folder(root: str, slash: str) -> None:
    for name in ("day/a.flac", "day2/a.flac", "day.flac"):
        storage.write_bytes(f"{root}/{name}", b"1")

    assert [each.uri for each in storage.listing(f"{root}/day{slash}") or []] == [f"{root}/day/a.flac"]


def test_a_glob_matches_objects_by_name(root: str) -> None:
    for name in ("b/a.flac", "a/a.flac", "a/a.txt", "a/b/c.flac"):
        storage.write_bytes(f"{root}/{name}", b"1")

    assert [each.uri for each in storage.matching(f"{root}/*/*.flac")] == [f"{root}/a/a.flac", f"{root}/b/a.flac"]
    assert storage.matching(f"{root}/*.flac") == []


def test_a_link_to_a_file_is_listed_like_the_file(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/corpus/a.flac", b"123")
    (tmp_path / "subset").mkdir()
    (tmp_path / "subset/a.flac").symlink_to(tmp_path / "corpus/a.flac")

    for found in (storage.listing(f"{tmp_path}/subset"), storage.matching(f"{tmp_path}/subset/*")):
        assert [(each.uri, each.size) for each in found or []] == [(f"{tmp_path}/subset/a.flac", 3)]
        assert found == [storage.stat(f"{tmp_path}/subset/a.flac")]


def test_what_is_not_there_is_none(root: str) -> None:
    storage.write_bytes(f"{root}/day/a.flac", b"1")

    assert storage.stat(f"{root}/none.flac") is None
    assert storage.stat(f"{root}/day") is None  # a folder is no object
    assert storage.listing(f"{root}/none") is None


def test_a_missing_bucket_holds_nothing(s3_root: str) -> None:
    assert storage.listing("s3://no-such-bucket/day/") is None
    assert storage.stat("s3://no-such-bucket/a.flac") is None
    with pytest.raises(ConfigError, match="s3://no-such-bucket/a"):
        storage.read_bytes("s3://no-such-bucket/a.flac")


def test_reading_what_is_not_there_names_it(root: str) -> None:
    with pytest.raises(ConfigError, match=f"{root}/none.flac: not found"):
        storage.read_bytes(f"{root}/none.flac")


def test_an_object_written_again_is_another_one(root: str) -> None:
    uri = f"{root}/a.flac"
    storage.write_bytes(uri, b"first")
    first = storage.stat(uri)
    storage.write_bytes(uri, b"second")

    assert storage.read_bytes(uri) == b"second"
    assert storage.stat(uri) != first


def test_a_planned_object_is_read_from_any_place(root: str) -> None:
    storage.write_bytes(f"{root}/a.flac", b"0123456789")
    planned = storage.stat(f"{root}/a.flac")
    assert planned is not None

    with storage.opened(planned) as file:
        assert file.seekable()
        assert (file.read(3), file.tell()) == (b"012", 3)
        assert (file.seek(-4, 2), file.read(2), file.read()) == (6, b"67", b"89")
        file.raise_trouble()


def test_a_planned_object_that_changed_or_went_is_for_the_next_run(root: str) -> None:
    uri = f"{root}/a.flac"
    storage.write_bytes(uri, b"planned")
    planned = storage.stat(uri)
    assert planned is not None

    storage.write_bytes(uri, b"a longer one")
    with (
        pytest.raises(RunAgain, match=f"{uri}: changed .* 7 bytes and tag {planned.etag} .* 12 bytes"),
        storage.opened(planned) as file,
    ):
        file.read(1)
    remove(uri)
    with pytest.raises(RunAgain, match="it is gone"), storage.opened(planned) as file:
        file.read(1)


def rewrite(uri: str) -> None:
    storage.write_bytes(uri, b"\1" * LONG_BYTES)


@pytest.mark.parametrize("change", [remove, rewrite], ids=["gone", "changed"])
def test_an_object_that_changes_while_it_is_read_is_for_the_next_run(
    s3_root: str, change: Callable[[str], None]
) -> None:
    uri = f"{s3_root}/a.flac"
    storage.write_bytes(uri, bytes(LONG_BYTES))
    planned = storage.stat(uri)
    assert planned is not None

    with storage.opened(planned) as file:
        file.read(1)
        change(uri)
        file.seek(-1, 2)  # beyond what was read ahead
        with pytest.raises(RunAgain, match=uri):
            file.read(1)


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

    with pytest.raises(StorageError, match=f"{tmp_path}/rows.parquet"):
        storage.write_bytes(f"{tmp_path}/rows.parquet", b"rows")

    assert [path for path in tmp_path.rglob("*.parquet") if path.is_file()] == []


def test_a_path_below_a_file_is_a_trouble_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match=f"{tmp_path}/file/rows.parquet"):
        storage.write_bytes(f"{tmp_path}/file/rows.parquet", b"rows")


def test_a_place_is_taken_only_by_who_knows_what_stands_there(root: str) -> None:
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
def test_of_many_who_want_one_place_one_gets_it(root: str, expected: str) -> None:
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


def test_a_draft_of_somebody_who_was_killed_is_not_listed_and_can_be_dropped(tmp_path: Path) -> None:
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


def test_times_are_the_store_s_and_uploads_that_nobody_finished_are_dropped(
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

    assert storage.listing(f"{root}/day") == storage.matching(f"{root}/d*") == [stored]
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


def test_an_unknown_kind_of_storage_is_refused() -> None:
    with pytest.raises(ConfigError, match="nope://: no such kind of storage"):
        storage.stat("nope://bucket/a.flac")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_wrong_secret_is_a_trouble_of_the_store(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_clients()

    with pytest.raises(StorageError, match=f"{s3_root}/a.*: permission denied"):
        OPERATIONS[operation](f"{s3_root}/a")


def test_missing_credentials_are_a_trouble_that_says_what_to_set(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # or it would ask the network for a role
    forget_clients()

    with pytest.raises(StorageError, match=f"{s3_root}: no credentials .* AWS_ACCESS_KEY_ID"):
        storage.listing(s3_root)


def test_a_bucket_name_that_cannot_be_is_a_setting_that_does_not_fit(s3_root: str) -> None:
    with pytest.raises(ConfigError, match="my bucket"):
        storage.stat("s3://my bucket/a.flac")


def test_a_store_that_does_not_answer_is_a_trouble_with_its_uri(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_budget, "UNKNOWN_ENDPOINT_SECONDS", 0.5)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # taken, and nobody listens
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unheard.getsockname()[1]}")
        forget_clients()

        with pytest.raises(StorageError, match=f"{s3_root}/a.flac: the store gave up"):
            storage.stat(f"{s3_root}/a.flac")


def test_a_file_remembers_the_trouble_that_its_reader_swallowed() -> None:
    # address 0 is mapped in no process, so that reading there is an input/output error
    with open("/proc/self/mem", "rb", buffering=0) as broken:
        file = StoredFile(broken, "s3://bucket/a.flac")
        file.raise_trouble()

        with contextlib.suppress(StorageError):
            file.read(1)

        with pytest.raises(StorageError, match="s3://bucket/a"):
            file.raise_trouble()
