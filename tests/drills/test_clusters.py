"""Drills of Ray clusters and their jobs: nodes and heads that go away, jobs that come twice or are stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.nodes import DECODE, ENCODER, Nodes
from tests.drills.runs import Fault, Run
from tests.drills.store import key_of
from tests.drills.work import (
    ASSEMBLER,
    MARKER,
    NOTED,
    amplification,
    markers_put,
    slow,
)
from tests.support.processes import processes
from tests.support.ray_head import ON_LOOPBACK, RayHead, ray_head


@drill(
    "D08",
    injects="SIGKILL to every process of one of two nodes, with decoded audio in its store and an encoder at work",
    holds="its work is done again on another node; no lost object is reported",
    limit=120,
)
def test_a_lost_node_loses_no_rows(lab: Lab) -> None:
    nodes = Nodes(lab.environment | lab.injecting([NOTED, slow(0.2)]), {"num_cpus": 2}, {"num_cpus": 2})
    try:
        run = lab.start_embed("--encoders", 2, "--encoder-cpus", 1.5, on=nodes)
        lab.wait_for(lambda: len(markers_put(lab)) >= 3, run=run)
        nodes.lose(1)
        killed = time.monotonic()
        run.wait()
    finally:
        nodes.end()

    run.assert_ended(0)
    lab.recovered(next(each.started for each in markers_put(lab) if each.started > killed) - killed)
    lab.assert_same_as_undisturbed()
    assert "ObjectLost" not in run.stderr
    lab.held(f"{amplification(lab) - 1:.0%} of the work twice")


GPU_NODE = {"num_cpus": 1, "num_gpus": 1}  # Ray believes it; melstats needs none


@drill(
    "D57",
    injects="SIGKILL to every process of one of three nodes, one of which has the GPU: to one that decodes; to the "
    "encoder's, and a node like it joins",
    holds="decode runs on the CPU nodes, the encoder on the one with the GPU; the run ends with 0 and the same digest",
    limit=180,
)
@pytest.mark.parametrize("whose", ["decode", "encoder"])
def test_a_cluster_of_three_nodes_loses_one(lab: Lab, whose: str) -> None:
    where: dict[str, set[int]] = {DECODE: set(), ENCODER: set()}

    def committed(n_markers: int) -> bool:
        for title, found in where.items():
            found |= nodes.at_work(title)
        return len(markers_put(lab)) >= n_markers

    with_pid = lab.environment | lab.injecting([NOTED, slow(0.2)])
    nodes = Nodes(with_pid, {"num_cpus": 1}, {"num_cpus": 2}, GPU_NODE)
    try:
        run = lab.start_embed(on=nodes)
        lab.wait_for(lambda: committed(3) and 1 in where[DECODE], run=run)
        nodes.lose({"decode": 1, "encoder": 2}[whose])
        killed = time.monotonic()
        if whose == "encoder":
            nodes.add(GPU_NODE)
            lab.wait_for(lambda: nodes.at_work(ENCODER) == {3}, run=run)
        run.wait()
    finally:
        nodes.end()

    run.assert_ended(0)
    assert where[DECODE] <= {0, 1}
    assert where[ENCODER] == {2}
    lab.recovered(next(each.started for each in markers_put(lab) if each.started > killed) - killed)
    lab.assert_same_as_undisturbed()
    lab.held(f"without the {whose}'s node: {amplification(lab) - 1:.0%} of the work twice")


@drill(
    "D09",
    injects="SIGKILL to the head's GCS in the middle of a run: of a Ray that the run started, of one that it joined, "
    "as a job does, below its node's raylet; to that raylet alone",
    holds="ends with 75 and the cause; the same command again, on another head, completes",
    limit=180,
)
@pytest.mark.parametrize("whose", ["its own", "joined", "its node"])
def test_a_run_ends_when_its_cluster_dies(lab: Lab, whose: str) -> None:
    slowly = [NOTED, slow(0.2)]
    if whose == "its own":
        run = lab.start_embed(inject=slowly)
        lab.wait_for(lambda: markers_put(lab), run=run)
        run.kill("gcs_server")
        killed = time.monotonic()
        run.wait()
    else:
        head = RayHead(lab.environment | lab.injecting(slowly), lab.folder / "head")
        try:
            raylet = next(each.pid for each in processes(head.pid) if "raylet/raylet" in each.title)
            run = lab.start_embed(on=head, environment={"RAY_RAYLET_PID": str(raylet)})
            lab.wait_for(lambda: markers_put(lab), run=run)
            if whose == "joined":
                run.kill("gcs_server")
            else:
                os.kill(head.pid, signal.SIGSTOP)  # else it ends the rest of the node
                os.kill(raylet, signal.SIGKILL)
            killed = time.monotonic()
            run.wait()
        finally:
            head.end()

    run.assert_ended(75, "Ray")
    lab.held(f"{whose}: 75 after {time.monotonic() - killed:.0f} s")
    begun = time.monotonic()
    lab.embed(on=lab.ray())
    lab.recovered(next(each.started for each in markers_put(lab) if each.started > begun) - begun)
    lab.assert_same_as_undisturbed()


@contextmanager
def dashboard(lab: Lab, faults: list[Fault]) -> Iterator[str]:
    """A Ray that takes jobs: the address of its dashboard."""
    path = {"PATH": f"{Path(sys.executable).parent}:{lab.environment['PATH']}"}
    with ray_head(lab.environment | ON_LOOPBACK | path | lab.injecting(faults), lab.folder / "head") as address:
        yield address


def submit(lab: Lab, address: str, number: str) -> Run:
    """Submit the embedding of the archive as a job, as users do."""
    command = [sys.executable, "-m", "jobs", "submit", "--address", address, "--submission-id", number, "--"]
    place = lab.folder / f"{number}-{len(lab.runs)}"
    lab.runs.append(Run([*command, *map(str, lab.embedding())], lab.environment | ON_LOOPBACK, place, None))
    return lab.runs[-1]


@drill(
    "D11",
    injects="a job is submitted twice with one id; then two jobs with two ids on one output",
    holds="the second job of one id follows the first; two ids end with the same digest, each with 0 or 75",
    limit=180,
)
def test_a_job_may_be_submitted_twice(lab: Lab) -> None:
    with dashboard(lab, [NOTED]) as address:
        first = submit(lab, address, "one")
        lab.wait_for(lambda: "submitted" in first.stderr, run=first)
        second = submit(lab, address, "one").wait()
        second.assert_ended(0)
        assert "one is at work" in second.stderr
        first.wait().assert_ended(0)
        lab.assert_same_as_undisturbed()
        assert amplification(lab) == 1.0

        lab.new_output()
        two = [submit(lab, address, "two"), submit(lab, address, "three")]
        codes = sorted(run.wait().code or 0 for run in two)

    assert codes in ([0, 0], [0, 75]), "\n".join(map(str, two))
    lab.assert_same_as_undisturbed()
    assert len(lab.names("_plans")) == 1
    assert not any(marker["alarms"] for marker in lab.markers().values())
    lab.held(f"two ids: exit {codes[0]} and {codes[1]}")


@drill(
    "D12",
    injects="`ray job stop` while a marker is being written",
    holds="what is committed is readable, the job ends with 75; the same command again completes",
    limit=120,
)
def test_a_job_may_be_stopped_while_it_commits(lab: Lab) -> None:
    with dashboard(lab, [slow(0.1)]) as address:
        client = JobSubmissionClient(address)
        lab.proxy.when("PUT", MARKER).nth(3).before(lambda _: client.stop_job("night"))
        run = submit(lab, address, "night").wait()
        status = client.get_job_status("night")
        n_done = len(lab.markers())

        run.assert_ended(75)
        lab.proxy.clear()
        again = submit(lab, address, "again").wait()

    again.assert_ended(0)
    lab.assert_same_as_undisturbed()
    lab.held(f"{status}, {n_done} shards committed by then")


@drill(
    "D64",
    injects="a cluster without a machine, whose autoscaler may start two with a GPU and one that decodes; a cluster "
    "without GPUs and autoscaler",
    holds="a night asks for the machines and ends with 0; one that wants more ends with 75 after its wait; where "
    "nobody adds machines, it ends with 65 at once",
    limit=240,
)
def test_a_cluster_grows_from_nothing(lab: Lab) -> None:
    sizes = ("--device", "cuda", "--encoder-cpus", 0, "--decode-cpus", 1)
    store = {"object_store_memory": float(128 << 20)}
    machines = {"decode": ({"CPU": 2.0} | store, 1), "encode": ({"CPU": 0.0, "GPU": 1.0} | store, 2)}
    lab.embed(*sizes, on=lab.ray(), code=65).assert_ended(65, "an encoder wants 1. Add machines with GPUs")
    lab.new_output()
    head = RayHead(lab.environment, lab.folder / "head", cpus=0, machines=machines)
    try:
        night = lab.nightly(*sizes, "--encoders", "1:2", "--decoders", "1:2", "--wait-for-gpus", 150, on=head)
        lab.assert_same_as_undisturbed(scored=True)
        names = [name for name in lab.names("runs") if name.endswith(".json")]
        records = [json.loads(lab.store.cat_file(f"{key_of(lab.output)}/{name}")) for name in names]
        lab.new_output()
        short = lab.embed(*sizes, "--encoders", "3:8", "--wait-for-gpus", 3, on=head, code=75)
    finally:
        head.end()

    assert "its autoscaler is asked for 1 CPU and 1 GPU" in night.stderr
    short.assert_ended(75, "expected 1 CPU and 3 GPU within --wait-for-gpus 3")
    found = next(each["encoders"] for each in records if each.get("encoders"))  # of embed; of nightly it is the same
    assert (found["least_encoders"], found["most_encoders"]) == (1, 2)
    assert 0.0 < found["seconds_to_load"] < night.seconds
    lab.held(
        f"{found['reached_encoders']} of 2 encoders, loaded {found['seconds_to_load']:.0f} s after the first machine"
    )


@drill(
    "D65",
    injects="SIGKILL to every process of one of two nodes with a GPU, as when a spot machine is taken back; none comes "
    "in its place",
    holds="the other encoder goes on; what the lost one had in hand is computed without another machine, and the run "
    "ends with 0. Assemblers are on the machine that stays",
    limit=180,
)
def test_a_spot_machine_may_be_taken_back(lab: Lab) -> None:
    gpu_only = {"num_cpus": 0, "num_gpus": 1, "labels": {"ray.io/market-type": "spot"}}
    nodes = Nodes(lab.environment | lab.injecting([NOTED, slow(0.2)]), {"num_cpus": 2}, gpu_only, gpu_only)
    try:
        run = lab.start_embed("--encoders", "1:2", "--encoder-cpus", 0, on=nodes)
        lab.wait_for(lambda: len(markers_put(lab)) >= 2 and nodes.at_work(ENCODER) == {1, 2}, run=run)
        assert nodes.at_work(ASSEMBLER) == {0}
        nodes.lose(2)
        killed = time.monotonic()
        run.wait()
    finally:
        nodes.end()

    run.assert_ended(0)
    lab.recovered(next(each.started for each in markers_put(lab) if each.started > killed) - killed)
    lab.assert_same_as_undisturbed()
    lab.held(f"{amplification(lab) - 1:.0%} of the work twice")
