"""On a real Ray whose machines are declared as in the manifests, a run with their settings gets its CPUs and GPUs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset
import pytest

from tests.drills.nodes import DECODE, ENCODER, Nodes
from tests.integration.cluster.conftest import UTTERANCES
from tests.support.archives import write_tar
from tests.support.manifests.commands import commands
from tests.support.manifests.documents import documents, of_kind
from tests.support.ray_head import ON_LOOPBACK

N_SHARDS = 12
SECONDS = 150.0
SIZES = ("--device", "--encoder-cpus", "--decode-cpus", "--encoders", "--encoder-gpus")


@pytest.mark.long
def test_decode_sits_on_cpus_and_encoders_on_gpus(job_environment: dict[str, str], tmp_path: Path) -> None:
    (cluster,) = of_kind(documents(), "RayCluster")
    (job,) = of_kind(documents(), "RayJob")
    (entrypoint,) = commands(job)
    sizes = [word for at, word in enumerate(entrypoint) if word in SIZES or entrypoint[at - 1] in SIZES]
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    machines = [
        {f"num_{kind}": int(each["rayStartParams"][f"num-{kind}"]) for kind in ("cpus", "gpus")} for each in groups
    ]
    (tmp_path / "archive").mkdir()
    for shard in range(N_SHARDS):
        members = {f"{shard}-{name}.flac": content for name, content in UTTERANCES.items()}
        write_tar(tmp_path / "archive" / f"{shard}.tar", members)

    nodes = Nodes(job_environment, *machines)
    where: dict[str, set[int]] = {DECODE: set(), ENCODER: set()}
    try:
        command = [sys.executable, "-m", "jobs", "embed", "--backbone", "melstats", *sizes]
        command += ["--input", str(tmp_path / "archive"), "--output", str(tmp_path / "tables")]
        run = subprocess.Popen(command, env=job_environment | ON_LOOPBACK | {"RAY_ADDRESS": nodes.address})
        deadline = time.monotonic() + SECONDS
        while run.poll() is None and time.monotonic() < deadline:
            for title, found in where.items():
                found |= nodes.at_work(title)
            time.sleep(0.05)
    finally:
        nodes.end()
        run.kill()

    assert run.returncode == 0
    assert where == {DECODE: {1}, ENCODER: {2}}  # of head, decode and encode
    assert pyarrow.dataset.dataset(tmp_path / "tables" / "embeddings").count_rows() == N_SHARDS * len(UTTERANCES)
