"""Measure how a run scales with its workers: some are measured; these and more are predicted from its parts.

    python -m bench.scale [--quick] [--any-load]

An encoder that sleeps stands in for one that computes, so that eight of them fit on a laptop's cores: all but the
encoder is the real job, on a real S3 server on loopback. First, each part is measured alone: start-up, decoding, the
driver's CPU time per shard and per table, one request to the store. Then 1 to 8 encoders run, with the same audio for
each (weak scaling), next to the prediction, on a store whose requests take longer by each of --delays, over tars and
over loose files. Then the same arithmetic is done for clusters that are not available, and for shards of 1 GB: their
encoders' pace and their prices are given, not measured.

It begins once the machine is quiet, and measures nothing if it does not become so. With --any-load it prints what it
finds, marked as no figures for the docs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from timeit import timeit

import fsspec
import numpy as np
import numpy.typing as npt
import soundfile

from bench.bounds import FILE_SECONDS, KINDS, MIB_SECONDS, Cluster, Pieces, beyond
from bench.encoder import interval, machine
from bench.pipeline import write_archive
from detector.audio import SAMPLE_RATE
from detector.backbones import Backbone
from detector.config import EmbedConfig
from jobs import storage
from jobs.execution.pool import CPU_WINDOW_MIB
from tests.support.proxy import FaultProxy
from tests.support.seaweedfs import s3_server

PACE = 15.0  # of the stand-in: audio-seconds a second; eight of them leave the cores of a laptop time for the rest
REQUESTS = 200  # that are timed
WINDOWS = (8, 1)  # MiB: a run with few tables of audio, and one with many
TINY_SECONDS = 0.5  # of a recording of which only the handling is to be measured
QUIET, LOOK_SECONDS = 0.5, 10.0  # the load below which the machine counts as quiet; between two looks at it
JOB_SECONDS, AGAIN, ATTEMPTS = 1_800.0, 75, 3  # for a job; the exit code of one that is to be run again, and how often

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sleeper:
    """An encoder that takes its time and gives zeros."""

    pace: float
    layers: tuple[int, ...] = (-1,)
    dim: int = 1_024
    device: str = "cpu"
    min_samples: int = 400

    def embed(
        self, segments: Sequence[npt.NDArray[np.float32]]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        if self.pace:
            time.sleep(sum(map(len, segments)) / SAMPLE_RATE / self.pace)
        n_frames = np.array([len(samples) // 320 for samples in segments], dtype=np.int64)
        return np.zeros((len(segments), self.dim), np.float32), n_frames


def sleeper(_config: EmbedConfig, _folder: str | None, **_how: object) -> Backbone:
    """The loader that `--backbone bench.scale:sleeper` names."""
    return Sleeper(PACE)


def instant(_config: EmbedConfig, _folder: str | None, **_how: object) -> Backbone:
    """The same without the sleep: what is left is everything else."""
    return Sleeper(0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pace", type=float, default=6_000.0, help="of a GPU's encoder beyond: audio-seconds a second")
    parser.add_argument("--gpu-price", type=float, default=2.5, help="$ an hour of a GPU")
    parser.add_argument("--core-price", type=float, default=0.04, help="$ an hour of a core that decodes")
    parser.add_argument("--cores", type=int, default=16, help="cores that decode, for each GPU")
    parser.add_argument("--delays", default="30,80", help="of each request to the store, ms")
    parser.add_argument("--put-price", type=float, default=0.005, help="$ for 1,000 PUTs")
    parser.add_argument("--get-price", type=float, default=0.0004, help="$ for 1,000 GETs")
    parser.add_argument("--minutes", type=float, default=60.0, help="of audio for each worker")
    parser.add_argument("--workers", default="1,2,4,8", help="how many encoders; efficiency is against the first")
    parser.add_argument("--quick", action="store_true", help="1 and 2 encoders, one minute each, one round")
    parser.add_argument("--any-load", action="store_true", help="do not wait until the machine is quiet")
    parser.add_argument("--patience", type=float, default=3_600.0, help="to wait for a quiet machine, s")
    settings = parser.parse_args(arguments)
    if settings.quick:
        settings.rounds, settings.minutes, settings.delays, settings.workers = 1, 1.0, "80", "1,2"
    if not wait_until_quiet(settings):
        return 1
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as scratch:
        folder = Path(scratch)
        with s3_server(folder / "s3") as environment, FaultProxy(environment["AWS_ENDPOINT_URL"]) as proxy:
            os.environ.update(environment)  # for what is asked of the store from here
            lab = Lab(folder, proxy)
            pieces = measured(lab, settings.quick)
            for delay in map(float, settings.delays.split(",")):
                for name in KINDS:
                    weak(lab, pieces, settings, delay / 1000, name)
    for kind in KINDS.values():
        beyond(pieces, settings, kind)
    return 0


def wait_until_quiet(settings: argparse.Namespace) -> bool:
    """Wait until the machine has little else to do; return False if there is nothing to measure before."""
    deadline = time.monotonic() + settings.patience
    while (load := os.getloadavg()[0]) >= QUIET:
        if settings.any_load:
            print(f"NOT FOR THE DOCS: measured beside other work, at a load of {load:.1f}\n", flush=True)
            return True
        if time.monotonic() > deadline:
            print(
                f"The load is {load:.1f} after {settings.patience:.0f} s; expected less than {QUIET}: figures from "
                f"a busy machine are none. End other programs, or see with --any-load what it would print.",
                file=sys.stderr,
            )
            return False
        time.sleep(LOOK_SECONDS)
    return True


class Lab:
    """Archives in a bucket, and the job over them."""

    def __init__(self, folder: Path, proxy: FaultProxy) -> None:
        self._folder = folder
        self._proxy = proxy
        self._bucket = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        self._bucket.mkdir("scale")

    def archive(self, name: str, minutes: float, shards: int) -> float:
        """Put an archive of FLAC in tars; its seconds of audio."""
        seconds = write_archive(self._folder / name, minutes * 60, shards)
        self._put(name)
        return seconds

    def loose(self, name: str, minutes: float) -> float:
        """Put an archive of loose files of 200 kB of FLAC; its seconds of audio."""
        n_files = max(1, round(minutes * 60 / FILE_SECONDS))
        self._write(name, n_files, FILE_SECONDS)
        self._put(name)
        return n_files * FILE_SECONDS

    def tiny(self, name: str, n_shards: int) -> None:
        """Put an archive of tars of one short recording each."""
        folder = self._write(name, n_shards, TINY_SECONDS)
        for path in sorted(folder.iterdir()):
            with tarfile.open(path.with_suffix(".tar"), "w") as tar:
                tar.add(path, path.name)
            path.unlink()
        self._put(name)

    def _write(self, name: str, n_files: int, seconds: float) -> Path:
        """Write files of noise, at a level at which it packs like speech; their folder."""
        folder, rng = self._folder / name, np.random.default_rng(0)
        folder.mkdir()
        for number in range(n_files):
            samples = rng.normal(0.0, 0.001, round(seconds * SAMPLE_RATE))
            soundfile.write(folder / f"{number:06d}.flac", samples, SAMPLE_RATE, format="FLAC")
        return folder

    def _put(self, name: str) -> None:
        self._bucket.put(f"{self._folder / name}/", f"scale/{name}/", recursive=True)

    def job(self, name: str, loader: str, workers: int, delay: float = 0.0, *flags: str) -> Ran:
        """The command over an archive, on a store whose requests take ``delay`` seconds longer."""
        self._proxy.clear()
        if delay:
            self._proxy.when("*").delay(delay)
        command = [sys.executable, "-m", "jobs", "embed", "--input", f"s3://scale/{name}/", "--encoders", str(workers)]
        command += ["--runner", "ray", "--encoder-cpus", "0.05", "--backbone", f"bench.scale:{loader}"]
        environment = os.environ | {"AWS_ENDPOINT_URL": self._proxy.url}
        return ran([*command, *flags, "--output", f"s3://scale/tables/{uuid.uuid4().hex}"], environment)


@dataclass(frozen=True)
class Ran:
    """A command that ran: its time, and the CPU time and peak memory (MB) of its own process, the driver."""

    seconds: float
    driver: float
    memory: float


def ran(command: Sequence[str], environment: dict[str, str]) -> Ran:
    """Run a command to its end, again if it says so; raise if it fails, or does not end."""
    for _ in range(ATTEMPTS):
        begun, ticks, pages = time.monotonic(), 0, 0
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                ticks = max(ticks, int(fields[11]) + int(fields[12]))  # an ended process has none
                pages = max(pages, int(fields[21]))
                if time.monotonic() - begun > JOB_SECONDS:
                    process.kill()
                time.sleep(0.1)
        if process.returncode != AGAIN:
            break
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Ran(time.monotonic() - begun, ticks / os.sysconf("SC_CLK_TCK"), memory)


def measured(lab: Lab, is_quick: bool) -> Pieces:
    """Measure each piece apart, and print it."""
    n_tiny, minutes = (100, 10.0) if is_quick else (1_000, 60.0)
    lab.tiny("one", 1)
    lab.tiny("tiny", n_tiny)
    audio = lab.archive("long", minutes, 16)
    ones = [lab.job("one", "instant", 2) for _ in range(1 if is_quick else 3)]
    start, alone = (float(np.median([getattr(each, name) for each in ones])) for name in ("seconds", "driver"))
    tiny = lab.job("tiny", "instant", 2)
    shard, driver = max(tiny.seconds - start, 0.0) / n_tiny, max(tiny.driver - alone, 0.0) / n_tiny
    long, many = (lab.job("long", "instant", 2, 0.0, "--window-mib", str(mib)) for mib in WINDOWS)
    n_tables = audio / MIB_SECONDS * (1 / WINDOWS[1] - 1 / WINDOWS[0])  # more in the second run
    table = max(many.driver - long.driver, 0.0) / n_tables
    decode = audio / max(long.seconds - start, 0.1) / (os.cpu_count() or 1)  # less on a busy machine alone
    print(
        f"{machine('cpu')}, SeaweedFS on loopback\n\n"
        f"| piece | measured |\n| --- | ---: |\n"
        f"| start-up: Python, Ray, an encoder, one recording | {start:.1f} s |\n"
        f"| a shard of one recording: plan, task, read, PUTs | {1000 * shard:.0f} ms |\n"
        f"| of that, CPU time of the driver | {1000 * driver:.1f} ms |\n"
        f"| CPU time of the driver for a table of audio | {1000 * table:.1f} ms |\n"
        f"| memory of the driver with 1 shard, with {n_tiny} | {ones[0].memory:.0f} MB, {tiny.memory:.0f} MB |\n"
        f"| decode and all else but the encoder, audio-seconds a second and core | {decode:,.0f} |"
    )
    for name, seconds in requests().items():
        print(f"| {name} | {interval(1000 * seconds, 1)} ms |", flush=True)
    return Pieces(start, driver, table, shard, decode)


def requests() -> dict[str, Numbers]:
    """Seconds of single requests to the store, from here."""
    uri, body = "s3://scale/requests/{}", b"x" * 4_096
    names = [uri.format(number) for number in range(REQUESTS)]
    puts = [timeit(partial(storage.write_bytes, name, body), number=1) for name in names]
    gets = [timeit(partial(storage.read_bytes, name), number=1) for name in names]
    lists = [timeit(partial(storage.listing, uri.format("")), number=1) for _ in range(20)]
    found = {"PUT of 4 KiB": puts, "GET of 4 KiB": gets, f"LIST of {REQUESTS} names": lists}
    return {name: np.array(seconds) for name, seconds in found.items()}


def weak(lab: Lab, pieces: Pieces, settings: argparse.Namespace, delay: float, kind: str) -> None:
    """Measure weak scaling: more workers, with the same audio for each."""
    cores = os.cpu_count() or 1
    print(f"\n{kind}; requests that take {1000 * delay:.0f} ms longer; predicted and efficiency without the start-up\n")
    print("| encoders | audio, min | start-up, s | predicted, s | bound by | measured, s | of predicted | efficiency |")
    print("| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |")
    first = 0.0
    for workers in map(int, settings.workers.split(",")):
        shards, minutes = 8 * workers, settings.minutes * workers
        name = f"weak-{kind}-{workers}-{1000 * delay:.0f}"
        audio = lab.archive(name, minutes, shards) if kind == "tars" else lab.loose(name, minutes)
        starts = [lab.job("one", "sleeper", workers, delay).seconds for _ in range(settings.rounds)]
        start = float(np.median(starts))
        seconds = np.array([lab.job(name, "sleeper", workers, delay).seconds for _ in range(settings.rounds)]) - start
        here = Cluster(workers, PACE, cores, CPU_WINDOW_MIB * MIB_SECONDS, delay)
        # the shards of a bench are small; a real one has more audio for its PUTs
        predicted, bound = pieces.seconds(audio, replace(KINDS[kind], shard_seconds=audio / shards), here)
        first = first or float(np.median(seconds)) * workers / audio
        efficiency = first * audio / workers / float(np.median(seconds))
        print(
            f"| {workers} | {audio / 60:.0f} | {start:.1f} | {predicted:.1f} | {bound} | {interval(seconds, 1)} "
            f"| {interval(seconds / predicted)} | {efficiency:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
