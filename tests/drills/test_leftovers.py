"""Drills of what a run leaves behind on its machine: no process, however it ends."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jobs.execution import reaper
from tests.drills.archive import seeded_tars
from tests.drills.lab import ON_RAY, RUN_DATE, Lab
from tests.drills.marks import drill
from tests.drills.nodes import ENCODER
from tests.drills.runs import SLACK, Fault, Run
from tests.support.processes import Process, marked
from tests.support.ray_head import RayHead

N_RUNS = int(os.environ.get("BONAFIDE_DRILLS_ENDS", "100"))
N_AT_ONCE = 2
PATIENCE = 10.0 * SLACK  # seconds from the end of a run to that of its last process
RUN_SECONDS = 300.0  # for a run itself, on a machine with other work
SEED = 11

ENDS = {
    "0": [],
    "3": ["--max-failures", 0],
    "65": ["--encoders", 9, "--encoder-cpus", 1],
    "raylet": [],  # it is killed
    "SIGTERM": [],
    "SIGINT": [],
    "SIGKILL": [],
}
"""The ends of a run, and the flags that lead there; signals come at a random moment."""

RAYLET = r"raylet/raylet"
REAPER = Path(reaper.__file__).name


@dataclass
class Ended:
    """A run that has ended: how it was to end, its exit code, and its processes afterwards."""

    end: str
    code: int | None
    last_seconds: float  # until its last process was gone, the reaper aside
    left: list[Process] = field(default_factory=list)


def _mark() -> str:
    """Return a mark for LD_LIBRARY_PATH, a variable that a decoder inherits; no library lies in such a folder."""
    return f"/nonexistent/{uuid.uuid4().hex}"


def _watched(run: Run, end: str, mark: str) -> Ended:
    """Wait for a run's end, and then for that of its processes."""
    run.wait(RUN_SECONDS)
    ended, gone = time.monotonic(), 0.0
    while (left := marked(mark)) and time.monotonic() - ended < PATIENCE:
        only_reaper = all(REAPER in each.title for each in left)
        gone = (gone or time.monotonic() - ended) if only_reaper else 0.0
        time.sleep(0.1)
    seconds = time.monotonic() - ended
    print(f"{end}: exit {run.code}; {gone or seconds:.1f} s to its last process, {seconds:.1f} s to the reaper's end")
    for each in left:  # for whoever looks into it: what it is, before it is gone
        print(f"{end}: {each}\n{Path(f'/proc/{each.pid}/status').read_text()}\n{run}")
        os.kill(each.pid, signal.SIGKILL)
    return Ended(end, run.code, gone or seconds, left)


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Have runs heed SIGINT, even if these tests run in the background of a shell, which ignores it for all of them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@drill(
    "D60",
    injects=f"{N_RUNS} runs, each with a Ray of its own, {N_AT_ONCE} at a time: they end with 0, 3 and 65, or at a "
    "random moment their raylet gets SIGKILL, or their driver SIGTERM, SIGINT or SIGKILL",
    holds="10 s after its end no process of a run is left",
    limit=30.0 * N_RUNS,
)
def test_no_process_outlives_its_run_however_that_ends(lab: Lab) -> None:
    folder = lab.folder / "archive"
    folder.mkdir()
    for name, content in seeded_tars(4, 6).items():
        (folder / name).write_bytes(content)
    rng = random.Random(SEED)

    def one(number: int, end: str, moment: float) -> Ended:
        output, mark = lab.folder / f"tables-{number}", _mark()
        verb = ["embed", "--backbone", "melstats", "--input", folder, "--output", output, *ON_RAY]
        flags = ["--run-date", RUN_DATE, *(ENDS[end] or ["--max-failures", 1])]
        command = [sys.executable, "-m", "jobs", *map(str, [*verb, *flags])]
        run = Run(command, lab.environment | {"LD_LIBRARY_PATH": mark}, lab.folder / f"run-{number}", None)
        lab.runs.append(run)
        due = run.started + moment
        while run.working and time.monotonic() < due:
            time.sleep(0.05)
        if run.working and end.startswith("SIG"):
            run.kill(number=signal.Signals[end])
        if end == "raylet":
            lab.wait_for(lambda: run.processes(RAYLET) or not run.working)
            for pid in run.processes(RAYLET):
                os.kill(pid, signal.SIGKILL)
        return _watched(run, end, mark)

    begun = time.monotonic()
    first = one(0, "0", 0.0)
    run_seconds = time.monotonic() - begun
    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        plan = [
            (number, end, rng.uniform(0.0, run_seconds)) for number, end in zip(range(1, N_RUNS), itertools.cycle(ENDS))
        ]
        ended = [first, *pool.map(lambda each: one(*each), plan)]

    assert not [each for each in ended if each.left]
    assert {each.code for each in ended if each.end in ("0", "3", "65")} == {0, 3, 65}
    lab.held(f"as it was to end, how it ended, seconds to its last process: {_told(ended)}")


def _told(ended: list[Ended]) -> str:
    """Return how many runs ended in each way, and how long the slowest process of each was there."""
    ways = {(each.end, str(each.code)) for each in ended}
    told = []
    for end, code in sorted(ways):
        seconds = [each.last_seconds for each in ended if (each.end, str(each.code)) == (end, code)]
        told.append(f"{len(seconds)} × {end} ({code}) {max(seconds):.1f}")
    return ", ".join(told)


HANGS = "every encoder's process hangs at its exit, when Ray has forgotten it"
HANG = Fault("detector.backbones.melstats:MelStats.embed", "stay")


@drill("D61", injects=HANGS, holds="the run ends with 0, and the kernel ends its encoders with it", limit=60)
def test_an_encoder_that_hangs_at_its_exit_goes_with_the_run(lab: Lab) -> None:
    ends_before_it_can_hang = "jobs.execution.cluster:EncoderActor.__del__"
    mark = _mark()
    faults = [HANG, Fault(ends_before_it_can_hang, "return")]
    run = lab.start_embed(inject=faults, environment={"LD_LIBRARY_PATH": mark})

    ended = _watched(run, "0", mark)

    run.assert_ended(0)
    assert not ended.left
    assert list(lab.folder.glob("*-faults.json.1.struck")), "no encoder came to its end"
    lab.assert_same_as_undisturbed()
    lab.held(f"the last process was gone {ended.last_seconds:.1f} s after the run")


@drill("D61", injects=HANGS, holds="in a cluster that stays, an encoder ends without an exit that could hang", limit=90)
def test_an_encoder_that_would_hang_at_its_exit_leaves_a_cluster_all_the_same(lab: Lab) -> None:
    cluster = RayHead(lab.environment | lab.injecting([HANG]), lab.folder / "head")
    try:
        run = lab.start_embed(on=cluster)
        lab.wait_for(lambda: run.processes(ENCODER), run=run)
        run.wait().assert_ended(0)
        begun = time.monotonic()
        lab.wait_for(lambda: not run.processes(ENCODER), PATIENCE / SLACK)
    finally:
        cluster.end()

    assert list(lab.folder.glob("*-faults.json.0.struck")), "no encoder was to hang"
    lab.held(f"a cluster's encoders were gone {time.monotonic() - begun:.1f} s after the run")
