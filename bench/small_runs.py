"""Measure small runs from the start of the command to its end: seven files, and stored rows that are scored again.

    python -m bench.small_runs [--rounds 3] [--runners local,ray]

Seven recordings of 3 to 9 s are embedded with `melstats`, and scored with the starter; 10,000 stored rows in 20 shards,
whose embeddings are drawn from a known model, are scored with another head. The best round counts, and the CPU time of
all processes of that round, which tells more where the machine is shared.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from bench.processes import run
from tests.support.nightly_runs import drawn, embed, head, recordings

N_FILES, N_SHARDS, SHARD_ROWS = 7, 20, 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each run; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.small_runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runners", default="local")
    known = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as folder:
        place = Path(folder)
        files = write_files(place / "files")
        rows, judge = write_rows(place / "rows"), place / "head.json"
        judge.write_text(head().to_json())
        runs = {
            f"{N_FILES} files, melstats": ["embed", "--backbone", "melstats", "--input", files],
            f"{N_FILES} files, starter": ["score", "--input", files],
            f"{N_SHARDS * SHARD_ROWS:,} stored rows": ["score", "--embeddings", rows, "--head", str(judge)],
        }
        for runner in known.runners.split(","):
            for name, verb in runs.items():
                times = [
                    timed([*verb, "--runner", runner], place / f"{runner}-{n}-{verb[1]}-{verb[0]}")
                    for n in range(known.rounds)
                ]
                seconds, cpu_seconds = min(times)
                print(f"{name}, {runner}: {seconds:.1f} s, {cpu_seconds:.1f} s of CPU time (best of {known.rounds})")
    return 0


def write_files(folder: Path) -> str:
    """Write the recordings: noise, 3 to 9 s long."""
    folder.mkdir()
    for number in range(N_FILES):
        samples = np.random.default_rng(number).normal(0.0, 0.1, 16_000 * (3 + number))
        soundfile.write(folder / f"{number}.flac", samples, 16_000, subtype="PCM_16")
    return str(folder)


def write_rows(output: Path) -> str:
    """Commit the embeddings."""
    names = [f"s3://archive/{number:02d}.tar" for number in range(N_SHARDS)]
    shards = {name: recordings(drawn(SHARD_ROWS, seed=seed)[0], name) for seed, name in enumerate(names)}
    embed(str(output), shards, {}, "2026-11-23")
    return str(output)


def timed(verb: list[str], output: Path) -> tuple[float, float]:
    """Run a verb; return its seconds, and the CPU seconds of all of its processes that have ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = run([sys.executable, "-m", "jobs", *verb, "--output", str(output)], dict(os.environ)).seconds
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
