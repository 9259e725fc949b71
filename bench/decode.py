"""Compare decoding to 16 kHz mono with soundfile plus librosa, PyAV and torchcodec, by codec, on one core.

python -m bench.decode                    (pip install -e '.[bench]' installs the others)

The input is files of 10 s of a voice-like buzz in noise, in memory. One process decodes them in the order A B C … C B
A, --rounds times, and prints seconds of audio decoded per second, as medians with the lowest and highest round:

- ours: :class:`detector.recording.Recording`, as for an encoder: digest, decode, mean of channels, soxr HQ, segments.
- apart: the same in the separate decoder process, as in a job; two processes work.
- soundfile+librosa: `soundfile.read`, mean, `librosa.resample` (soxr HQ).
- pyav: FFmpeg alone, with its own resampler.
- torchcodec: `AudioDecoder(…, sample_rate=16000, num_channels=1)`, if it can be loaded.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
import soundfile

from bench.encoder import interval, machine
from detector.audio import SAMPLE_RATE, Samples
from detector.recording import Recording
from jobs.decoding.queue import DecodeQueue

SECONDS = 10.0
SEGMENT_SECONDS = 30.0
CODECS: dict[str, tuple[int, int, str]] = {
    "WAV 16 kHz": (16_000, 1, "WAV/PCM_16"),
    "FLAC 16 kHz": (16_000, 1, "FLAC/PCM_16"),
    "FLAC 44.1 kHz stereo": (44_100, 2, "FLAC/PCM_16"),
    "MP3 44.1 kHz": (44_100, 1, "MP3/MPEG_LAYER_III"),
    "Ogg Vorbis 48 kHz": (48_000, 1, "OGG/VORBIS"),
    "Ogg Opus 48 kHz": (48_000, 1, "OGG/OPUS"),
    "M4A AAC 44.1 kHz": (44_100, 1, "aac"),
}
"""By name: rate, channels, and the name of the format in soundfile (`container/encoding`) or FFmpeg."""

Way = Callable[[list[bytes]], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.decode", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    known = parser.parse_args(arguments)
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        ways = ways_to_decode(queue)
        print(f"{known.files} files of {SECONDS:g} s, {known.rounds} rounds; {machine('cpu')}\n")
        print(f"| | {' | '.join(ways)} |\n| --- |{' --- |' * len(ways)}")
        for codec, how in CODECS.items():
            files = [encoded(number, *how) for number in range(known.files)]
            paces = measure(ways, files, known.rounds)
            print(f"| {codec} | {' | '.join(paces.values())} |", flush=True)
    return 0


def measure(ways: dict[str, Way], files: list[bytes], rounds: int) -> dict[str, str]:
    """Measure the speed of each decoder; return it as text, or the reason why there is none."""
    times: dict[str, list[float]] = {}
    found: dict[str, str] = {}
    for name, way in ways.items():
        try:
            way(files[:1])
            times[name] = []
        except Exception as error:  # that a decoder cannot read a format is a result
            found[name] = f"– ({type(error).__name__})"
    for _ in range(rounds):
        for name in (*times, *reversed(times)):
            start = time.perf_counter()
            ways[name](files)
            times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        paces = len(files) * SECONDS / np.array(seconds).reshape(-1, 2).mean(axis=1)
        found[name] = interval(paces, digits=0)
    return {name: found[name] for name in ways}


def ways_to_decode(queue: DecodeQueue) -> dict[str, Way]:
    """Return the decoders that are measured and can be loaded on this machine."""
    ways: dict[str, Way] = {"ours": each(ours), "apart": lambda files: apart(queue, files), "pyav": each(pyav)}
    try:
        import librosa

        def soundfile_and_librosa(data: bytes) -> Samples:
            samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
            resampled: Samples = librosa.resample(samples.mean(axis=1), orig_sr=rate, target_sr=SAMPLE_RATE)
            return resampled

        ways["soundfile+librosa"] = each(soundfile_and_librosa)
    except ImportError as error:
        print(f"librosa is not measured: {error}\n")
    try:
        from torchcodec.decoders import AudioDecoder

        def by_torchcodec(data: bytes) -> object:
            return AudioDecoder(data, sample_rate=SAMPLE_RATE, num_channels=1).get_all_samples()

        ways["torchcodec"] = each(by_torchcodec)
    except (ImportError, OSError, RuntimeError) as error:  # its wheel needs the libraries of CUDA or FFmpeg
        print(f"torchcodec is not measured: {error}\n")
    return ways


def ours(data: bytes) -> list[Samples]:
    """Decode in this process."""
    return list(Recording(io.BytesIO(data), SEGMENT_SECONDS).segments())


def apart(queue: DecodeQueue, files: list[bytes]) -> None:
    """Decode in the separate process, one file ahead, as when a shard is read."""
    ahead = None
    for data in files:
        recording = queue.put(io.BytesIO(data), "a file")
        if ahead is not None:
            list(ahead.segments())
        ahead = recording
    if ahead is not None:
        list(ahead.segments())


def each(decode: Callable[[bytes], object]) -> Way:
    """Apply ``decode`` to one file after the other."""
    return lambda files: [decode(data) for data in files]


def pyav(data: bytes) -> Samples:
    """Decode with FFmpeg alone."""
    held = []
    with av.open(io.BytesIO(data), "r") as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        for frame in container.decode(audio=0):
            held += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        held += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(held)


def encoded(number: int, rate: int, channels: int, kind: str) -> bytes:
    """Encode 10 s of a voice-like buzz."""
    time_ = np.arange(round(SECONDS * rate)) / rate
    rng = np.random.default_rng(number)
    phase = 2 * np.pi * (rng.uniform(80, 250) * time_ + 30.0 * np.sin(2 * np.pi * time_))
    buzz = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 20))
    loudness = 0.1 * (1.0 + np.sin(2 * np.pi * 4.0 * time_))
    samples = (loudness * buzz + 0.001 * rng.standard_normal(len(time_))).astype(np.float32)
    both = np.repeat(samples[:, None], channels, axis=1)
    file = io.BytesIO()
    container, _, encoding = kind.partition("/")
    if encoding:
        soundfile.write(file, both, rate, format=container, subtype=encoding)
        return file.getvalue()
    with av.open(file, "w", format="mp4") as target:
        stream: Any = target.add_stream(kind, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            target.mux(packet)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
