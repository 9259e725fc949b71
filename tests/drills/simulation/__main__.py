"""The command of the simulation."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import time
from collections import Counter
from typing import Any

from tests.drills import simulation
from tests.drills.simulation.random_schedules import play, play_range
from tests.drills.simulation.scenarios import SCENARIOS, Scenario, first_faults, play_scenario
from tests.drills.simulation.violations import Violation

SAID = 20  # times that progress is told

Job = tuple[Any, ...]  # a function and its arguments


def main(arguments: list[str] | None = None) -> int:
    """Play the schedules that the command line asks for; return 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.drills.simulation", description=str(simulation.__doc__).partition("\n")[0]
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the first schedule; each next schedule adds one")
    parser.add_argument("--count", type=int, default=20_000, help="number of schedules")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--exhaustive", choices=("singles", "pairs"), help="try the scenarios' faults instead")
    parser.add_argument("--scenario", choices=[each.name for each in SCENARIOS], help="play only this scenario")
    parser.add_argument("--faults", help="play only these faults: JSON, step to fault")
    parser.add_argument("--verbose", action="store_true", help="print every request of the first schedule")
    asked = parser.parse_args(arguments)
    log: list[str] | None = [] if asked.verbose else None
    if asked.faults is not None or asked.verbose:
        return _show(asked, log)
    started = time.perf_counter()
    if asked.exhaustive or asked.scenario:
        chosen = [each for each in SCENARIOS if asked.scenario in (None, each.name)]
        jobs = _scenarios(chosen, asked.exhaustive)
        what = f"every fault{', and every two,' * (asked.exhaustive == 'pairs')} in {len(chosen)} scenarios"
    else:
        size, last = 500, asked.seed + asked.count
        jobs = [(play_range, first, min(size, last - first)) for first in range(asked.seed, last, size)]
        what = f"seeds {asked.seed} to {last - 1}"
    count, wrong = 0, []
    with multiprocessing.Pool(asked.processes) as pool:
        for done, (found, bad) in enumerate(pool.imap_unordered(_call, jobs), 1):
            count += found
            wrong += bad
            if done * SAID // len(jobs) > (done - 1) * SAID // len(jobs):
                spent = time.perf_counter() - started
                print(f"{done / len(jobs):.0%}, {spent:,.0f} s, {len(wrong)} violations", file=sys.stderr, flush=True)
    count = count if asked.exhaustive or asked.scenario else asked.count
    seconds = time.perf_counter() - started
    said = f"{what}: {count:,} schedules in {seconds:,.0f} s, {len(wrong)} violations"
    if not wrong and not asked.exhaustive:
        said += f" (with 95 % confidence, fewer than {3 / count:.0e} of all)"  # the rule of three
    print(said)
    _record(said, not wrong, seconds)
    for kind, number in Counter(re.sub(r"[0-9]+", "#", each.what)[:60] for each in wrong).most_common():
        print(f"  {number} × {kind}")
    for each in sorted(wrong, key=lambda each: each.n_steps)[:5]:
        print(f"\n{each.what}\n  python -m tests.drills.simulation {each.again}")
    return 1 if wrong else 0


def _record(said: str, passed: bool, seconds: float) -> None:
    """Append a row to the file that BONAFIDE_DRILLS_RECORD names, for tests/drills/table.py."""
    if place := os.environ.get("BONAFIDE_DRILLS_RECORD"):
        row = {
            "number": "D07",
            "injects": "simulated: processes killed, asleep, late; replies lost; sources replaced; gc",
            "holds": "the tables of an undisturbed run; no row twice at any time; a further run has nothing to do",
            "measured": said,
            "test": said.partition(":")[0],
            "passed": passed,
            "wall_seconds": round(seconds, 1),
        }
        with open(place, "a") as file:
            file.write(json.dumps(row) + "\n")


def _scenarios(scenarios: list[Scenario], exhaustive: str | None) -> list[Job]:
    """Return a job for each scenario, and one for each of its first faults where there are second ones."""
    if exhaustive != "pairs":
        return [(play_scenario, each.name, 1) for each in scenarios]
    alone = [(play_scenario, each.name, 0) for each in scenarios]
    return alone + [(play_scenario, each.name, 1, first) for each in scenarios for first in first_faults(each)]


def _call(job: Job) -> Any:
    function, *arguments = job
    return function(*arguments)


def _show(asked: argparse.Namespace, log: list[str] | None) -> int:
    """Play one schedule and print it."""
    what = "no violation"
    try:
        if asked.scenario:
            scenario = next(each for each in SCENARIOS if each.name == asked.scenario)
            scenario.play({int(step): fault for step, fault in json.loads(asked.faults or "{}").items()}, log)
        else:
            play(asked.seed, log)
    except Violation as violation:
        what = f"violation: {violation}"
    print("\n".join([*(log or []), what]))
    return 0 if what == "no violation" else 1


if __name__ == "__main__":
    sys.exit(main())
