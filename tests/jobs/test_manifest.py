"""manifest: what is listed, with labels, and back as an input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from detector.schema import MANIFEST
from jobs import archive
from jobs.archive import InputConfig
from tests.conftest import encoded, tone, write_tar

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A tar of two recordings and a note, and a loose file."""
    flac = encoded(tone(0.5))
    write_tar(tmp_path / "0.tar", {"a.flac": flac, "a.txt": b"", "b.wav": b"??"})
    (tmp_path / "c.flac").write_bytes(flac)
    return tmp_path


def test_a_manifest_lists_recordings_with_their_labels_and_is_an_input(recordings: Path, bonafide: Run) -> None:
    (recordings / "labels.csv").write_text(
        f"utterance_id,label,system\n{recordings}/0.tar#a.flac,spoof,tts\n{recordings}/c.flac,bonafide,\nelse,spoof,x\n"
    )
    path = recordings / "manifest.parquet"

    code, out, _ = bonafide("manifest", "--input", recordings, "--labels", recordings / "labels.csv", "--output", path)

    table = pq.read_table(path)
    assert code == 0
    assert "3 recordings in 2 shards, 2 with a label" in out
    assert table.schema == MANIFEST
    rows = {row["utterance_id"].rsplit("/", 1)[1]: row for row in table.to_pylist()}
    assert {name: (row["member"], row["label"], row["system"]) for name, row in rows.items()} == {
        "0.tar#a.flac": ("a.flac", "spoof", "tts"),
        "0.tar#b.wav": ("b.wav", None, None),
        "c.flac": (None, "bonafide", None),
    }
    again = archive.find(InputConfig(manifest=str(path)))
    assert [name for name, _ in again.tars[0].names or ()] == ["a.flac", "b.wav"]
    assert [each.uri for each in again.files] == [str(recordings / "c.flac")]


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        ("utterance_id,label\nnobody,spoof\n", "none of 1 labelled ids"),
        ("utterance_id,label\nx,0\n", "Write the words"),
        ("id,label\nx,spoof\n", "no column `utterance_id`"),
    ],
)
def test_labels_that_do_not_fit_are_refused(recordings: Path, bonafide: Run, labels: str, cause: str) -> None:
    (recordings / "labels.csv").write_text(labels)

    code, _, err = bonafide(
        "manifest", "--input", recordings, "--labels", recordings / "labels.csv", "--output", recordings / "m.parquet"
    )

    assert code == 65
    assert cause in err.splitlines()[-1]
    assert not (recordings / "m.parquet").exists()


def test_a_tar_that_cannot_be_listed_to_its_end_gives_no_manifest(recordings: Path, bonafide: Run) -> None:
    tar = recordings / "0.tar"
    tar.write_bytes(tar.read_bytes()[:1_000])

    code, _, err = bonafide("manifest", "--input", tar, "--output", recordings / "m.parquet")

    assert code == 65
    assert "a manifest must be whole" in err.splitlines()[-1]
