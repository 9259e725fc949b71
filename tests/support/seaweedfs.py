"""A real S3 server on loopback: SeaweedFS, for the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tests.support.ports import free_ports
from tests.support.processes import start_tied

ACCESS_KEY = "test-access"
# tests search for it in everything that a run leaves behind; it contains characters that URLs escape
SECRET_KEY = "the-tests-secret/Zq8+Vw7K"
START_SECONDS = 60.0
SETTLE_SECONDS = 1.0
STARTS = 3


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server on free ports of loopback; yield the environment that its clients need."""
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir(exist_ok=True)
    server, endpoint = _start(folder)
    try:
        yield {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.kill()  # nothing of it is kept, and an orderly shutdown takes 10 s
        server.wait()


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start the server; try other ports if another process bound one after we found it free."""
    weed = shutil.which("weed") or str(Path(sys.executable).with_name("weed"))
    names = ("master", "volume", "filer", "s3")
    for _ in range(STARTS):
        ports = free_ports(2 * len(names))
        command = [weed, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-filer"]
        command += [f"-{name}.port={port}" for name, port in zip(names, ports, strict=False)]
        command += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[len(names) :], strict=True)]
        command += [
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]  # their ports are fixed: a second server could not start
        # each bucket takes seven volumes, even if empty; without a free volume the store answers 500
        command += [f"-s3.config={folder / 's3.json'}", "-master.telemetry=false", "-volume.max=1000"]
        command += ["-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false"]
        with (folder / "log").open("wb") as log:
            server = start_tied(command, stdout=log, stderr=log)
        endpoint = f"http://127.0.0.1:{ports[names.index('s3')]}"
        if _answers(endpoint, server):
            return server, endpoint
        server.kill()
        server.wait()
    raise RuntimeError(f"the S3 server did not start: {(folder / 'log').read_text()[-2000:]}")


def _answers(endpoint: str, server: subprocess.Popen[bytes]) -> bool:
    """Wait until the S3 port answers; return False if our server has ended."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urlopen(endpoint, timeout=1).close()
        except HTTPError:  # 403 without a signature is an answer
            break
        except (URLError, OSError):
            time.sleep(0.2)
        else:
            break
    time.sleep(SETTLE_SECONDS)  # a server that finds a port in use ends within this time
    return server.poll() is None
