"""demo: the whole chain on a small archive that it makes, in about a minute and without a network.

The encoder is the starter's. The voices are artificial: harmonics under formants, with the jitter and breath of a
person or the evenness of a machine. They show what the tables look like, not how good the method is.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import soundfile

from detector.audio import SAMPLE_RATE
from detector.errors import ConfigError
from detector.head import Head
from detector.schema import BONAFIDE, SPOOF
from jobs.reports.evaluation.evaluation import EvaluationConfig, write_report
from jobs.verbs import embed, fit, nightly

log = logging.getLogger(__name__)

SEED = 2309_05384
MADE_BY_US = ".bonafide-demo"
N_GROUPS = 6  # speakers, and synthesisers
N_TRAINING = 20  # recordings of each
N_TONIGHT = 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Run the whole chain on a small artificial archive: embed, fit, nightly, evaluate."""

    output: Annotated[str, "local folder for the archive, the tables and the report; made anew each time"] = (
        "bonafide-demo"
    )


def run(settings: Settings) -> int:
    """Run the demo, and say where its results are; return the exit code."""
    folder = _fresh(Path(settings.output).absolute())
    rng = np.random.default_rng(SEED)
    training, tonight = folder / "training", folder / "archive"
    labels = folder / "labels.csv"
    with labels.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["utterance_id", "label", "split", "system", "speaker"])
        table.writerows(_write_shards(training, _voices(rng, N_TRAINING), "train"))
        table.writerows(_write_shards(tonight, [*_voices(rng, N_TONIGHT), *_oddities(rng)], "eval"))
    output, head = str(folder / "tables"), str(folder / "head.json")
    log.info("demo 1 of 4: embed %s", training)
    encoder = Head.starter().embed_config
    embed.run(embed.Settings(input=(str(training),), output=str(folder / "training-tables"), **asdict(encoder)))
    log.info("demo 2 of 4: fit a head")
    fit.run(fit.Settings(embeddings=(str(folder / "training-tables"),), labels=str(labels), output=head))
    log.info("demo 3 of 4: the night's run over %s", tonight)
    nightly.run(nightly.Settings(input=(str(tonight),), head=head, output=output))
    log.info("demo 4 of 4: evaluate")
    write_report(EvaluationConfig(scores=(output,), labels=str(labels), output=str(folder)))
    _say(Path(output))
    shown = Path(settings.output)
    (page,) = sorted((folder / "tables" / "runs").glob("*.html"))
    print(
        f"page: {shown / page.relative_to(folder)}\nreport: {shown / 'report.html'}\n"
        f"tables: {shown / 'tables'}/{{embeddings,scores,failures}}/**/*.parquet"
    )
    return 0


def _say(output: Path) -> None:
    scores = pq.read_table(output / "scores").to_pylist()
    failures = pq.read_table(output / "failures").to_pylist()
    rejected = [row["reject_reason"] for row in scores if row["reject"]]
    reasons = ", ".join(f"{rejected.count(reason)} {reason}" for reason in sorted(set(rejected)))
    failed = ", ".join(f"{row['member']} {row['error']}" for row in sorted(failures, key=lambda row: row["member"]))
    accepted = [row["label"] for row in scores if not row["reject"]]
    print(
        f"\nthe demo's artificial archive of {len(scores) + len(failures)} recordings:\n"
        f"scored: {accepted.count(BONAFIDE)} bonafide, {accepted.count(SPOOF)} spoof\n"
        f"rejected: {len(rejected)} ({reasons})\n"
        f"failed: {len(failures)} ({failed})"
    )


def _fresh(folder: Path) -> Path:
    """An empty folder; only one that an earlier demo made is removed."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MADE_BY_US).exists():
            raise ConfigError(f"{folder}: not empty, and not made by the demo. Give another --output.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MADE_BY_US).touch()
    return folder


Recording = tuple[str, bytes, str | None, str]  # member, bytes, label (None where there is none), group


def _voices(rng: np.random.Generator, count: int) -> Iterator[Recording]:
    for group in range(N_GROUPS):
        for label in (BONAFIDE, SPOOF):
            for number in range(count):
                # how human: people breathe and waver more, with an overlap in which nobody can tell
                wavering = rng.uniform(0.3, 1.0) if label == BONAFIDE else rng.uniform(0.0, 0.5)
                samples = voice(rng, rng.uniform(1.5, 3.0), rng.uniform(80.0, 250.0), wavering)
                name = f"{'speaker' if label == BONAFIDE else 'system'}-{group}"
                yield f"{label}/{name}/{number:03d}.flac", _file(samples), label, name


def _oddities(rng: np.random.Generator) -> Iterator[Recording]:
    """What every archive has: a click, silence, a web page under an audio name, a cut file."""
    yield "odd/click.wav", _file(rng.normal(0, 0.1, 300), "WAV"), None, ""
    yield "odd/silence.flac", _file(np.zeros(2 * SAMPLE_RATE)), None, ""
    yield "odd/error-page.mp3", b"<!doctype html><title>404 Not Found</title>", None, ""
    yield "odd/cut.flac", _file(voice(rng, 2.0, 120.0, 0.5))[:-4_000], None, ""


def voice(rng: np.random.Generator, seconds: float, pitch: float, wavering: float) -> npt.NDArray[np.float64]:
    """A voice-like sound: harmonics of a pitch under three formants, in syllables, with breath.

    Parameters
    ----------
    rng : numpy.random.Generator
    seconds : float
    pitch : float
        Mean fundamental, Hz.
    wavering : float
        0 is a machine: even pitch and no breath; 1 is a person.

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


def _file(samples: npt.NDArray[np.float64], kind: str = "FLAC") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format=kind, subtype="PCM_16")
    return file.getvalue()


def _write_shards(folder: Path, recordings: Iterator[Recording] | list[Recording], split: str) -> list[list[str]]:
    """Write two tar shards; return a row of labels for each recording that has one."""
    folder.mkdir()
    rows = []
    paths = [folder / f"{index:04d}.tar" for index in range(2)]
    tars = [tarfile.open(path, "w") for path in paths]  # noqa: SIM115 - closed below
    for number, (member, content, label, group) in enumerate(recordings):
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tars[number % 2].addfile(info, io.BytesIO(content))
        if label is not None:
            name = f"{os.fspath(paths[number % 2])}#{member}"
            rows.append([name, label, split, group if label == SPOOF else "-", group if label == BONAFIDE else "-"])
    for tar in tars:
        tar.close()
    return rows
