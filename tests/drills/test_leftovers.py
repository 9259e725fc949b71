"""Drills of what a run leaves behind on its machine: no process, however it ends."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.drills.archive import seeded_tars
from tests.drills.lab import RUN_DATE, Lab
from tests.drills.marks import drill
from tests.drills.nodes import ENCODER
from tests.drills.runs import SLACK, Fault, Run
from tests.support.processes import Process, marked
from tests.support.ray_head import RayHead

N_RUNS = int(os.environ.get("BONAFIDE_DRILLS_ENDS", "100"))
N_AT_ONCE = 2
PATIENCE = 10.0 * SLACK  # seconds from the end of a run to that of its last process
SEED = 11

ENDS = {
    "0": [],
    "3": ["--max-failures", 0],
    "65": ["--encoders", 9, "--encoder-cpus", 1],
    "75": [],  # its raylet is killed
    "SIGTERM": [],
    "SIGINT": [],
    "SIGKILL": [],
}
"""The ends of a run, and the flags that lead there; signals go to the driver at a random moment."""


@dataclass
class Ended:
    """A run that has ended: how it was to end, its exit code, and its processes afterwards."""

    end: str
    code: int | None
    last_seconds: float  # until its last process was gone
    left: list[Process] = field(default_factory=list)


def _mark() -> str:
    """Return a mark for LD_LIBRARY_PATH, a variable that a decoder inherits; no library lies in such a folder."""
    return f"/nonexistent/{uuid.uuid4().hex}"


def _watched(run: Run, end: str, mark: str) -> Ended:
    """Wait for a run's end, and then for that of its processes."""
    run.wait()
    ended, left = time.monotonic(), marked(mark)
    while left and time.monotonic() - ended < PATIENCE:
        time.sleep(0.2)
        left = marked(mark)
    for each in left:  # for whoever looks into it: what it is, before it is gone
        print(f"{end}: {each}\n{Path(f'/proc/{each.pid}/status').read_text()}\n{run}")
        os.kill(each.pid, signal.SIGKILL)
    return Ended(end, run.code, time.monotonic() - ended, left)


@drill(
    "D60",
    injects=f"{N_RUNS} runs, each with a Ray of its own, two at a time: they end with 0, 3 and 65, lose their raylet "
    "(75), or their driver gets SIGTERM, SIGINT or SIGKILL at a random moment",
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
        verb = ["embed", "--backbone", "melstats", "--input", folder, "--output", output, "--run-date", RUN_DATE]
        command = [sys.executable, "-m", "jobs", *map(str, [*verb, *(ENDS[end] or ["--max-failures", 1])])]
        run = Run(command, lab.environment | {"LD_LIBRARY_PATH": mark}, lab.folder / f"run-{number}", None)
        lab.runs.append(run)
        due = run.started + moment
        while run.working and time.monotonic() < due:
            time.sleep(0.05)
        if run.working and end.startswith("SIG"):
            run.kill(number=signal.Signals[end])
        if end == "75":
            lab.wait_for(lambda: run.processes(r"raylet/raylet") or not run.working)
            for pid in run.processes(r"raylet/raylet"):
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
    codes = Counter((each.end, each.code) for each in ended)
    assert {code for end, code in codes if end in ("0", "3", "65")} == {0, 3, 65}
    slowest = max(each.last_seconds for each in ended)
    told = ", ".join(f"{count} × {end} ({code})" for (end, code), count in sorted(codes.items(), key=str))
    lab.held(f"{told}; the slowest process was gone {slowest:.1f} s after its run")


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
        run = lab.embed(on=cluster)
        begun = time.monotonic()
        lab.wait_for(lambda: not run.processes(ENCODER), PATIENCE / SLACK)
    finally:
        cluster.end()

    assert list(lab.folder.glob("*-faults.json.0.struck")), "no encoder was to hang"
    lab.held(f"a cluster's encoders were gone {time.monotonic() - begun:.1f} s after the run")
