"""A Ray session names a cluster that is not there, and a Ray of its own is closed to the network."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs.errors import RunAgain
from jobs.execution.peer import Peer
from jobs.execution.ray_session import wait_for_head


def test_a_cluster_where_nothing_listens_is_named_before_ray_is_asked() -> None:
    with pytest.raises(RunAgain, match=r"cluster at 127.0.0.1:9 cannot be joined: nothing takes a connection there"):
        wait_for_head(Peer("127.0.0.1:9", 0.0))


LISTENERS = """
import os, re
from pathlib import Path
from jobs.config import RunConfig
from jobs.execution.choice import ChosenRunner
with ChosenRunner(RunConfig(runner="ray")) as runner:
    runner.pool(())
    inodes = set()
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
                print(address.partition(":")[0])
"""


def test_a_ray_that_we_start_listens_on_loopback_only() -> None:
    done = subprocess.run([sys.executable, "-c", LISTENERS], capture_output=True, text=True, start_new_session=True)

    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert len(found) > 3
    # 127.0.0.1, ::1 and ::ffff:127.0.0.1, as the kernel writes them
    assert set(found) <= {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
