"""Measure peak memory of `bonafide embed` by process, as the archive grows and as one recording grows.

python -m bench.memory                    (--model takes what bench.encoder takes)

The archives have 1,000, 3,000, … recordings of half a second, 250 in each tar shard, so the number of shards grows with
them. Then one recording of 2 minutes and one of 2 hours. All are FLAC. Each is embedded by the command that users call,
on two encoders, while the resident memory of each of its processes is read five times a second. The result is the peak
of each kind of process, including shared memory that it touched; for the archives also the slope, by least squares.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from bench.encoder import machine
from bench.models import checkpoint
from bench.processes import run
from detector.audio import SAMPLE_RATE

ROWS_IN_SHARD = 250
RECORDING_SECONDS = 0.5
LONG_SECONDS = (120.0, 7_200.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small", help="a checkpoint folder, or a name that bench.encoder takes")
    parser.add_argument("--recordings", type=int, nargs="+", default=[1_000, 3_000, 6_000, 9_000])
    known, how = parser.parse_known_args(arguments)
    print(f"{known.model}; {machine('cpu')}; {' '.join(how)}\n")
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as scratch:
        folder = Path(scratch)
        (folder / "model").mkdir()
        model = checkpoint(known.model, folder / "model")
        peaks = []
        for count in known.recordings:
            write_archive(folder / f"{count}", count)
            peaks.append(peak_of(folder, f"{count}", model, how))
        say("recordings", [f"{count:,}" for count in known.recordings], peaks, known.recordings)
        peaks = []
        for seconds in LONG_SECONDS:
            write_recording(folder / f"long-{seconds:.0f}" / "recording.flac", seconds)
            peaks.append(peak_of(folder, f"long-{seconds:.0f}", model, how))
        say("one recording of", [f"{seconds / 60:.0f} min" for seconds in LONG_SECONDS], peaks)
    return 0


def write_archive(folder: Path, count: int) -> None:
    """Write tar shards of short recordings of noise, all different."""
    folder.mkdir()
    rng = np.random.default_rng(count)
    for first in range(0, count, ROWS_IN_SHARD):
        with tarfile.open(folder / f"{first:08d}.tar", "w") as tar:
            for number in range(first, min(first + ROWS_IN_SHARD, count)):
                file = io.BytesIO()
                samples = 0.1 * rng.standard_normal(round(RECORDING_SECONDS * SAMPLE_RATE))
                soundfile.write(file, samples, SAMPLE_RATE, format="FLAC")
                info = tarfile.TarInfo(f"{number:08d}.flac")
                info.size = len(file.getvalue())
                tar.addfile(info, io.BytesIO(file.getvalue()))


def write_recording(path: Path, seconds: float) -> None:
    """Write one recording of noise."""
    path.parent.mkdir()
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, format="FLAC") as file:
        for _ in range(round(seconds / 10)):
            file.write(0.1 * rng.standard_normal(10 * SAMPLE_RATE))


def peak_of(folder: Path, archive: str, model: Path, how: list[str]) -> dict[str, float]:
    """Embed, and return the peak memory of each kind of process, in MB."""
    command = [sys.executable, "-m", "jobs", "embed", "--input", str(folder / archive), "--backbone", "huggingface"]
    command += ["--runner", "ray", "--model", str(model), "--output", str(folder / f"{archive}-out"), *how]
    return run(command, dict(os.environ)).peak_mb


def say(what: str, columns: list[str], peaks: list[dict[str, float]], counts: Sequence[int] = ()) -> None:
    """Print a table with a row for each kind of process."""
    heads = [what, *columns, *(["MB per 1,000 more"] if counts else [])]
    print(f"\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for name in sorted(set.intersection(*map(set, peaks))):
        if name == "driver" or name.startswith(("ray::Map", "jobs.")):
            row = [peak[name] for peak in peaks]
            rise = [f"{1_000 * np.polyfit(counts, row, 1)[0]:+.2f}"] if counts else []
            print("| " + " | ".join([name, *(f"{each:.0f}" for each in row), *rise]) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
