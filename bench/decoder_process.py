"""Measure the cost of the decoder process: the same recordings, decoded in this process and in it, in turn.

    python -m bench.decoder_process [--rounds 20] [--files 200] [--corpus FOLDER]

For short files that are held in memory, and for an hour of WAV that is viewed, it prints the time in the decoder
process as a share of the time in this one: the median of the rounds, and its 95 % interval from 10,000 bootstrap draws.
For short files, the decoder's CPU time is the time that it takes with a core of its own: on a busy machine, look at
that.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from bench.dev_corpus import CORPUS
from detector.recording import Recording
from jobs.decoding.idle import IDLE
from jobs.decoding.queue import DecodeQueue

SEGMENT_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.decoder_process", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder with FLAC files [default: %(default)s]")
    parser.add_argument("--files", type=int, default=200, help="short files in a round [default: %(default)s]")
    parser.add_argument("--rounds", type=int, default=20, help="[default: %(default)s]")
    options = parser.parse_args(arguments)
    paths = sorted(options.corpus.rglob("*.flac"))
    contents = [path.read_bytes() for path in paths[:: max(1, len(paths) // options.files)][: options.files]]
    compare(f"{len(contents)} files", options.rounds, lambda: [io.BytesIO(content) for content in contents])
    with tempfile.NamedTemporaryFile(suffix=".wav") as hour:
        with soundfile.SoundFile(hour, "w", 16_000, 1, "PCM_16", format="WAV") as sound:
            for seed in range(60):
                sound.write(np.random.default_rng(seed).normal(0.0, 0.1, 60 * 16_000))
        compare("1 h of WAV", options.rounds, lambda: [open(hour.name, "rb")])  # noqa: SIM115 - closed below
    return 0


def compare(name: str, rounds: int, files: Callable[[], Sequence[BinaryIO]]) -> None:
    """Decode the files here and apart, each first in every second round, and print the ratios."""
    ways = {"here": here, "apart": apart}
    apart(files())  # starts the decoder process; both processes take their memory
    here(files())
    taken: dict[str, list[tuple[float, float, float]]] = {"here": [], "apart": []}
    for number in range(rounds):
        for way in sorted(ways, reverse=number % 2 == 0):
            opened = files()
            start, own, decoder = time.perf_counter(), time.process_time(), decoder_seconds()
            n_samples = ways[way](opened)
            spent = time.process_time() - own, decoder_seconds() - decoder
            taken[way].append((time.perf_counter() - start, *spent))
            for file in opened:
                file.close()
    apart_seconds, apart_own, apart_decoder = np.array(taken["apart"]).T
    here_seconds, here_own, _ = np.array(taken["here"]).T
    for what, ratios in {
        "time": apart_seconds / here_seconds,
        "CPU time of the decoder": apart_decoder / here_own,
        "CPU time of both": (apart_own + apart_decoder) / here_own,
    }.items():
        print(f"{name}: {what:24} × {formatted(ratios)}")
    print(f"{name}: here, {n_samples / 16_000 / np.median(here_seconds):,.0f} s of audio a second")


def here(files: Sequence[BinaryIO]) -> int:
    """Decode in this process; return the number of samples."""
    return sum(len(samples) for file in files for samples in Recording(file, SEGMENT_SECONDS).segments())


def apart(files: Sequence[BinaryIO]) -> int:
    """Decode as :mod:`jobs.inputs.shard_reader` does: one file ahead."""
    n_samples = 0
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        ahead = queue.put(files[0], "the first")
        for file in files[1:]:
            recording, ahead = ahead, queue.put(file, "the next")
            n_samples += sum(map(len, recording.segments()))
        return n_samples + sum(map(len, ahead.segments()))


def decoder_seconds() -> float:
    """Return the CPU time of the idle decoder process."""
    return sum(process.cpu_seconds() for process in IDLE)


def formatted(ratios: npt.NDArray[np.float64]) -> str:
    """Return the median and its interval as text."""
    draws = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return f"{np.median(ratios):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
