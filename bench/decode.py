"""Compare our decode to 16 kHz mono with soundfile and librosa, PyAV alone and torchcodec, by codec, on one core.

python -m bench.decode                    (pip install -e '.[bench]' brings the other libraries)

The files are 10 s of a voice-like buzz in noise, in memory. One process measures all, in the order A B C … C B A, in
--rounds rounds. The table gives seconds of audio decoded in a second: the median, the lowest and the highest round.

- ours: :class:`detector.recording.Recording`, as an encoder gets it: digest, decode, mean of channels, soxr HQ, cut.
- apart: the same in the decoder process, as a job does it; two processes are at work.
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
from detector.audio import SAMPLE_RATE
from detector.decoders import Samples
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
"""By name: rate, channels, and the name in soundfile (`container/encoding`) or FFmpeg."""

Way = Callable[[list[bytes]], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all ways, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.decode", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        ways = ways_to_decode(queue)
        print(f"{options.files} files of {SECONDS:g} s, {options.rounds} rounds; {machine('cpu')}\n")
        print(f"| | {' | '.join(ways)} |\n| --- |{' --- |' * len(ways)}")
        for codec, how in CODECS.items():
            files = [encoded(number, *how) for number in range(options.files)]
            speeds = measure(ways, files, options.rounds)
            print(f"| {codec} | {' | '.join(speeds.values())} |", flush=True)
    return 0


def measure(ways: dict[str, Way], files: list[bytes], rounds: int) -> dict[str, str]:
    """Return the speed of each way, or the error that it raised."""
    times: dict[str, list[float]] = {}
    cells: dict[str, str] = {}
    for name, way in ways.items():
        try:
            way(files[:1])
            times[name] = []
        except Exception as error:  # that a library does not read a format is a result, too
            cells[name] = f"– ({type(error).__name__})"
    for _ in range(rounds):
        for name in (*times, *reversed(times)):
            start = time.perf_counter()
            ways[name](files)
            times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        speeds = len(files) * SECONDS / np.array(seconds).reshape(-1, 2).mean(axis=1)
        cells[name] = interval(speeds, digits=0)
    return {name: cells[name] for name in ways}


def ways_to_decode(queue: DecodeQueue) -> dict[str, Way]:
    """Return the ways whose libraries can be loaded."""
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
    except (ImportError, OSError, RuntimeError) as error:  # its wheel needs CUDA's libraries, or FFmpeg's
        print(f"torchcodec is not measured: {error}\n")
    return ways


def ours(data: bytes) -> list[Samples]:
    """Decode in this process."""
    return list(Recording(io.BytesIO(data), SEGMENT_SECONDS).segments())


def apart(queue: DecodeQueue, files: list[bytes]) -> None:
    """Decode in the decoder process, one file ahead, as a shard is read."""
    ahead = None
    for data in files:
        recording = queue.put(io.BytesIO(data), "a file")
        if ahead is not None:
            list(ahead.segments())
        ahead = recording
    if ahead is not None:
        list(ahead.segments())


def each(decode: Callable[[bytes], object]) -> Way:
    """Decode one file after the other."""
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
    """Return a file of 10 s."""
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
