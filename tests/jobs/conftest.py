"""What tests of the jobs share: places to store things, in a folder and on a real S3 server."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import s3fs
from playwright.sync_api import Browser, sync_playwright

from jobs import storage


def forget_clients() -> None:
    """Let the next request to S3 read the environment anew."""
    storage._store.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


def remove(uri: str) -> None:
    """Delete one object."""
    fs, path = fsspec.url_to_fs(uri)
    fs.rm(path)


@pytest.fixture(scope="session")
def bucket(store: fsspec.AbstractFileSystem) -> str:
    """The name of a bucket."""
    store.mkdir("unit-tests")
    return "unit-tests"


@pytest.fixture
def s3_root(s3_environment: dict[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A prefix of its own in a bucket that this process can reach."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield f"s3://{bucket}/{uuid.uuid4().hex}"
    forget_clients()


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of its own: a folder, and then a prefix in a bucket."""
    return str(tmp_path) if request.param == "folder" else str(request.getfixturevalue("s3_root"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium: the system's, else the one that playwright installed."""
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if found is None and not own.exists():
            pytest.skip("no Chromium here; install one with `python -m playwright install chromium` or the system's")
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()
