"""Labelled recordings of artificial voices, in place of a user's own corpus; they are made in a second.

A voice is a series of harmonics under formants, with the jitter and breath of a person or the even pitch of a machine.
"""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from detector.audio import SAMPLE_RATE
from detector.schema import BONAFIDE, SPOOF

SEED = 2309_05384
N_GROUPS = 6  # speakers, and as many synthesisers
N_TRAINING = 20  # recordings of each group
N_NEW = 4


def write_corpus(folder: Path) -> None:
    """Write recordings to train on, new ones to score, and the labels of both; the same bytes each time."""
    rng = np.random.default_rng(SEED)
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["utterance_id", "label", "split", "system", "speaker"])
        table.writerows(_write_shards(folder / "training", ("0000", "0001"), _voices(rng, N_TRAINING), "train"))
        table.writerows(_write_shards(folder / "new", ("0002", "0003"), _voices(rng, N_NEW), "eval"))


Recording = tuple[str, bytes, str, str]  # member, bytes, label, group


def _voices(rng: np.random.Generator, count: int) -> Iterator[Recording]:
    for group in range(N_GROUPS):
        for label in (BONAFIDE, SPOOF):
            for number in range(count):
                # people waver more than machines; the two ranges overlap, so that some recordings are uncertain
                wavering = rng.uniform(0.3, 1.0) if label == BONAFIDE else rng.uniform(0.0, 0.5)
                samples = voice(rng, rng.uniform(1.5, 3.0), rng.uniform(80.0, 250.0), wavering)
                name = f"{'speaker' if label == BONAFIDE else 'system'}-{group}"
                yield f"{label}/{name}/{number:03d}.flac", _file(samples), label, name


def voice(rng: np.random.Generator, seconds: float, pitch: float, wavering: float) -> npt.NDArray[np.float64]:
    """Make a voice-like sound: harmonics of a pitch under three formants, in syllables, with breath.

    Parameters
    ----------
    rng : numpy.random.Generator
    seconds : float
    pitch : float
        Mean fundamental, Hz.
    wavering : float
        From 0, a machine with even pitch and no breath, to 1, a person.

    Returns
    -------
    float64 array of shape (n_samples,)
        16 kHz, peak 0.7.
    """
    n_samples = round(seconds * SAMPLE_RATE)
    time = np.arange(n_samples) / SAMPLE_RATE
    drift = np.cumsum(rng.normal(0.0, 1.0, n_samples)) / np.sqrt(SAMPLE_RATE)
    phase = 2 * np.pi * np.cumsum(pitch * (1.0 + 0.05 * np.sin(2 * np.pi * 0.7 * time) + 0.06 * wavering * drift))
    phase /= SAMPLE_RATE
    formants = np.array([500.0, 1500.0, 2500.0]) * rng.uniform(0.9, 1.1, 3)
    harmonics = np.arange(1, int(7_000 / pitch))
    gains = (1.0 / (1.0 + ((harmonics[:, None] * pitch - formants) / 200.0) ** 2)).sum(axis=1) / harmonics**0.5
    tones = sum(gain * np.sin(number * phase) for number, gain in zip(harmonics, gains, strict=True))
    syllables = 0.15 + 0.85 * np.sin(np.pi * 2.0 * rng.uniform(0.8, 1.2) * time) ** 2
    sound = syllables * (tones + (0.02 + 0.4 * wavering) * rng.normal(0.0, 1.0, n_samples))
    return np.asarray(0.7 * sound / np.abs(sound).max())


def _file(samples: npt.NDArray[np.float64]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _write_shards(folder: Path, names: tuple[str, str], recordings: Iterator[Recording], split: str) -> list[list[str]]:
    """Write two tar shards; return a row of labels for each recording."""
    folder.mkdir()
    rows = []
    paths = [folder / f"{name}.tar" for name in names]
    tars = [tarfile.open(path, "w") for path in paths]  # noqa: SIM115 - closed below
    for number, (member, content, label, group) in enumerate(recordings):
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tars[number % 2].addfile(info, io.BytesIO(content))
        name = f"{paths[number % 2].name}#{member}"
        rows.append([name, label, split, group if label == SPOOF else "-", group if label == BONAFIDE else "-"])
    for tar in tars:
        tar.close()
    return rows
