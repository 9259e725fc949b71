"""The one Ray starter of the tests: a Ray of one node on loopback, with or without a dashboard that takes jobs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tests.support.ports import free_ports
from tests.support.processes import kill_session, processes

START_SECONDS = 90.0
ON_LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # otherwise Ray looks for the node at this machine's outer address
    "RAY_AUTH_MODE": "disabled",  # otherwise it depends on whether another Ray has left a token in the home folder
}
"""The environment of a long-lived Ray without a token, and of every process that joins it."""


class RayHead:
    """`ray start --head` on loopback, alive until :meth:`end`; its workers inherit the given environment.

    Parameters
    ----------
    environment : dict
        For Ray and its workers. Without a dashboard :data:`ON_LOOPBACK` is added to it: such a Ray asks for no token.
    folder : Path
        A folder that does not exist yet, for Ray's log.
    gpus : int
        How many GPUs Ray offers; it does not check that they exist.
    dashboard : bool
        Start the dashboard, which takes jobs, on a free port.
    machines : dict, optional
        What Ray's autoscaler may start on this machine: names of types, with what Ray is told that one of them has and
        the most that there may be.
    """

    def __init__(
        self,
        environment: dict[str, str],
        folder: Path,
        *,
        cpus: int = 2,
        gpus: int = 0,
        dashboard: bool = False,
        machines: dict[str, tuple[dict[str, float], int]] | None = None,
    ) -> None:
        folder.mkdir(parents=True)
        gcs_port, dashboard_port = free_ports(2)
        self.address = f"127.0.0.1:{gcs_port}"
        self.dashboard = f"http://127.0.0.1:{dashboard_port}" if dashboard else ""
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1", f"--port={gcs_port}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        command += [f"--include-dashboard={str(dashboard).lower()}", f"--object-store-memory={128 << 20}"]
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"] if dashboard else []
        # 0 is any port: with its default, 52365, a second Ray on this machine dies some seconds later
        command += ["--dashboard-agent-listen-port=0"]
        if machines is not None:
            growing = folder / "autoscaler.json"
            growing.write_text(json.dumps(autoscaler_config(machines, self.address)))
            command += [f"--autoscaling-config={growing}"]
            environment = environment | {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        # socket paths are limited to 107 bytes, so the folder's name must be short
        own = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if dashboard else ON_LOOPBACK
        whole = {"RAY_TMPDIR": "/tmp"} | environment | own
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=whole, stdout=log, stderr=log, start_new_session=True)
        self.pid = self._process.pid
        self._wait_until_ready()

    @property
    def working(self) -> bool:
        """True if it takes runs: none of the processes that it consists of was killed."""
        titles = " ".join(each.title for each in processes(self.pid))
        return self._process.poll() is None and "raylet" in titles and "gcs_server" in titles

    def end(self) -> None:
        """Kill all of its processes: nothing of it is kept, and an orderly shutdown takes 10 to 20 s."""
        kill_session(self._process)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.end()
                raise RuntimeError(f"Ray did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.2)

    def _ready(self) -> bool:
        if not self.dashboard:
            return "Ray runtime started" in self._log.read_text()
        try:
            urlopen(f"{self.dashboard}/api/version", timeout=2).close()
        except HTTPError:
            return True  # it asks for a token, so it is up
        except (URLError, OSError):
            return False
        return True


def autoscaler_config(machines: dict[str, tuple[dict[str, float], int]], address: str) -> dict[str, Any]:
    """The settings of Ray's autoscaler for machines that are processes here; the head, with nothing, is one of them."""
    types = {
        name: {"resources": has, "node_config": {}, "min_workers": 0, "max_workers": most}
        for name, (has, most) in machines.items()
    }
    head = {"ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
    nothing = (
        "initialization_commands setup_commands head_setup_commands worker_setup_commands head_start_ray_commands "
    )
    nothing += "head_start_ray_commands worker_start_ray_commands cluster_synced_files rsync_filter"
    return {
        "cluster_name": "growing",
        "max_workers": sum(most for _, most in machines.values()),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 1.0,
        "provider": {"type": "fake_multinode", "gcs_address": address},
        "available_node_types": head | types,
        "head_node_type": "ray.head.default",
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
    } | {name: [] for name in nothing.split()}


@contextlib.contextmanager
def ray_head(environment: dict[str, str], folder: Path, gpus: int = 0) -> Iterator[str]:
    """Run a Ray with a dashboard; yield the dashboard's address."""
    ray = RayHead(environment, folder, gpus=gpus, dashboard=True)
    try:
        yield ray.dashboard
    finally:
        ray.end()
