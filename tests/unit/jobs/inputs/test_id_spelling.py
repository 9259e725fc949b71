"""A name in an archive gives no recording the id of another one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.inputs.id_spelling import name_in_id, spelt_in_id
from jobs.inputs.utterance_ids import root_of, utterance_id
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", ["1.tar#a.flac", "a.TGZ#x.wav", "c.flac@0-5", "c.flac@1.5-end/ch0", "x.wav/ch12"])
def test_what_reads_as_a_part_is_spelt_out_and_can_be_read_back(name: str) -> None:
    assert "\\x" in spelt_in_id(name)
    assert name_in_id(spelt_in_id(name)) == name


def test_every_name_has_a_spelling_of_its_own() -> None:
    rng = random.Random(5)
    pieces = ["1.tar", "#", "@0-5", "/ch1", "\\", "x23", "x40", "x2f", "x5c", "a"]
    names = {"".join(rng.choices(pieces, k=rng.randint(1, 6))) for _ in range(20_000)}

    assert len({spelt_in_id(name) for name in names}) == len(names)
    assert [name for name in names if name_in_id(spelt_in_id(name)) != name] == []


@pytest.mark.parametrize("name", ["take #2.wav", "me@home.wav", "2026/ch1/a.wav", "a.tar", "x@1-2.wav", "tar#a.wav"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert spelt_in_id(name) == name


def test_the_folder_of_a_name_that_is_spelt_out_is_found() -> None:
    uri = "s3://archive/2026/1.tar#a.flac"

    assert root_of(uri, utterance_id(uri, None, root="s3://archive/2026/")) == "s3://archive/2026/"
    assert root_of(uri, utterance_id(uri, None)) == ""


def test_a_file_that_is_called_like_a_member_doubles_no_id_and_either_can_be_erased(
    tmp_path: Path, bonafide: Run
) -> None:
    archive, output = tmp_path / "archive", tmp_path / "tables"
    archive.mkdir()
    write_tar(archive / "1.tar", {"a.flac": encoded(tone(0.5)), "a.flac@0-1": b"", "a.flac@0-1/ch0.flac": b""})
    (archive / "1.tar#a.flac").write_bytes(encoded(tone(0.5, seed=1)))
    embed = ("embed", "--input", archive, "--backbone", "melstats", "--runner", "local")
    assert bonafide(*embed, "--max-failures", 1, "--output", output)[0] == 0

    def ids() -> list[str]:
        tables = (pq.read_table(path, columns=["utterance_id"]) for path in output.glob("embeddings/**/*.parquet"))
        return sorted(name for table in tables for name in table["utterance_id"].to_pylist())

    assert ids() == ["1.tar#a.flac", r"1.tar\x23a.flac"]
    code, _, err = bonafide("erase", r"1.tar\x23a.flac", "--output", output)
    assert code == 0, err
    assert ids() == ["1.tar#a.flac"]
