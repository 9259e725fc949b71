"""jobs.storage: the same behaviour on a local folder and on a real S3 server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.errors import RunAgain, StorageError


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The S3 server's address and keys in this process's environment, and no file system from before."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    forget()
    yield monkeypatch
    forget()


def forget() -> None:
    storage._filesystem.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, store: fsspec.AbstractFileSystem) -> str:
    """A place to write to."""
    if request.param == "folder":
        return str(tmp_path)
    request.getfixturevalue("s3")
    return f"s3://archive/storage/{tmp_path.name}"


def test_what_is_written_is_listed_and_read_back(place: str) -> None:
    for name in ("b/2.txt", "a.txt", "b/1.txt"):
        storage.write_bytes(storage.join(place, name), name.encode())

    found = storage.listing(place)

    assert found is not None
    assert [each.uri.removeprefix(f"{place}/") for each in found] == ["a.txt", "b/1.txt", "b/2.txt"]
    assert [each.size for each in found] == [5, 7, 7]
    assert storage.read_bytes(found[1].uri) == b"b/1.txt"
    assert storage.stat(found[0].uri) == found[0]
    assert [each.uri for each in storage.matching(f"{place}/b/*.txt")] == [each.uri for each in found[1:]]
    assert storage.stat(storage.join(place, "none.txt")) is None
    assert storage.listing(storage.join(place, "none")) is None


def test_a_tag_changes_with_the_content(place: str) -> None:
    uri = storage.join(place, "a.txt")
    storage.write_bytes(uri, b"one")
    planned = storage.stat(uri)
    assert planned is not None
    with storage.opened(planned) as file:
        assert file.read() == b"one"

    storage.write_bytes(uri, b"two")

    with pytest.raises(RunAgain, match="changed since the plan"), storage.opened(planned):
        pass


def test_a_local_object_appears_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "new" / "a.parquet"), b"x" * 100)

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.parquet"]


def test_a_bucket_that_is_not_there_is_a_setting_that_does_not_fit(s3: object) -> None:
    assert storage.listing("s3://no-such-bucket/a") is None
    with pytest.raises(ConfigError, match=r"s3://no-such-bucket/a\.txt"):
        storage.read_bytes("s3://no-such-bucket/a.txt")


def test_a_wrong_secret_is_the_store_s_refusal(s3: pytest.MonkeyPatch) -> None:
    s3.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(StorageError, match="s3://archive/x: permission denied"):
        storage.read_bytes("s3://archive/x")


def test_a_store_that_does_not_answer_is_named(s3: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        s3.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")

        with pytest.raises(StorageError, match="s3://archive/x: the store gave up"):
            storage.read_bytes("s3://archive/x")


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as refused:
        storage.normal("s3://key:very-secret@bucket/a")

    assert "very-secret" not in str(refused.value)


def test_a_trouble_that_a_decoder_swallowed_is_still_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    stored = storage.stat(str(tmp_path / "a"))
    assert stored is not None

    with storage.opened(stored) as file:
        file._file.close()
        with pytest.raises(Exception, match="closed"):
            file.read()
        with pytest.raises(Exception, match="closed"):
            file.raise_trouble()
