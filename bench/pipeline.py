"""Measure the whole job, with Ray, against a plain loop in one process that does the same work.

python -m bench.pipeline --minutes 20 --model small

`bonafide embed` embeds an archive of tar shards of FLAC (noise of log-normal lengths, median 5 s). So does a loop: it
reads, decodes, normalises and encodes one recording after the other on all cores, takes the mean over frames, and
writes one Parquet object a shard. The order is job, loop, loop, job, in --rounds rounds. Start-up (Ray, the driver,
loading the encoder) is measured apart, as the same command on one recording of a second; the loop's is not counted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch

from bench.encoder import interval, machine, noise
from bench.models import checkpoint
from bench.processes import run
from detector.audio import SAMPLE_RATE
from detector.backbones.encoder import Encoder
from detector.backbones.huggingface import HuggingFace
from detector.config import EmbedConfig
from detector.pooling import mean
from detector.recording import Recording

SEGMENT_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small", help="a checkpoint folder, or a name that bench.encoder takes")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the loop")
    options, flags = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as scratch:
        folder = Path(scratch)
        model = folder / "model"
        model.mkdir()
        model = checkpoint(options.model, model)
        seconds = write_archive(folder / "archive", options.minutes * 60, options.shards)
        write_archive(folder / "one", 1.0, 1)
        starts: list[float] = []
        jobs: list[float] = []
        loops: list[float] = []
        backbone = HuggingFace(EmbedConfig(backbone="huggingface"), str(model), "cpu", 0.0)
        for round_ in range(options.rounds):
            starts.append(job(folder, "one", model, flags, f"start-{round_}"))
            for is_job in (True, False, False, True):
                if is_job:
                    jobs.append(job(folder, "archive", model, flags, f"job-{len(jobs)}"))
                else:
                    output = folder / f"loop-{len(loops)}"
                    loops.append(loop(folder / "archive", backbone._encoder, output, options.threads))
    work = np.array(jobs) - np.median(starts)
    print(
        f"{options.model}, {seconds / 60:.1f} min of audio in {options.shards} tar shards; {machine('cpu')}; "
        f"torch {torch.__version__}; {' '.join(flags)}\n"
        f"start-up of the job: {interval(np.array(starts), digits=1)} s (the same command on 1 s of audio)\n"
        f"job:  {interval(seconds / work)} audio-seconds a second without start-up, "
        f"{interval(seconds / np.array(jobs))} with it\n"
        f"loop: {interval(seconds / np.array(loops))} audio-seconds a second on {options.threads} threads\n"
        f"job / loop: {np.median(loops) / np.median(work):.2f}"
    )
    return 0


def write_archive(folder: Path, seconds: float, n_shards: int) -> float:
    """Write tar shards of FLAC; return their length in seconds."""
    folder.mkdir()
    segments = noise(seconds, seed=0)
    for shard in range(n_shards):
        with tarfile.open(folder / f"{shard:04d}.tar", "w") as tar:
            for number, samples in enumerate(segments[shard::n_shards]):
                file = io.BytesIO()
                soundfile.write(file, samples, SAMPLE_RATE, format="FLAC")
                info = tarfile.TarInfo(f"{number:05d}.flac")
                info.size = len(file.getvalue())
                tar.addfile(info, io.BytesIO(file.getvalue()))
    return sum(map(len, segments)) / SAMPLE_RATE


def job(folder: Path, archive: str, model: Path, flags: list[str], output: str) -> float:
    """Return the seconds that the command takes."""
    command = [sys.executable, "-m", "jobs", "embed", "--input", str(folder / archive), "--backbone", "huggingface"]
    command += ["--runner", "ray", "--model", str(model), "--output", str(folder / output), *flags]
    return run(command, dict(os.environ)).seconds


def loop(archive: Path, encoder: Encoder, output: Path, threads: int) -> float:
    """Return the seconds that the plain loop takes."""
    torch.set_num_threads(threads)
    output.mkdir()
    start = time.perf_counter()
    for path in sorted(archive.glob("*.tar")):
        rows = []
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                recording = Recording(io.BytesIO(content.read()), SEGMENT_SECONDS)
                segments = list(recording.segments())
                vectors = [embedding(encoder, samples) for samples in segments]
                joined = np.average(vectors, axis=0, weights=[*map(len, segments)]).astype(np.float32)
                name = f"{path.name}#{member.name}"
                rows.append({"utterance_id": name, "embedding": joined, **vars(recording.facts)})
        pq.write_table(pa.Table.from_pylist(rows), output / f"{path.stem}.parquet", compression="zstd")
    return time.perf_counter() - start


def embedding(encoder: Encoder, samples: np.ndarray) -> np.ndarray:
    """Return the mean over the frames of one segment, computed on all threads."""
    with torch.inference_mode():
        lengths = torch.tensor([len(samples)])
        inputs = encoder.features.inputs(torch.from_numpy(samples)[None], lengths, False)
        frames = encoder._model(**inputs).last_hidden_state
        pooled: np.ndarray = mean(frames, torch.ones(frames.shape[:2]))[0].numpy()
    return pooled


if __name__ == "__main__":
    sys.exit(main())
