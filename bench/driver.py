"""Measure the driver of a run over many small shards: its CPU time for each of them, and its memory as they go by.

    python -m bench.driver [--shards 100000] [--s3] [--place FOLDER]

Tars of one recording of half a second each lie on a local disk, or with `--s3` in a store on loopback. They are
embedded on Ray by encoders that take no time, so all that is left is the work for a shard. A run over one such tar
comes first: what it takes is start-up. Memory is the resident memory of the driver's process, with the libraries and
the shared memory that it touched; `own` is without these.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import soundfile

from bench.encoder import machine
from detector.audio import SAMPLE_RATE
from tests.support.seaweedfs import s3_server

DONE = re.compile(r"embed: (\d+) of (\d+) shards")
ROWS = 10
"""Of the table: looks at the driver between its first shard and its last."""


@dataclass(frozen=True)
class Look:
    """The driver after some shards: CPU time in seconds, memory and memory of its own in MB."""

    n_shards: int
    cpu: float
    memory: float
    own: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.driver", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--s3", action="store_true", help="in a store on loopback, not on a local disk")
    parser.add_argument("--place", help="a folder to make archive and output in [default: a temporary one]")
    known = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-", dir=known.place) as folder:
        place = Path(folder)
        with s3_server(place / "s3") if known.s3 else nullcontext(dict[str, str]()) as environment:
            os.environ.update(environment)  # for what is asked of the store from here
            one, many = place / "one", place / "many"
            write_tars(one, 1)
            write_tars(many, known.shards)
            *_, first = embedded(stored(one, environment), environment)
            print(f"{machine('cpu')}; start-up and one shard: {first.cpu:.1f} s of CPU time, {first.memory:.0f} MB\n")
            print("| shards | CPU time, s | ms a shard | memory, MB | own, MB |\n| ---: | ---: | ---: | ---: | ---: |")
            for look in thinned(embedded(stored(many, environment), environment), known.shards):
                milliseconds = 1_000 * (look.cpu - first.cpu) / look.n_shards
                print(
                    f"| {look.n_shards:,} | {look.cpu:.1f} | {milliseconds:.2f} | {look.memory:.0f} | {look.own:.0f} |",
                    flush=True,
                )
    return 0


def write_tars(folder: Path, n_shards: int) -> None:
    """Write tars of one recording of noise each."""
    folder.mkdir()
    sound, tar = io.BytesIO(), io.BytesIO()
    samples = np.random.default_rng(0).normal(0.0, 0.001, SAMPLE_RATE // 2)
    soundfile.write(sound, samples, SAMPLE_RATE, format="FLAC")
    with tarfile.open(fileobj=tar, mode="w") as archive:
        member = tarfile.TarInfo("0.flac")
        member.size = len(sound.getvalue())
        sound.seek(0)
        archive.addfile(member, sound)
    for number in range(n_shards):
        (folder / f"{number:07d}.tar").write_bytes(tar.getvalue())


def stored(folder: Path, environment: dict[str, str]) -> str:
    """Return where the archive is read: in the folder, or in the store once it is there."""
    if not environment:
        return str(folder)
    bucket = fsspec.filesystem("s3", endpoint_url=environment["AWS_ENDPOINT_URL"])
    bucket.makedirs("driver", exist_ok=True)
    bucket.put(f"{folder}/", f"driver/{folder.name}/", recursive=True)
    return f"s3://driver/{folder.name}"


def embedded(archive: str, environment: dict[str, str]) -> Iterator[Look]:
    """Embed an archive, and yield a look at the driver for each line of its progress, and one at its end."""
    command = [sys.executable, "-m", "jobs", "embed", "--input", archive, "--output", f"{archive}-tables", "--runner"]
    command += ["ray", "--encoders", "2", "--encoder-cpus", "0.05", "--backbone", "bench.scale:instant"]
    look, env = Look(0, 0.0, 0.0, 0.0), os.environ | environment
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            if (done := DONE.search(line)) and int(done[1]) < int(done[2]):
                look = look_at(process.pid, int(done[1]))
                yield look
            elif done and "rows" in line:  # its last words
                look = look_at(process.pid, int(done[1]))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    yield look


def look_at(process: int, n_shards: int) -> Look:
    """Return what a process has used so far."""
    folder = Path("/proc") / str(process)
    ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    memory, own = (int(status[name].split()[0]) / 1_000 for name in ("VmRSS", "RssAnon"))
    return Look(n_shards, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), memory, own)


def thinned(looks: Iterator[Look], n_shards: int) -> Iterator[Look]:
    """Yield a look for each tenth of the shards."""
    reached = 0
    for look in looks:
        if look.n_shards * ROWS // n_shards > reached:
            reached = look.n_shards * ROWS // n_shards
            yield look


if __name__ == "__main__":
    sys.exit(main())
