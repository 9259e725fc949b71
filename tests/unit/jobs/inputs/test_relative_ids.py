"""Relative ids: the path below the `--input` that a recording was found in; a copy of an archive has the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.inputs.archive import Archive, find
from jobs.inputs.config import InputConfig
from jobs.inputs.manifest import list_recordings
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two loose files and a tar of one recording."""
    folder = tmp_path / "archive"
    (folder / "calls").mkdir(parents=True)
    write_tar(folder / "0.tar", {"x/a.flac": encoded(tone(0.2))})
    (folder / "b.wav").write_bytes(b"listing opens nothing")
    (folder / "calls" / "c.wav").write_bytes(b"listing opens nothing")
    return folder


def found(*inputs: str | Path) -> Archive:
    return find(InputConfig(input=tuple(map(str, inputs))), relative=True)


def ids(archive: Archive) -> list[str]:
    """The ids of an archive as far as they are known before it is read."""
    return [name for shard in archive.shards() for _, name in shard.ids()]


def manifest_ids(*inputs: str | Path) -> list[str]:
    table, _ = list_recordings(InputConfig(input=tuple(map(str, inputs)), ids="relative"))
    return sorted(table["utterance_id"].to_pylist())


def test_an_id_is_the_path_below_the_input_whatever_its_kind(archive: Path) -> None:
    assert ids(found(archive)) == ["0.tar", "b.wav", "calls/c.wav"]
    assert ids(found(f"{archive}/")) == ["0.tar", "b.wav", "calls/c.wav"]
    assert ids(found(archive / "calls" / "c.wav")) == ["c.wav"]
    assert ids(found(f"{archive}/c*/*.wav")) == ["calls/c.wav"]
    assert ids(found(f"{archive}/calls/*.wav")) == ["c.wav"]
    assert manifest_ids(archive) == ["0.tar#x/a.flac", "b.wav", "calls/c.wav"]


def test_a_copy_of_an_archive_has_the_same_ids_also_in_a_bucket(archive: Path, tmp_path: Path, s3_root: str) -> None:
    shutil.copytree(archive, tmp_path / "elsewhere" / "deep")
    for path in archive.rglob("*.*"):
        storage.write_bytes(f"{s3_root}/{path.relative_to(archive)}", path.read_bytes())

    assert manifest_ids(archive) == manifest_ids(tmp_path / "elsewhere" / "deep") == manifest_ids(s3_root)


def test_an_object_of_two_inputs_is_named_by_the_outer_one(archive: Path) -> None:
    assert ids(found(archive / "calls", archive)) == ids(found(archive, archive / "calls")) == ids(found(archive))


def test_a_manifest_of_two_inputs_with_the_same_path_is_refused_with_the_ways_out(
    archive: Path, tmp_path: Path
) -> None:
    shutil.copytree(archive, tmp_path / "copy")

    with pytest.raises(ConfigError) as error:
        manifest_ids(archive, tmp_path / "copy")

    assert f"{archive}/0.tar and {tmp_path}/copy/0.tar share the utterance id '0.tar'" in str(error.value)
    assert f"Give {tmp_path}/ as --input" in str(error.value)
    assert "--ids absolute" in str(error.value)


def test_a_list_names_its_recordings_or_their_paths_below_its_folder_do(archive: Path, tmp_path: Path) -> None:
    (archive / "list.csv").write_text(f"uri,utterance_id\ncalls/c.wav,\nb.wav,mine\n{tmp_path}/outside.wav,\n")
    (tmp_path / "outside.wav").write_bytes(b"listing opens nothing")

    assert sorted(ids(found(archive / "list.csv"))) == sorted(["calls/c.wav", "mine", f"{tmp_path}/outside.wav"])


def test_a_name_that_is_not_utf_8_keeps_its_escaped_spelling(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    Path(f"{tmp_path}/archive/caf\udce9.wav").write_bytes(b"listing opens nothing")

    assert ids(found(tmp_path / "archive")) == [r"caf\xe9.wav"]


def test_a_recording_keeps_the_id_that_it_was_planned_with_from_another_input(archive: Path) -> None:
    planned = found(archive).shards()

    deeper = found(archive / "calls").keeping_ids(planned)
    outer = found(archive.parent).keeping_ids(planned)

    assert ids(deeper) == ["calls/c.wav"]
    assert ids(outer) == ["0.tar", "b.wav", "calls/c.wav"]


def test_objects_that_a_list_named_from_outside_keep_their_absolute_ids(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"uri\n{archive}/0.tar\n{archive}/b.wav\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "list.csv").rename(tmp_path / "lists" / "list.csv")
    planned = found(tmp_path / "lists" / "list.csv").shards()

    now = found(archive).keeping_ids(planned)

    assert ids(now) == [f"{archive}/0.tar", f"{archive}/b.wav", "calls/c.wav"]
    assert now.containers[0] == planned[0]


def test_ids_of_a_corpus_are_relative_to_its_folder(tmp_path: Path, bonafide: Run) -> None:
    folder = tmp_path / "somewhere" / "release_in_the_wild"
    folder.mkdir(parents=True)
    (folder / "meta.csv").write_text("file,speaker,label\n0.wav,Ada,bona-fide\n1.wav,Ada,spoof\n")
    for name in ("0.wav", "1.wav"):
        (folder / name).write_bytes(encoded(tone(0.1), kind="WAV"))
    manifest = tmp_path / "manifest.parquet"

    listing = ("manifest", "--corpus", "in-the-wild", "--input", folder.parent, "--ids", "relative")
    code, _, err = bonafide(*listing, "--output", manifest)

    assert code == 0, err
    assert pq.read_table(manifest)["utterance_id"].to_pylist() == [
        "release_in_the_wild/0.wav",
        "release_in_the_wild/1.wav",
    ]
