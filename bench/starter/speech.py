"""The recordings that the starter encoder is trained on, unchanged and through codecs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from bench.codecs import Encode, Recording, by_ffmpeg, by_soundfile
from detector.audio import SAMPLE_RATE, decode

# Channels between a voice and an archive, at the rates of telephones and web pages.
CODECS: tuple[Encode, ...] = (
    by_ffmpeg("mp3", "libmp3lame", bits=32_000),
    by_ffmpeg("mp3", "libmp3lame", 44_100, bits=96_000),
    by_ffmpeg("ogg", "libopus", 48_000, bits=16_000),
    by_ffmpeg("ogg", "libopus", 48_000, bits=32_000),
    by_ffmpeg("mp4", "aac", 44_100, bits=64_000),
    by_soundfile("OGG", "VORBIS"),
    by_soundfile("WAV", "ULAW", 8_000),
)
RATES = (8_000, 11_025, 22_050)


@dataclass(frozen=True)
class Utterance:
    """A recording of the `train` split; label and group are used by the probe, never by the pretraining.

    Parameters
    ----------
    samples : int16 array of shape (n_samples,)
        16 kHz mono.
    label, group : str
        `bonafide` or `spoof`; the source of the recording.
    """

    samples: Recording
    label: str
    group: str


def training_split(corpus: Path) -> list[Utterance]:
    """Read the recordings of ``corpus`` whose `split` is `train`, in the order of `metadata.csv`."""
    with (corpus / "metadata.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    return [
        Utterance(
            np.asarray(soundfile.read(corpus / row["file"], dtype="int16")[0]),
            row["label"],
            row["source"],
        )
        for row in rows
    ]


def degraded(samples: Recording, rng: np.random.Generator) -> Recording:
    """Pass ``samples`` through a codec or another sample rate and back; the result is aligned with the input.

    A codec's delay is found by correlation and removed, because the targets are those of the clean frames.
    """
    choice = int(rng.integers(len(CODECS) + len(RATES)))
    if choice >= len(CODECS):
        rate = RATES[choice - len(CODECS)]
        there = soxr.resample(samples, SAMPLE_RATE, rate)
        return _aligned(soxr.resample(there, rate, SAMPLE_RATE), samples)
    _, blocks = decode(io.BytesIO(CODECS[choice](samples, SAMPLE_RATE)))
    sound = np.concatenate(list(blocks))
    return _aligned(np.asarray(np.clip(sound * 32_768.0, -32_768, 32_767), np.int16), samples)


def _aligned(sound: Recording, clean: Recording) -> Recording:
    n = 1 << (len(sound) + len(clean) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(sound.astype(np.float32), n) * np.conj(np.fft.rfft(clean.astype(np.float32), n)))
    lag = int(np.argmax(product))
    lag = lag - n if lag > n // 2 else lag
    moved = sound[lag:] if lag >= 0 else np.concatenate([np.zeros(-lag, np.int16), sound])
    return np.concatenate([moved[: len(clean)], np.zeros(max(0, len(clean) - len(moved)), np.int16)])


def crops(
    lengths: npt.NDArray[np.int64], n_samples: int, batch: int, rng: np.random.Generator
) -> Iterator[list[tuple[int, int]]]:
    """Yield endless batches of (recording, first sample): a crop of each recording per epoch; short ones start at 0."""
    while True:
        order = rng.permutation(len(lengths))
        for at in range(0, len(order) - batch + 1, batch):
            yield [
                (int(row), int(rng.integers(max(1, lengths[row] - n_samples + 1)))) for row in order[at : at + batch]
            ]
