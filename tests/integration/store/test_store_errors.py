"""An error of a store keeps its class and names its URI."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.errors import StorageError
from jobs.inputs.contents import Contents
from jobs.storage import StoredFile, retry_budget
from tests.support.storage import forget_clients

OPERATIONS: dict[str, Callable[[str], Any]] = {
    "stat": storage.stat,
    "listing": storage.listing,
    "matching": lambda uri: storage.matching(f"{uri}/*"),
    "read_bytes": storage.read_bytes,
    "write_bytes": lambda uri: storage.write_bytes(uri, b""),
}


def test_an_unknown_kind_of_storage_is_refused() -> None:
    with pytest.raises(ConfigError, match="nope://: no such kind of storage"):
        storage.stat("nope://bucket/a.flac")


def test_a_name_that_a_kind_of_storage_cannot_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="data://x: no name of such a storage"):
        storage.stat("data://x")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_wrong_secret_is_a_trouble_of_the_store(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_clients()

    with pytest.raises(StorageError, match=f"{s3_root}/a.*: permission denied"):
        OPERATIONS[operation](f"{s3_root}/a")


def test_an_object_that_may_not_be_read_is_passed_over_with_a_warning_and_not_remembered(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # as for one in a cold tier, or under a key that the reader does not have
    storage.write_bytes(f"{s3_root}/voice", b"fLaC")
    objects = storage.listing(s3_root) or []
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_clients()
    contents = Contents()

    assert contents.recordings(objects) == []
    assert f"1 objects may not be read, and may be recordings; first: {s3_root}/voice" in caplog.text
    assert not any(map(len, contents.others.values()))


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


def test_a_file_keeps_the_error_that_its_reader_swallowed() -> None:
    # address 0 is mapped in no process, so that reading there is an input/output error
    with open("/proc/self/mem", "rb", buffering=0) as broken:
        file = StoredFile(broken, "s3://bucket/a.flac")
        file.raise_trouble()

        with contextlib.suppress(StorageError):
            file.read(1)

        with pytest.raises(StorageError, match="s3://bucket/a"):
            file.raise_trouble()
