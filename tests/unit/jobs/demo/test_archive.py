"""The demo's recordings may be passed on, are small, and mostly get a verdict that is right."""

from __future__ import annotations

import csv
import fnmatch
import re
import tarfile
from pathlib import Path

from detector import Detector
from jobs.demo.archive import RECORDINGS, write_archive

MEGABYTE = 1_000_000


def labelled() -> dict[str, str]:
    with (RECORDINGS / "labels.csv").open(newline="") as file:
        return {row["member"]: row["label"] for row in csv.DictReader(file)}


def test_every_recording_has_a_label_and_a_licence() -> None:
    stored = {path.relative_to(RECORDINGS).as_posix() for path in RECORDINGS.glob("*/*.flac")}
    table = [line.split("|") for line in (RECORDINGS / "NOTICE.md").read_text().splitlines() if line.startswith("| `")]
    licences = {re.sub("[` ]", "", row[1]): row[-2].strip() for row in table}

    assert set(labelled()) == stored
    for member in stored:
        (licence,) = [of for name, of in licences.items() if fnmatch.fnmatch(member.removesuffix(".flac"), name)]
        assert licence in ("public domain", "CC BY 4.0", "CC0 1.0", "Apache-2.0", "CC BY 3.0 (voice)")


def test_the_recordings_take_at_most_3_megabytes() -> None:
    assert sum(path.stat().st_size for path in RECORDINGS.rglob("*") if path.is_file()) <= 3 * MEGABYTE


def test_most_recordings_are_decided_and_most_of_these_rightly() -> None:
    detector = Detector.load()
    verdicts = {member: detector.score((RECORDINGS / member).read_bytes()) for member in labelled()}

    decided = {member: verdict.label for member, verdict in verdicts.items() if not verdict.reject}
    right = [member for member, label in decided.items() if label == labelled()[member]]
    assert len(decided) > len(verdicts) / 2
    assert len(right) > 0.75 * len(decided)


def test_the_archive_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    archives = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        archives.append(write_archive(tmp_path / name).recordings / "0000.tar")

    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as tar:
        assert [name for name in tar.getnames() if name.startswith("odd/")] == [
            "odd/click.wav",
            "odd/silence.flac",
            "odd/error-page.mp3",
            "odd/cut.flac",
        ]
