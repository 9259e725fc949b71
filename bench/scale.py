"""Measure how a run scales with its workers: 1, 2, 4 and 8 are measured; these and more are predicted from its parts.

python -m bench.scale

An encoder that sleeps stands in for one that computes, so that eight of them fit on a laptop's cores: all but the
encoder is the real job, on a real S3 server on loopback. First, each part is measured alone: start-up, decoding, the
driver's CPU time and the whole time per shard, one request to the store. Then 1 to 8 encoders run, with the same audio
for each (weak scaling), next to the prediction, on a store whose requests take longer by each of --delays. Then the
same arithmetic is done for a cluster that is not available: its encoders' pace and its prices are given, not measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import numpy.typing as npt

from bench.encoder import interval, machine
from bench.pipeline import write_archive
from detector.audio import SAMPLE_RATE
from detector.backbones import Backbone
from detector.config import EmbedConfig
from jobs import storage
from jobs.execution.pool import ENCODERS_AN_ASSEMBLER
from jobs.execution.ray_assemblers import COMMITS_AT_ONCE
from tests.support.proxy import FaultProxy
from tests.support.seaweedfs import s3_server

WORKERS = (1, 2, 4, 8)
PUTS = 3  # of a shard, one after another
BEYOND = (1, 8, 64, 1_000)
PACE = 100.0  # of the stand-in: audio-seconds a second
TINY_SHARDS = 150
HOURS = 1_000_000
SHARD_HOURS = 16.0  # 1 GB of FLAC
BYTES_A_SECOND = 17_000  # of FLAC, 16 kHz
S3_GETS_A_SECOND = 5_500  # that one prefix of S3 takes
REQUESTS = 200

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


@dataclass(frozen=True)
class Pieces:
    """The measured parts.

    Attributes
    ----------
    start : float
        Seconds of start-up.
    driver, shard : float
        CPU time of the driver for a shard, and the whole time of a shard where nothing else takes any; s.
    decode : float
        Audio that a core decodes per second.
    """

    start: float
    driver: float
    shard: float
    decode: float

    def seconds(
        self, workers: int, audio: float, shards: int, pace: float, cores: float, request: float
    ) -> tuple[float, str]:
        """Time of a run but for its start-up, and what bounds it: stages overlap, so the slowest counts."""
        assemblers = -(-workers // ENCODERS_AN_ASSEMBLER)
        stages = {
            "encoders": audio / (workers * pace),
            "decode": audio / (cores * self.decode),
            "assemblers": shards * PUTS * request / COMMITS_AT_ONCE / assemblers,
            "driver": shards * self.driver,
        }
        slowest = max(stages, key=stages.__getitem__)
        return stages[slowest], slowest


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
    parser.add_argument("--minutes", type=float, default=20.0, help="of audio for each worker")
    settings = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as scratch:
        folder = Path(scratch)
        with s3_server(folder / "s3") as environment, FaultProxy(environment["AWS_ENDPOINT_URL"]) as proxy:
            os.environ.update(environment)  # for what is asked of the store from here
            lab = Lab(folder, proxy)
            pieces = measured(lab)
            for delay in map(float, settings.delays.split(",")):
                weak(lab, pieces, settings, delay / 1000)
    beyond(pieces, settings)
    return 0


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
        self._bucket.put(f"{self._folder / name}/", f"scale/{name}/", recursive=True)
        return seconds

    def job(self, name: str, loader: str, workers: int, delay: float = 0.0) -> Ran:
        """The command over an archive, on a store whose requests take ``delay`` seconds longer."""
        self._proxy.clear()
        if delay:
            self._proxy.when("*").delay(delay)
        command = [sys.executable, "-m", "jobs", "embed", "--input", f"s3://scale/{name}/", "--encoders", str(workers)]
        command += ["--runner", "ray", "--encoder-cpus", "0.05", "--backbone", f"bench.scale:{loader}"]
        environment = os.environ | {"AWS_ENDPOINT_URL": self._proxy.url}
        return ran([*command, "--output", f"s3://scale/tables/{uuid.uuid4().hex}"], environment)


@dataclass(frozen=True)
class Ran:
    """A command that ran: its time, and the CPU time of its own process, the driver."""

    seconds: float
    driver: float


def ran(command: Sequence[str], environment: dict[str, str]) -> Ran:
    """Run a command to its end; raise if it fails."""
    begun, ticks = time.monotonic(), 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks = max(ticks, int(fields[11]) + int(fields[12]))  # an ended process has none
            time.sleep(0.1)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Ran(time.monotonic() - begun, ticks / os.sysconf("SC_CLK_TCK"))


def measured(lab: Lab) -> Pieces:
    """Measure each piece apart, and print it."""
    lab.archive("one", 1 / 60, 1)
    lab.archive("tiny", TINY_SHARDS * 2 / 60, TINY_SHARDS)
    audio = lab.archive("long", 60.0, 16)
    ones = [lab.job("one", "instant", 2) for _ in range(3)]
    start, tiny = float(np.median([each.seconds for each in ones])), lab.job("tiny", "instant", 2)
    shard = (tiny.seconds - start) / TINY_SHARDS
    driver = (tiny.driver - float(np.median([each.driver for each in ones]))) / TINY_SHARDS
    cores = os.cpu_count() or 1
    decode = audio / (lab.job("long", "instant", 2).seconds - start) / cores
    print(
        f"{machine('cpu')}, SeaweedFS on loopback\n\n"
        f"| piece | measured |\n| --- | ---: |\n"
        f"| start-up: Python, Ray, an encoder, one recording | {start:.1f} s |\n"
        f"| a shard of one recording: plan, task, read, PUTs | {1000 * shard:.0f} ms |\n"
        f"| of that, CPU time of the driver | {1000 * driver:.1f} ms |\n"
        f"| decode and all else but the encoder, audio-seconds a second and core | {decode:,.0f} |"
    )
    for name, seconds in requests().items():
        print(f"| {name} | {interval(1000 * seconds, 1)} ms |")
    return Pieces(start, driver, shard, decode)


def requests() -> dict[str, Numbers]:
    """Seconds of single requests to the store, from here."""
    uri, body = "s3://scale/requests/{}", b"x" * 4_096
    puts = [timed(storage.write_bytes, uri.format(number), body) for number in range(REQUESTS)]
    gets = [timed(storage.read_bytes, uri.format(number)) for number in range(REQUESTS)]
    lists = [timed(storage.listing, uri.format("")) for _ in range(20)]
    found = {"PUT of 4 KiB": puts, "GET of 4 KiB": gets, f"LIST of {REQUESTS} names": lists}
    return {name: np.array(seconds) for name, seconds in found.items()}


def timed(function: object, *arguments: object) -> float:
    begun = time.perf_counter()
    function(*arguments)  # type: ignore[operator]
    return time.perf_counter() - begun


def weak(lab: Lab, pieces: Pieces, settings: argparse.Namespace, delay: float) -> None:
    """Measure weak scaling: more workers, with the same audio for each."""
    cores = os.cpu_count() or 1
    start = float(np.median([lab.job("one", "sleeper", 2, delay).seconds for _ in range(settings.rounds)]))
    print(f"\nrequests that take {1000 * delay:.0f} ms longer; start-up {start:.1f} s")
    print("\n| encoders | audio, min | predicted, s | bound by | measured, s | measured / predicted | efficiency |")
    print("| ---: | ---: | ---: | --- | ---: | ---: | ---: |")
    first = 0.0
    for workers in WORKERS:
        shards = 8 * workers
        name = f"weak-{workers}-{1000 * delay:.0f}"
        audio = lab.archive(name, settings.minutes * workers, shards)
        seconds = np.array([lab.job(name, "sleeper", workers, delay).seconds for _ in range(settings.rounds)])
        predicted, bound = pieces.seconds(workers, audio, shards, PACE, cores, delay)
        ratio = seconds / (start + predicted)
        first = first or float(np.median(seconds)) - start
        efficiency = first / (float(np.median(seconds)) - start)
        print(
            f"| {workers} | {audio / 60:.0f} | {start + predicted:.1f} | {bound} | {interval(seconds, 1)} "
            f"| {interval(ratio)} | {efficiency:.0%} |"
        )


def beyond(pieces: Pieces, settings: argparse.Namespace) -> None:
    """The same arithmetic where nothing was measured."""
    audio, shards = HOURS * 3_600.0, round(HOURS / SHARD_HOURS)
    print(
        f"\n{HOURS:,} hours of FLAC in shards of 1 GB; an encoder of {settings.pace:,.0f} × real time (given), "
        f"{settings.cores} cores a GPU, ${settings.gpu_price:g} a GPU-hour, ${settings.core_price:g} a core-hour\n"
    )
    print("| GPUs | hours | bound by | efficiency | driver busy | store, GB/s | GET/s, prefixes | $ |")
    print("| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for workers in BEYOND:
        request = max(map(float, settings.delays.split(","))) / 1000
        seconds, bound = pieces.seconds(workers, audio, shards, settings.pace, settings.cores * workers, request)
        hours = (pieces.start + seconds) / 3_600
        price = hours * workers * (settings.gpu_price + settings.cores * settings.core_price)
        read = audio * BYTES_A_SECOND / seconds
        gets = read / storage.READ_AHEAD_BYTES
        print(
            f"| {workers:,} | {hours:,.1f} | {bound} | {audio / (workers * settings.pace) / seconds:.0%} "
            f"| {shards * pieces.driver / seconds:.0%} | {read / 1e9:.2f} "
            f"| {gets:,.0f}, {max(1, round(gets / S3_GETS_A_SECOND))} | {price:,.0f} |"
        )
    most = SHARD_HOURS * 3_600 / pieces.driver / settings.pace
    print(f"\nOne driver keeps up with {most:,.0f} such GPUs; beyond that, runs over disjoint inputs.")


if __name__ == "__main__":
    sys.exit(main())
