"""Faults of bodies: bytes that break off, flip, crawl or change are noticed and fetched again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import fsspec
import pytest

from jobs import storage
from jobs.errors import CorruptError, SourceChangedError, StorageError
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Shard
from jobs.storage import READ_AHEAD_BYTES, Stored
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.proxy import FaultProxy
from tests.support.store_faults import LONG, SHORT


def planned(uri: str, content: bytes) -> Stored:
    storage.write_bytes(uri, content)
    stored = storage.stat(uri)
    assert stored is not None
    return stored


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
