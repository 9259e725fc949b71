"""Fixtures: a cluster that requires a token, its store, and jobs submitted to it."""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from tests.support import ROOT
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.heads import some_head
from tests.support.proxy import FaultProxy
from tests.support.ray_head import ray_head

N_SHARDS, N_EACH = 3, 4

Submit = Callable[..., "subprocess.Popen[str]"]


def utterance(label: str, shard: int, number: int) -> bytes:
    """A tone of a second and some: low for bona fide."""
    hertz = {"bonafide": 140.0, "spoof": 900.0}[label] + 40 * number + 9 * shard
    return encoded(tone(1.0 + 0.1 * number, hertz=hertz, seed=number))


UTTERANCES = {
    f"{label}-{shard}-{number}": utterance(label, shard, number)
    for label in ("bonafide", "spoof")
    for shard in range(N_SHARDS)
    for number in range(N_EACH)
}


@pytest.fixture(scope="package")
def proxy(s3_environment: dict[str, str]) -> Iterator[FaultProxy]:
    """A proxy between the store and its clients here: it records every request, and changes none."""
    with FaultProxy(s3_environment["AWS_ENDPOINT_URL"]) as proxy:
        yield proxy


@pytest.fixture(scope="package")
def environment(
    job_environment: dict[str, str], proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """What the cluster and its users share: a token in a file, the store's address and keys, a folder for Ray."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(secrets.token_hex(32))
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bf", ignore_cleanup_errors=True) as folder:  # sockets: short
        yield job_environment | {
            "AWS_ENDPOINT_URL": proxy.url,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_TMPDIR": folder,
            "RAY_metrics_report_interval_ms": "1000",
            "HF_TOKEN": f"hf_{secrets.token_urlsafe(24)}",
        }


@pytest.fixture(scope="package")
def cluster(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster that asks for a token, and believes that it has a GPU: the address of its dashboard."""
    with ray_head(environment, tmp_path_factory.mktemp("cluster") / "ray", gpus=1) as address:
        yield address


@pytest.fixture(scope="package")
def bucket(store: fsspec.AbstractFileSystem, tmp_path_factory: pytest.TempPathFactory) -> fsspec.AbstractFileSystem:
    """A bucket with an archive of tars, and labels: one shard is held out."""
    folder = tmp_path_factory.mktemp("night")
    store.makedirs("night", exist_ok=True)
    lines = ["utterance_id,label,split,speaker,system"]
    for shard in range(N_SHARDS):
        names = [name for name in UTTERANCES if name.split("-")[1] == str(shard)]
        write_tar(folder / f"{shard}.tar", {f"{name}.flac": UTTERANCES[name] for name in names})
        store.put(str(folder / f"{shard}.tar"), f"night/archive/{shard}.tar")
        split = "eval" if shard == 0 else "train"
        lines += [f"{shard}.tar#{name}.flac,{name.split('-')[0]},{split},{name},{name}" for name in names]
    store.pipe("night/labels.csv", "\n".join(lines).encode())
    return store


@pytest.fixture(scope="package")
def head(bucket: fsspec.AbstractFileSystem) -> str:
    """A published head; a constant one, as its scores are of no interest here."""
    bucket.pipe("night/heads/head.json", some_head().to_json().encode())
    return "s3://night/heads/head.json"


@pytest.fixture
def submit(cluster: str, environment: dict[str, str], tmp_path: Path) -> Submit:
    """Submit as users do, from a folder that has nothing to do with ours."""

    def started(*verb: str, options: tuple[str, ...] = (), **others: str) -> subprocess.Popen[str]:
        words = options or ("--", *verb)
        command = [sys.executable, "-m", "jobs", "submit", "--address", cluster, *words]
        ours = {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            command,
            env=environment | ours | others,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started
