"""Fixtures of the drills: a store behind the proxy, the archive in it, and a lab for each drill."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drills.archive import seeded_tars
from tests.drills.golden import Archive, put_archive
from tests.drills.lab import Lab, Quiet
from tests.drills.store import BUCKET, file_system
from tests.support.proxy import FaultProxy
from tests.support.ray_head import RayHead

NUMBERS = range(1, 66)


def pytest_configure(config: pytest.Config) -> None:
    for number in NUMBERS:
        config.addinivalue_line("markers", f"D{number:02d}: a fault drill")


@pytest.fixture(scope="session")
def drill_store(s3_environment: dict[str, str]) -> dict[str, str]:
    """The store with a bucket of the drills' own, as the environment of a process that reaches it directly."""
    file_system(s3_environment).makedirs(BUCKET, exist_ok=True)
    return s3_environment


@pytest.fixture(scope="session")
def drill_proxy(drill_store: dict[str, str]) -> Iterator[FaultProxy]:
    """The proxy in front of the store."""
    with FaultProxy(drill_store["AWS_ENDPOINT_URL"]) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def drill_environment(
    drill_store: dict[str, str], drill_proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The environment of a drill's processes: the store through the proxy, and a home of their own."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "DRILL_"))}
    home = str(tmp_path_factory.mktemp("drill-home"))
    return mine | drill_store | {"AWS_ENDPOINT_URL": drill_proxy.url, "HOME": home}


@pytest.fixture(scope="session")
def drill_archive(drill_store: dict[str, str]) -> Archive:
    """The seeded archive, in the store."""
    return put_archive(file_system(drill_store), f"s3://{BUCKET}/archive/", seeded_tars())


@pytest.fixture(scope="session")
def rays(
    drill_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], RayHead]]:
    """A Ray that is started by the first drill that needs it and kept for the session."""
    started: list[RayHead] = []

    def ray() -> RayHead:
        if not started or not started[-1].working:
            for each in started[-1:]:
                each.end()
            started.append(RayHead(drill_environment, tmp_path_factory.mktemp("ray") / "head"))
        return started[-1]

    yield ray
    for each in started[-1:]:
        each.end()


@pytest.fixture(scope="session")
def quiet(
    drill_store: dict[str, str],
    drill_proxy: FaultProxy,
    drill_environment: dict[str, str],
    drill_archive: Archive,
    rays: Callable[[], RayHead],
    tmp_path_factory: pytest.TempPathFactory,
) -> Quiet:
    """An undisturbed run over the archive, on the long-lived Ray: its time, its requests, its objects."""
    folder = tmp_path_factory.mktemp("quiet")
    lab = Lab(file_system(drill_store), drill_proxy, drill_environment, folder, drill_archive, "", rays)
    lab.new_output()
    rays()
    drill_proxy.clear()
    drill_proxy.log.clear()
    run = lab.embed(on=lab.ray())
    requests = list(drill_proxy.log)
    lab.assert_same_as_undisturbed()
    return Quiet(run, requests, lab.names())


@pytest.fixture
def lab(
    drill_store: dict[str, str],
    drill_proxy: FaultProxy,
    drill_environment: dict[str, str],
    drill_archive: Archive,
    rays: Callable[[], RayHead],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Lab]:
    """The lab of one drill; afterwards its runs are ended, its reader is judged, and its row is written."""
    drill_proxy.clear()
    drill_proxy.log.clear()
    lab = Lab(file_system(drill_store), drill_proxy, drill_environment, tmp_path, drill_archive, "", rays)
    lab.new_output()
    lab.allow(drill_archive)
    begun = time.monotonic()
    with lab.reader as reader:
        yield lab
    wall = time.monotonic() - begun
    lab.note_recovery()
    drill_proxy.clear()
    for run in lab.runs:
        run.end()
    passed = request.node.stash.get(PASSED, False) and not reader.wrong
    _record(request.node, lab.row, passed, wall)
    assert not reader.wrong, "\n".join(["O4, a reader of the glob:", *sorted(set(reader.wrong))[:5]])


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
        if report.failed and isinstance(lab := getattr(item, "funcargs", {}).get("lab"), Lab):
            report.sections += [(f"run {number}", str(run)) for number, run in enumerate(lab.runs)][-4:]
            requests = [f"{each.kind} {each.path} {each.status} {each.fault}" for each in lab.proxy.log][-60:]
            report.sections.append(("the proxy's last requests", "\n".join(requests)))
    return report


def _record(item: Any, measured: dict[str, Any], passed: bool, wall: float) -> None:
    """Append the drill's row to the file that BONAFIDE_DRILLS_RECORD names, for tests/drills/table.py."""
    place, mark = os.environ.get("BONAFIDE_DRILLS_RECORD"), item.get_closest_marker("drill")
    if place and mark:
        row = {**mark.kwargs, **measured, "test": item.name, "passed": passed, "wall_seconds": round(wall, 1)}
        with open(place, "a") as file:
            file.write(json.dumps(row) + "\n")
