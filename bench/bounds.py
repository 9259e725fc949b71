"""Bounds: predict how long a run takes on clusters that are not available, and which measured part bounds it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from detector.audio import SAMPLE_RATE
from jobs import storage
from jobs.execution.pool import ENCODERS_AN_ASSEMBLER, gpu_window_mib
from jobs.execution.ray_assemblers import COMMITS_AT_ONCE
from jobs.inputs.read_ahead import FILES_AHEAD
from jobs.inputs.shards import MAX_SHARD_FILES

PUTS = 3  # of a shard, one after another
BEYOND = (1, 8, 64, 256, 1_000)
HOURS = 1_000_000
BYTES_A_SECOND = 17_000  # of FLAC, 16 kHz
S3_GETS_A_SECOND = 5_500  # that one prefix of S3 takes
MIB_SECONDS = (1 << 20) / (4 * SAMPLE_RATE)  # of audio in a MiB of samples


@dataclass(frozen=True)
class Kind:
    """A kind of archive.

    Parameters
    ----------
    name : str
    shard_seconds : float
        Audio of a shard.
    request_seconds : float
        Audio that one GET brings.
    ahead : int
        GETs of a decode task that are under way at once.
    """

    name: str
    shard_seconds: float
    request_seconds: float
    ahead: int


FILE_SECONDS = 200_000 / BYTES_A_SECOND
BLOCK_SECONDS = storage.READ_AHEAD_BYTES / BYTES_A_SECOND
KINDS = {
    "tars": Kind("tars of 1 GB", 1e9 / BYTES_A_SECOND, BLOCK_SECONDS, 2),
    "loose": Kind("loose files of 200 kB", MAX_SHARD_FILES * FILE_SECONDS, FILE_SECONDS, FILES_AHEAD),
}


@dataclass(frozen=True)
class Cluster:
    """Machines that are given.

    Parameters
    ----------
    workers : int
        Encoders.
    pace : float
        Audio-seconds that one encodes a second.
    cores : float
        That decode.
    window_seconds : float
        Audio of a table.
    request : float
        Seconds of a request to the store.
    """

    workers: int
    pace: float
    cores: float
    window_seconds: float
    request: float


@dataclass(frozen=True)
class Pieces:
    """The measured parts.

    Attributes
    ----------
    start : float
        Seconds of start-up.
    driver, table, shard : float
        CPU time of the driver for a shard, and for a table of audio; the whole time of a shard where nothing else takes
        any; s.
    decode : float
        Audio that a core decodes per second.
    """

    start: float
    driver: float
    table: float
    shard: float
    decode: float

    def driver_seconds(self, audio: float, kind: Kind, cluster: Cluster) -> float:
        """CPU time of the driver."""
        return audio / kind.shard_seconds * self.driver + audio / cluster.window_seconds * self.table

    def seconds(self, audio: float, kind: Kind, cluster: Cluster) -> tuple[float, str]:
        """Time of a run but for its start-up, and what bounds it: stages overlap, so the slowest counts."""
        assemblers = -(-cluster.workers // ENCODERS_AN_ASSEMBLER)
        stages = {
            "encoders": audio / (cluster.workers * cluster.pace),
            "decode": audio / (cluster.cores * self.decode),
            "GETs": audio / kind.request_seconds * cluster.request / (kind.ahead * cluster.cores),
            "assemblers": audio / kind.shard_seconds * PUTS * cluster.request / COMMITS_AT_ONCE / assemblers,
            "driver": self.driver_seconds(audio, kind, cluster),
        }
        slowest = max(stages, key=stages.__getitem__)
        return stages[slowest], slowest


def beyond(pieces: Pieces, settings: argparse.Namespace, kind: Kind) -> None:
    """The same arithmetic where nothing was measured."""
    audio = HOURS * 3_600.0
    shards, gets = audio / kind.shard_seconds, audio / kind.request_seconds
    requests = (shards * PUTS * settings.put_price + gets * settings.get_price) / 1_000
    print(
        f"\n{HOURS:,} hours of FLAC in {kind.name}, {shards:,.0f} shards; an encoder of {settings.pace:,.0f} × real "
        f"time (given), {settings.cores} cores a GPU, ${settings.gpu_price:g} a GPU-hour, ${settings.core_price:g} a "
        f"core-hour; requests cost ${requests:,.2f}\n"
    )
    print("| GPUs | hours | bound by | efficiency | driver busy | store, GB/s | GET/s, prefixes | PUT/s | $ |")
    print("| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    request = max(map(float, settings.delays.split(","))) / 1000
    for workers in BEYOND:
        there = Cluster(
            workers, settings.pace, settings.cores * workers, gpu_window_mib(workers) * MIB_SECONDS, request
        )
        seconds, bound = pieces.seconds(audio, kind, there)
        hours, busy = (pieces.start + seconds) / 3_600, pieces.driver_seconds(audio, kind, there)
        price = hours * workers * (settings.gpu_price + settings.cores * settings.core_price) + requests
        print(
            f"| {workers:,} | {hours:,.1f} | {bound} | {audio / (workers * settings.pace) / seconds:.0%} "
            f"| {busy / seconds:.0%} | {audio * BYTES_A_SECOND / seconds / 1e9:.2f} "
            f"| {gets / seconds:,.0f}, {max(1, round(gets / seconds / S3_GETS_A_SECOND))} "
            f"| {PUTS * shards / seconds:,.1f} | {price:,.0f} |"
        )
    most = audio / max(busy, 1.0) / settings.pace
    print(f"\nOne driver keeps up with {most:,.0f} such GPUs; beyond that, runs over disjoint inputs.")
