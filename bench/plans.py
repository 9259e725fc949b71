"""Measure what nights cost before the encoder over an archive of many shards: `python -m bench.plans`.

    python -m bench.plans [--shards 1000000] [--new 10000] [--place FOLDER] [--profile]

An archive of containers is made on a local disk (of one byte each: no recording is read), and an output beside it.
Four nights are planned by the product, each in a process of its own: the first one; one with nothing new, which finds
the markers of all shards, written as commits write them, and folds them; one with nothing new after it; and one with
`--new` shards among the old ones. Each stops where the encoders would begin. A night's seconds, its peak memory, and
its requests to the store are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.archive import embed_layers
from jobs.embedding.result import EmbeddingRun
from jobs.embedding.run import write_records
from jobs.inputs.config import InputConfig
from jobs.storage.local import Local
from jobs.tables import run_records
from jobs.tables.checksummed_json import dump_checksummed
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker

FOLDER_FILES = 10_000
RECIPE = recipe_of(EmbedConfig(backbone="melstats"), None)
NIGHTS = ("first", "folding", "nothing", "new")


class PlannedError(Exception):
    """The night is planned: its encoders would begin."""


class NoRunner:
    """In place of a runner: it is asked for a pool when planning has ended, and has none."""

    class encoder_stats:  # noqa: N801 - an attribute of runners
        @staticmethod
        def record() -> dict[str, Any]:
            return {}

    class confinement:  # noqa: N801
        level = None

    def pool(self, shards: Any) -> Any:
        """End the night, and say how many shards it found."""
        raise PlannedError(len(shards))


class Counting(Local):
    """The store of local paths; it counts requests."""

    requests: ClassVar[Counter[str]] = Counter()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if callable(found) and not name.startswith("_"):
            Counting.requests[name] += 1
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each night; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.plans", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--place", help="a folder to make archive and output in, and to leave them in")
    parser.add_argument("--profile", action="store_true", help="print where each night's time goes")
    parser.add_argument("--night", choices=NIGHTS, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.night:
        _measure(Path(asked.place), asked.night, profile=asked.profile)
        return 0
    with contextlib.ExitStack() as stack:
        place = Path(asked.place or stack.enter_context(tempfile.TemporaryDirectory(prefix="bonafide-bench-")))
        write_archive(place / "archive", 0, asked.shards)
        for night in NIGHTS:
            if night == "new":
                write_archive(place / "archive", asked.shards, asked.shards + asked.new)
            command = [sys.executable, "-m", "bench.plans", "--night", night, "--place", str(place)]
            subprocess.run([*command, *(["--profile"] if asked.profile else [])], check=True)
            if night == "first":
                write_markers(place / "tables")
    return 0


def write_archive(folder: Path, start: int, stop: int) -> None:
    """Make containers of these numbers, each with one byte."""
    for number in range(start, stop):
        below = folder / f"{number // FOLDER_FILES:06d}"
        if number == start or number % FOLDER_FILES == 0:
            below.mkdir(parents=True, exist_ok=True)
        (below / f"recordings-{number:09d}.tar").write_bytes(b"0")


def write_markers(output: Path) -> None:
    """Commit all that is planned: markers as commits write them, of shards without rows; and the record."""
    table = Ledger(str(output), "embeddings", RECIPE.fingerprint)
    history = table.history()
    folder = output / "_commits" / table.name
    folder.mkdir(parents=True, exist_ok=True)
    for shard in history.current.values():
        detail = {"run_id": shard.run_id, "audio_seconds": 1.0, "recipe": RECIPE.describe(), "passed_over": {}}
        marker = Marker(shard.name, shard.entry.source_uris[0], {}, {}, {"embeddings": 0, "failures": 0}, {}, detail)
        (folder / f"{shard.name}.json").write_bytes(marker.to_json())
    (output / "runs").mkdir(exist_ok=True)
    for plan in history.plans:
        record = {"run_id": plan.run_id, "verb": "embed", "exit_code": 0}
        (output / "runs" / f"{plan.run_id}.json").write_bytes(dump_checksummed(record, indent=1))


def plan_night(place: Path) -> int:
    """Plan a night; return how many shards it would embed."""
    inputs = InputConfig(input=(str(place / "archive"),))
    config = RunConfig(run_date="2026-11-29")
    try:
        runs = embed_layers(
            NoRunner(),  # type: ignore[arg-type]
            inputs,
            (RECIPE,),
            ModelConfig(),
            OutputConfig(output=str(place / "tables")),
            config,
        )
    except PlannedError as planned:
        return int(planned.args[0])
    _finish(runs, config)
    return 0


def _finish(runs: list[EmbeddingRun], config: RunConfig) -> None:
    """Look for records to write, as a night with nothing to embed does."""
    for run in runs:
        write_records(run, "embed", run_records.now(), config)


def _measure(place: Path, night: str, *, profile: bool) -> None:
    storage.STORES["file"] = Counting
    before = peak_mb()
    begun, cpu = time.perf_counter(), time.process_time()
    n_new = profiled(lambda: plan_night(place)) if profile else plan_night(place)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    asked = ", ".join(f"{count:,} {name}" for name, count in sorted(Counting.requests.items()))
    print(
        f"{night:8} {n_new:9,} to embed  {seconds:7.1f} s  {cpu:7.1f} s CPU  peak {peak_mb():6,.0f} MB "
        f"(of which {before:,.0f} before)  requests: {asked}",
        flush=True,
    )


def profiled(work: Callable[[], int]) -> int:
    """Do some work, and print where its time went."""
    with cProfile.Profile() as profile:
        done = work()
    pstats.Stats(profile, stream=sys.stdout).sort_stats("cumulative").print_stats(45)
    return done


def peak_mb() -> float:
    """Return the most memory that this process has had resident, without that of the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
