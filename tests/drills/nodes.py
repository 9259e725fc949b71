"""A Ray of several nodes on this machine, for tests that lose a node or check where work is scheduled."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import Any

from tests.support.processes import processes
from tests.support.ray_head import ON_LOOPBACK, RayHead

ENCODER = r"^ray::MapWorker\(MapBatches\(EncoderActor\)\)"
DECODE = r"^ray::MapBatches\(TiedStage\)"

CLUSTER = """
import json, sys
from ray.cluster_utils import Cluster
cluster, store = None, {"object_store_memory": 128 << 20}
for line in sys.stdin:
    size = store | json.loads(line)
    if cluster is None:
        cluster = Cluster(initialize_head=True, head_node_args=size | {"include_dashboard": False})
    else:
        cluster.add_node(**size)
    print(cluster.address, flush=True)
"""


class Nodes(RayHead):
    """A Ray of several nodes on this machine; `ray start` would need addresses beyond loopback."""

    def __init__(self, environment: dict[str, str], *sizes: dict[str, Any]) -> None:
        mine = environment | ON_LOOPBACK | {"RAY_TMPDIR": "/tmp"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            env=mine,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.raylets: list[int] = []
        for size in sizes:
            self.add(size)

    def add(self, size: dict[str, Any]) -> None:
        """Add a node; its raylet is the last of :attr:`raylets`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(size) + "\n")
        self._process.stdin.flush()
        self.address = next(line.strip() for line in self._process.stdout if re.fullmatch(r"127[\d.]+:\d+\s*", line))
        here = [each.pid for each in processes(self.pid) if "/raylet/raylet" in each.title]
        self.raylets += [pid for pid in here if pid not in self.raylets]

    def lose(self, number: int) -> None:
        """Kill a node as if its machine were lost: first the workers, before they finish, then the raylet."""
        raylet = self.raylets[number]
        os.kill(raylet, signal.SIGSTOP)  # so that it starts no new workers
        for each in processes(self.pid):
            if each.parent == raylet:
                os.kill(each.pid, signal.SIGKILL)
        os.kill(raylet, signal.SIGKILL)

    def at_work(self, title: str) -> set[int]:
        """Return the numbers of the nodes that have a worker whose title matches."""
        parents = {each.pid: each.parent for each in processes(self.pid) if re.search(title, each.title)}
        return {self.raylets.index(parent) for parent in parents.values() if parent in self.raylets}
