"""A shard, a prefix or a codec is embedded again by its name; all else stays as it is, to the byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError
from jobs.embedding.redo import Redo
from jobs.tables.canaries import read_references
from tests.support.audio import encoded, tone
from tests.support.canaries import archive_in, embed, imitate, objects


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two tars, one of GSM; two loose files, in a folder of their own."""
    archive = archive_in(tmp_path / "archive")
    (archive / "2026").mkdir()
    for number in range(2):
        (archive / "2026" / f"{number}.flac").write_bytes(encoded(tone(2.0, seed=5 + number)))
    return archive


def test_only_what_is_named_is_embedded_again_and_once_a_date(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    embed(archive, output)

    for number, (redo, again) in enumerate(
        [
            (f"shard={archive}/2026/1.flac", ["0.flac", "1.flac"]),  # files that were planned together are one shard
            (f"prefix={archive}/2026/", ["0.flac", "1.flac"]),
            (f"codec=mp3, codec=wav/gsm610, shard={archive}/0.tar", ["0.tar", "1.tar"]),
        ],
        start=2,
    ):
        before, date = objects(output), f"2026-12-{number:02d}"

        run = embed(archive, output, redo=redo, run_date=date)

        after = objects(output)
        assert embed(archive, output, redo=redo, run_date=date).markers == []
        assert objects(output) == after
        new_ids = {marker.detail["run_id"] for marker in run.markers}
        rows = pq.read_table(output / "embeddings", columns=["uri", "run_id"]).to_pylist()
        assert sorted(row["uri"].rpartition("/")[2] for row in rows if row["run_id"] in new_ids) == again
        changed = {name for name, content in before.items() if after[name] != content}
        written = {place for marker in run.markers for place in marker.objects.values()}
        assert changed == written & before.keys()  # in the place of the old rows
        assert {marker.name[-6:] for marker in run.markers} <= {f"{number:06d}"}
        assert len(rows) == 4


def test_a_run_that_was_stopped_goes_on_with_what_it_planned(archive: Path, tmp_path: Path) -> None:
    output, redo = tmp_path / "output", f"prefix={archive}/"
    embed(archive, output)
    run = embed(archive, output, redo=redo)
    lost = run.markers[0]
    (output / "_commits" / run.ledger.name / f"{lost.name}.json").unlink()

    again = embed(archive, output, redo=redo)

    assert [marker.name for marker in again.markers] == [lost.name]


def test_a_run_that_was_stopped_before_its_first_commit_goes_on(archive: Path, tmp_path: Path) -> None:
    output, redo = tmp_path / "output", f"prefix={archive}/2026/"
    embed(archive, output)
    run = embed(archive, output, redo=redo)
    for marker in run.markers:
        (output / "_commits" / run.ledger.name / f"{marker.name}.json").unlink()

    again = embed(archive, output, redo=redo)

    assert [marker.name for marker in again.markers] == [marker.name for marker in run.markers]


def test_rows_that_a_refused_night_would_take_over_are_embedded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, output = tmp_path / "archive", tmp_path / "output"
    archive.mkdir()
    for number in range(3):  # a group of files, which are one shard
        (archive / f"{number}.flac").write_bytes(encoded(tone(2.0, seed=number)))
    ledger = embed(archive, output).ledger
    (reference,) = read_references(ledger)
    moved = {name: vector + np.roll(vector, 1) for name, vector in reference.vectors.items()}
    for path in (output / "_canaries").rglob("*.json"):  # as if numpy had given something else then
        path.write_bytes(replace(reference, vectors=moved, number=0).to_json())
    imitate({"numpy": "9.9"}, monkeypatch)
    (archive / "2.flac").write_bytes(encoded(tone(3.0)))
    with pytest.raises(ConfigError, match=r"--redo (numpy|torch);"):
        embed(archive, output)  # it has planned the group, of which two files are as they were
    assert len(ledger.history().plans) == 2

    run = embed(archive, output, redo="numpy,torch")

    rows = pq.read_table(output / "embeddings", columns=["uri", "run_id"]).to_pylist()
    assert len(rows) == 3
    assert {row["run_id"] for row in rows} == {marker.detail["run_id"] for marker in run.markers}


def test_a_shard_that_nobody_has_read_is_refused(archive: Path, tmp_path: Path) -> None:
    embed(archive, tmp_path / "output")

    with pytest.raises(ConfigError, match=r"shard=s3://elsewhere/0\.tar: no committed shard of .*output has a source"):
        embed(archive, tmp_path / "output", redo="shard=s3://elsewhere/0.tar")


@pytest.mark.parametrize("redo", ["shrad=s3://a/0.tar", "shard=", "mp3,=x"])
def test_a_word_that_says_nothing_is_refused(redo: str) -> None:
    with pytest.raises(ConfigError, match=r"expected codecs, libraries, segments, codec=NAME, prefix=URI"):
        Redo(redo)
