"""The demo's archive: human and synthetic speech that no head here was fitted on, and files that cannot be scored.

`recordings/NOTICE.md` states who speaks, which system speaks, and under which licences.
"""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from detector.audio import SAMPLE_RATE

RECORDINGS = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class DemoArchive:
    """A folder with a container of recordings, and a table of the labels of those that have one."""

    recordings: Path
    labels: Path


def write_archive(folder: Path) -> DemoArchive:
    """Write the demo's recordings and labels into an empty folder; the same bytes each time."""
    archive = DemoArchive(folder / "archive", folder / "labels.csv")
    archive.recordings.mkdir()
    shard = archive.recordings / "0000.tar"
    with (RECORDINGS / "labels.csv").open(newline="") as file:
        labelled = list(csv.DictReader(file))
    with tarfile.open(shard, "w") as tar:
        for member, content in [*((row["member"], _stored(row["member"])) for row in labelled), *_oddities()]:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with archive.labels.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["utterance_id", *list(labelled[0])[1:]])
        table.writerows([f"{shard.name}#{member}", *facts] for member, *facts in map(dict.values, labelled))
    return archive


def _oddities() -> Iterator[tuple[str, bytes]]:
    """Yield a click, silence, a web page with the name of an audio file, and a truncated file."""
    yield "odd/click.wav", _file(np.random.default_rng(0).normal(0, 0.1, 300), "WAV")
    yield "odd/silence.flac", _file(np.zeros(2 * SAMPLE_RATE))
    yield "odd/error-page.mp3", b"<!doctype html><title>404 Not Found</title>"
    yield "odd/cut.flac", _stored("human/librivox-sonnet-1.flac")[:-20_000]


def _stored(member: str) -> bytes:
    return (RECORDINGS / member).read_bytes()


def _file(samples: np.ndarray, kind: str = "FLAC") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format=kind, subtype="PCM_16")
    return file.getvalue()
