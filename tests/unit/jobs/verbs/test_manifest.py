"""A manifest lists an archive, takes its labels, and is read back as an input."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from detector.audio import WHOLE
from detector.schema import LABEL_COLUMNS, MANIFEST
from jobs import storage
from jobs.inputs import archive
from jobs.inputs.config import InputConfig
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

Run = Callable[..., tuple[int, str, str]]
FLAC = encoded(tone(0.5))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A tar of two recordings and a note, and a loose file."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    write_tar(folder / "0.tar", {"b.wav": b"??", "a.txt": b"", "a.flac": FLAC})
    (folder / "c.flac").write_bytes(FLAC)
    return folder


@pytest.fixture
def written(tmp_path: Path, bonafide: Run) -> Callable[..., tuple[int, str, str]]:
    """Write a manifest: (exit code, stdout, last line of stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code, out, err = bonafide("manifest", *arguments, "--output", tmp_path / "manifest.parquet")
        return code, out, err.splitlines()[-1] if err else ""

    return run


def labels(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


def test_a_manifest_has_a_row_for_every_recording(recordings: Path, written: Run, tmp_path: Path) -> None:
    code, out, _ = written("--input", recordings)

    table = pq.read_table(tmp_path / "manifest.parquet")
    tar, file = f"{recordings}/0.tar", f"{recordings}/c.flac"
    assert code == 0
    assert out == f"3 recordings in 2 shards, 0 with a label\nmanifest: {tmp_path}/manifest.parquet\n"
    assert table.schema == MANIFEST
    unknown = dict.fromkeys((*LABEL_COLUMNS, "start", "end", "channel"))
    assert table.to_pylist() == [
        {"utterance_id": "0.tar#b.wav", "uri": tar, "member": "b.wav", "bytes": 2, **unknown},
        {"utterance_id": "0.tar#a.flac", "uri": tar, "member": "a.flac", "bytes": len(FLAC), **unknown},
        {"utterance_id": "c.flac", "uri": file, "member": None, "bytes": len(FLAC), **unknown},
    ]


def test_labels_are_joined_by_id_and_those_of_others_are_counted(
    recordings: Path, written: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "utterance_id,label,system\nelse,spoof,x\nc.flac,bonafide,\n0.tar#a.flac,spoof,tts\n"

    with caplog.at_level(logging.WARNING):
        code, out, _ = written("--input", recordings, "--labels", labels(tmp_path, text))

    table = pq.read_table(tmp_path / "manifest.parquet")
    rows = {row["utterance_id"]: row for row in table.to_pylist()}
    assert code == 0
    assert "3 recordings in 2 shards, 2 with a label" in out
    assert "1 of 3 labelled ids are not in the archive" in caplog.text
    assert table.schema == MANIFEST
    assert {name: (row["member"], row["bytes"], row["label"], row["system"]) for name, row in rows.items()} == {
        "0.tar#a.flac": ("a.flac", len(FLAC), "spoof", "tts"),
        "0.tar#b.wav": ("b.wav", 2, None, None),
        "c.flac": (None, len(FLAC), "bonafide", None),
    }


def test_a_manifest_is_an_input_of_the_same_recordings(recordings: Path, written: Run, tmp_path: Path) -> None:
    written("--input", recordings)

    found = archive.find(InputConfig(manifest=f"{tmp_path}/manifest.parquet"))

    (tar,), files, selections = found.containers, found.files, found.selections
    assert tar.names == tuple((name, f"0.tar#{name}") for name in ("a.flac", "b.wav"))
    assert [each.uri for each in files] == [f"{recordings}/c.flac"]
    assert selections == {f"{recordings}/c.flac": (("c.flac", WHOLE),)}


def test_a_manifest_of_a_manifest_is_the_same(recordings: Path, written: Run, tmp_path: Path) -> None:
    written("--input", recordings)
    first = pq.read_table(tmp_path / "manifest.parquet")
    (tmp_path / "manifest.parquet").rename(tmp_path / "first.parquet")

    code, _, _ = written("--manifest", tmp_path / "first.parquet")

    assert code == 0
    assert pq.read_table(tmp_path / "manifest.parquet").equals(first)


def test_a_list_s_ids_and_selection_are_those_of_the_manifest(recordings: Path, written: Run, tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("uri,member,utterance_id\nrecordings/0.tar,a.flac,mine\nrecordings/c.flac,,yours\n")

    code, _, _ = written("--input", listing)

    assert code == 0
    assert pq.read_table(tmp_path / "manifest.parquet")["utterance_id"].to_pylist() == ["mine", "yours"]


def test_rows_of_objects_that_are_missing_stay_in_a_manifest_if_they_are_to_become_failures(
    recordings: Path, written: Run, tmp_path: Path
) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("uri,member\nrecordings/c.flac,\ngone.flac,\ngone.tar,x\nwhole.tar,\n")

    refused, _, _ = written("--input", listing)
    code, _, _ = written("--input", listing, "--missing", "row")

    assert (refused, code) == (65, 0)
    rows = pq.read_table(tmp_path / "manifest.parquet").to_pylist()
    assert {(row["uri"].removeprefix(f"{tmp_path}/"), row["member"], row["bytes"]) for row in rows} == {
        (f"{recordings.name}/c.flac", None, len(FLAC)),
        ("gone.flac", None, 0),
        ("gone.tar", "x", 0),
        ("whole.tar", None, 0),
    }
    again = archive.find(InputConfig(manifest=f"{tmp_path}/manifest.parquet", missing="row"))
    assert [each.sources[0].is_absent for each in again.containers] == [True, True]


def test_a_bucket_is_listed_into_a_bucket(s3_root: str, recordings: Path, bonafide: Run) -> None:
    storage.write_bytes(f"{s3_root}/day/0.tar", (recordings / "0.tar").read_bytes())

    code, _, _ = bonafide("manifest", "--input", f"{s3_root}/day", "--output", f"{s3_root}/manifest.parquet")

    assert code == 0
    assert archive.find(InputConfig(manifest=f"{s3_root}/manifest.parquet")).containers[0].names == tuple(
        (name, f"0.tar#{name}") for name in ("a.flac", "b.wav")
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("utterance_id,label\nnobody,spoof\n", "none of 1 labelled ids is in the archive, first ['nobody']"),
        ("utterance_id,label\nx,0\n", "Write the words"),
        ("id,label\nx,spoof\n", "no column `utterance_id`"),
        ("utterance_id,label\nx,spoof\nx,spoof\n", "occur more than once, first 'x'"),
        ("utterance_id,label\n", "none of 0 labelled ids"),
    ],
)
def test_labels_of_other_recordings_or_malformed_ones_end_with_65(
    recordings: Path, written: Run, tmp_path: Path, text: str, cause: str
) -> None:
    code, _, last = written("--input", recordings, "--labels", labels(tmp_path, text))

    assert code == 65
    assert cause in last
    assert not (tmp_path / "manifest.parquet").exists()


def test_a_tar_that_cannot_be_listed_to_its_end_is_65(recordings: Path, written: Run, tmp_path: Path) -> None:
    tar = recordings / "0.tar"
    tar.write_bytes(tar.read_bytes()[:1_000])

    code, _, last = written("--input", tar)

    assert code == 65
    assert str(tar) in last
    assert "a manifest must be whole" in last
    assert not (tmp_path / "manifest.parquet").exists()


def test_a_missing_listed_member_ends_with_65(recordings: Path, written: Run, tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("uri,member\nrecordings/0.tar,a.flac\nrecordings/0.tar,gone.flac\n")

    code, _, last = written("--input", listing)

    assert code == 65
    assert "gone.flac" in last


def test_a_repeated_member_ends_with_65(written: Run, tmp_path: Path) -> None:
    code, _, last = written("--input", write_tar(tmp_path / "0.tar", [("a.flac", FLAC), ("a.flac", FLAC)]))

    assert code == 65
    assert "first '0.tar#a.flac'" in last


@pytest.mark.parametrize("labelled", [False, True])
def test_an_archive_of_tars_without_audio_is_65(written: Run, tmp_path: Path, labelled: bool) -> None:
    tar = write_tar(tmp_path / "0.tar", {"a.txt": b"hi"})
    flags = ("--labels", labels(tmp_path, "utterance_id,label\na,spoof\n")) if labelled else ()

    code, _, last = written("--input", tar, *flags)

    assert code == 65
    assert str(tmp_path) in last


def test_labels_by_other_paths_are_joined_by_suffix_only_when_asked(
    recordings: Path, written: Run, tmp_path: Path
) -> None:
    listed = labels(tmp_path, "utterance_id,label\n/old/c.flac,bonafide\n/old/0.tar#a.flac,spoof\n")

    code, _, cause = written("--input", recordings, "--labels", listed)
    done, out, _ = written("--input", recordings, "--labels", listed, "--match", "suffix")

    assert code == 65
    assert "--match suffix would join 2 of them by the ends of their paths" in cause
    assert (done, "2 with a label" in out) == (0, True)
