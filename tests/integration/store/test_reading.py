"""A folder and a real S3 server list and read objects alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.errors import RunAgain
from jobs.storage.s3 import store
from tests.support.storage import remove

LONG_BYTES = storage.READ_AHEAD_BYTES + (2 << 20)


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


@pytest.mark.parametrize("page_keys", [3, 1_000])
def test_a_listing_of_many_pages_has_all_objects_once_whatever_is_left_out(
    root: str, page_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PAGE_KEYS", page_keys)
    below = [f"in/deep/{folder}/{number}.wav" for folder in "abé" for number in range(4)]
    names = sorted(["in/0.wav", "in/z.wav", *below, "in/deep/a/more/x.wav", "other/y.wav"])
    for name in names:
        storage.write_bytes(f"{root}/{name}", b"1")
    expected = [f"{root}/{name}" for name in names if name.startswith("in/")]

    found = storage.survey(f"{root}/in", leave_out=lambda each: each.uri.endswith("0.wav"))
    assert found is not None
    assert [each.uri for each in found.objects] == [uri for uri in expected if not uri.endswith("0.wav")]
    assert found.n_left_out == 4
    assert [each.uri for each in storage.listing(f"{root}/in") or []] == expected
    assert storage.matching(f"{root}/in/deep/*/1.wav", leave_out=lambda _: True).n_left_out == 3


@pytest.mark.parametrize("page_keys", [3, 1_000])
def test_the_names_right_below_a_folder_are_found_in_whatever_parts(
    root: str, page_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PAGE_KEYS", page_keys)
    names = ["!", "0", *(f"{digit}{digit}" for digit in "0123456789abcdef"), "1", "f", "g", "é", "~"]
    for name in (*names, "f/below"[: 7 if root.startswith("s3") else 1]):
        storage.write_bytes(f"{root}/day/{name}", b"1")
    storage.write_bytes(f"{root}/day2/x", b"1")

    assert sorted(storage.names(f"{root}/day")) == sorted(names)
    assert list(storage.names(f"{root}/none")) == []


def test_a_glob_matches_objects_by_name(root: str) -> None:
    for name in ("b/a.flac", "a/a.flac", "a/a.txt", "a/b/c.flac"):
        storage.write_bytes(f"{root}/{name}", b"1")

    assert [each.uri for each in storage.matching(f"{root}/*/*.flac").objects] == [
        f"{root}/a/a.flac",
        f"{root}/b/a.flac",
    ]
    assert storage.matching(f"{root}/*.flac").objects == []


def test_a_link_to_a_file_is_listed_like_the_file(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/corpus/a.flac", b"123")
    (tmp_path / "subset").mkdir()
    (tmp_path / "subset/a.flac").symlink_to(tmp_path / "corpus/a.flac")

    for found in (storage.listing(f"{tmp_path}/subset"), storage.matching(f"{tmp_path}/subset/*").objects):
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


def test_reading_a_missing_object_names_it(root: str) -> None:
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


REQUESTS = """
import json, sys
from jobs import storage

root = sys.argv[1]
uri = storage.join(root, "a.flac")
storage.write_bytes(uri, b"0123")
assert storage.put(uri, b"4567", storage.ABSENT) is not None  # refused, and what stands there is read
assert storage.stat(uri) is not None
assert len(storage.listing(root) or []) == 1
storage.remove(uri)
print(json.dumps(storage.request_counts()))
"""


def test_requests_to_s3_are_counted_by_what_is_charged_for(s3_root: str) -> None:
    # in a process of its own: a file that another test has closed may still be read ahead in this one
    ran = subprocess.run([sys.executable, "-c", REQUESTS, s3_root], capture_output=True, text=True, check=True)

    assert json.loads(ran.stdout) == {"put": 2, "get": 2, "list": 1}
