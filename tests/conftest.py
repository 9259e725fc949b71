"""Fixtures of all tests (the store, a Ray, a browser, the command in this process), and the hooks of the suite."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import hypothesis
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support import workers
from tests.support.left_out import LeftOut
from tests.support.ray_head import ON_LOOPBACK, RayHead
from tests.support.seaweedfs import s3_server
from tests.support.storage import forget_clients
from tests.support.tools import installed_browser, require

# the same examples in every run, no database in the tree, and no failure because of a slow machine
hypothesis.settings.register_profile("suite", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("suite")

collect_ignore = ["fuzz/run.py"]  # needs atheris, which only `make fuzz` installs

STORE = pytest.StashKey[tuple[contextlib.ExitStack, dict[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LeftOut(config), "left-out")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    workers.sort(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Look for no garbage while all is imported, which took a quarter of that time, nor later in what is there then."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> workers.RoomScheduling | None:
    return workers.RoomScheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start the one store of all workers, in the process that starts them and ends last."""
    stash = node.config.stash
    if STORE not in stash:
        stack = contextlib.ExitStack()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bonafide-store-")))
        stash[STORE] = stack, stack.enter_context(s3_server(folder))
    node.workerinput["store"] = stash[STORE][1]


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()
    if STORE in config.stash:
        config.stash[STORE][0].close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        require(*mark.args)


@pytest.fixture(scope="session", autouse=True)
def _without_waiting_for_the_disk() -> Iterator[None]:
    """Write without `fsync` in this process: no test cuts the power, and 3 ms each were a tenth of many tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _file: None)
        yield


@pytest.fixture(scope="session")
def s3_environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A SeaweedFS server on loopback, as the environment of its clients; workers share one."""
    if shared := getattr(request.config, "workerinput", {}).get("store"):
        yield shared
        return
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
    store.makedirs("archive", exist_ok=True)
    return store


@pytest.fixture(scope="session")
def job_environment(s3_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a job's process: the store's address and keys, a home of its own, our commands on its path."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{mine['PATH']}"
    return mine | s3_environment | {"HOME": str(tmp_path_factory.mktemp("home")), "PATH": path}


@pytest.fixture(scope="session")
def on_ray(job_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a job that joins a Ray, which all tests share that need no Ray of their own."""
    ray = RayHead(job_environment, tmp_path_factory.mktemp("shared-ray") / "head")
    yield job_environment | ON_LOOPBACK | {"RAY_ADDRESS": ray.address}
    ray.end()


@pytest.fixture
def bonafide(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a verb in this process: (exit code, stdout, stderr)."""
    from jobs.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # raised by argparse
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def bucket(store: fsspec.AbstractFileSystem) -> str:
    """The name of a bucket."""
    store.makedirs("unit-tests", exist_ok=True)
    return "unit-tests"


@pytest.fixture
def s3_root(s3_environment: dict[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh prefix in a bucket, with the environment of this process set up to reach it."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield f"s3://{bucket}/{uuid.uuid4().hex}"
    forget_clients()


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh output: once a folder, once a prefix in a bucket."""
    return str(tmp_path) if request.param == "folder" else str(request.getfixturevalue("s3_root"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium: the system's, else the one that playwright installed."""
    require("a Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed_browser())
        yield browser
        browser.close()
