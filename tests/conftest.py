"""Fixtures that tests share: a store, a place in it or in a folder, a browser, and the command in this process."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.seaweedfs import s3_server
from tests.support.storage import forget_clients

collect_ignore = ["fuzz/run.py"]  # needs atheris, which only `make fuzz` installs


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A SeaweedFS server on loopback, as the environment of its clients."""
    with s3_server(tmp_path_factory.mktemp("seaweedfs")) as environment:
        yield environment


@pytest.fixture(scope="session")
def store(s3_environment: dict[str, str]) -> fsspec.AbstractFileSystem:
    """The S3 server as a file system, with a bucket `archive`."""
    store = fsspec.filesystem(
        "s3",
        key=s3_environment["AWS_ACCESS_KEY_ID"],
        secret=s3_environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=s3_environment["AWS_ENDPOINT_URL"],
        use_listings_cache=False,
    )
    store.mkdir("archive")
    return store


@pytest.fixture(scope="session")
def job_environment(s3_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a job's process gets: the store's address and keys, a home of its own, and our commands on its path."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{mine['PATH']}"
    return mine | s3_environment | {"HOME": str(tmp_path_factory.mktemp("home")), "PATH": path}


@pytest.fixture
def bonafide(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a verb in this process: (exit code, stdout, stderr)."""
    from jobs.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse's way out
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


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
