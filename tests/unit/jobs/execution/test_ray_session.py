"""A Ray session names a cluster that is not there, and a Ray of its own is closed to the network, and marked."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from jobs.errors import RunAgain
from jobs.execution import reaper
from jobs.execution.peer import Peer
from jobs.execution.ray_session import wait_for_head
from tests.support import ROOT


def test_a_cluster_where_nothing_listens_is_named_before_ray_is_asked() -> None:
    with pytest.raises(RunAgain, match=r"cluster at 127.0.0.1:9 cannot be joined: nothing takes a connection there"):
        wait_for_head(Peer("127.0.0.1:9", 0.0))


STARTED = """
import json, os, re, time
from pathlib import Path
from jobs.config import RunConfig
from jobs.execution.choice import ChosenRunner
from jobs.execution.reaper import MARK
from jobs.inputs.shards import Amount
from tests.support.processes import marked, processes
with ChosenRunner(RunConfig(runner="ray")) as runner:
    runner.pool(Amount())
    inodes, addresses = set(), []
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            session = int((fd.parents[1] / "stat").read_text().rpartition(")")[2].split()[3])
            if session == os.getsid(0) and (found := re.fullmatch(r"socket:.(\\d+).", str(fd.readlink()))):
                inodes.add(found[1])
        except OSError:
            continue
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, address, _, state, *_, inode = line.split()[:10]
            if state == "0A" and inode in inodes:
                addresses.append(address.partition(":")[0])
    deadline = time.monotonic() + 30
    while not {"ray::DashboardAgent", "ray::RuntimeEnvAgent"} <= (  # they have written their titles
        titles := {each.title.partition(" ")[0] for each in processes(os.getpid())}
    ) and time.monotonic() < deadline:
        time.sleep(0.1)
    ours, ray = processes(os.getpid()), {each.pid for each in marked(f"{MARK}=")}
    unmarked = [each.title for each in ours if each.pid not in ray]
print(json.dumps({"addresses": addresses, "titles": sorted(titles), "unmarked": unmarked}))
"""


@pytest.fixture(scope="module")
def started() -> dict[str, list[str]]:
    """A Ray that we started: addresses on which it listens, titles of its processes, and those without a mark."""
    done = subprocess.run(
        [sys.executable, "-c", STARTED], cwd=ROOT, capture_output=True, text=True, start_new_session=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_a_ray_that_we_start_listens_on_loopback_only(started: dict[str, list[str]]) -> None:
    assert len(started["addresses"]) > 3
    # 127.0.0.1, ::1 and ::ffff:127.0.0.1, as the kernel writes them
    assert set(started["addresses"]) <= {
        "0100007F",
        "00000000000000000000000001000000",
        "0000000000000000FFFF00000100007F",
    }


def test_all_processes_of_a_ray_that_we_start_have_its_mark_for_the_reaper(started: dict[str, list[str]]) -> None:
    assert {"ray::DashboardAgent", "ray::RuntimeEnvAgent"} <= set(started["titles"])

    driver, the_reaper = started["unmarked"]

    assert "ChosenRunner" in driver
    assert the_reaper.split()[3] == reaper.__file__
