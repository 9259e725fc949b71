"""A Ray cluster of one node on loopback, with a dashboard that takes jobs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

START_SECONDS = 90.0
STOP_SECONDS = 3.0  # its raylet would take 20 to end by itself, and nothing of it is kept


@contextlib.contextmanager
def ray_head(environment: dict[str, str], folder: Path, gpus: int = 0) -> Iterator[str]:
    """Run `ray start --head`; yield the dashboard's address. Ray believes in as many GPUs as it is told.

    Only our own processes are ended.
    """
    folder.mkdir()
    with socket.socket() as gcs, socket.socket() as dashboard:
        for each in (gcs, dashboard):
            each.bind(("127.0.0.1", 0))
        gcs_port, dashboard_port = gcs.getsockname()[1], dashboard.getsockname()[1]
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1", f"--port={gcs_port}", "--num-cpus=2", f"--num-gpus={gpus}"]
    command += [
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard_port}",
        "--dashboard-agent-listen-port=0",  # any: a second Ray on this machine would die over a fixed one
        f"--object-store-memory={128 << 20}",
    ]
    mine = {"RAY_TMPDIR": "/tmp"} | environment | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # socket paths are short
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(command, env=mine, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{dashboard_port}"
        _wait(address, head, folder / "log")
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        head.wait()


def _wait(address: str, head: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and head.poll() is None:
        try:
            urlopen(f"{address}/api/version", timeout=2).close()
        except HTTPError:
            return  # it asks for a token: it is up
        except (URLError, OSError):
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"Ray did not start: {log.read_text()[-2000:]}")
