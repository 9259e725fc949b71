"""A name in an archive gives no recording the id of another one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError
from jobs.inputs.archive import find
from jobs.inputs.config import InputConfig
from jobs.inputs.id_spelling import name_in_id, spelt_in_id
from jobs.inputs.utterance_ids import refuse_shared, root_of, utterance_id
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    "name", ["1.tar#a.flac", "a.TGZ#x.wav", "x##a.flac", "c.flac@0-5", "c.flac@1.5-end/ch0", "x.wav/ch12"]
)
def test_what_reads_as_a_part_is_spelt_out_and_can_be_read_back(name: str) -> None:
    assert "\\x" in spelt_in_id(name)
    assert name_in_id(spelt_in_id(name)) == name


def test_every_name_has_a_spelling_of_its_own() -> None:
    rng = random.Random(5)
    pieces = ["1.tar", "#", "##", "@0-5", "/ch1", "\\", "x23", "x40", "x2f", "x5c", "a"]
    names = {"".join(rng.choices(pieces, k=rng.randint(1, 6))) for _ in range(20_000)}

    assert len({spelt_in_id(name) for name in names}) == len(names)
    assert [name for name in names if name_in_id(spelt_in_id(name)) != name] == []


@pytest.mark.parametrize("name", ["take #2.wav", "me@home.wav", "2026/ch1/a.wav", "a.tar", "x@1-2.wav", "tar#a.wav"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert spelt_in_id(name) == name


def test_no_file_and_no_member_has_the_id_of_a_member_whatever_their_names() -> None:
    # all names of up to five signs that can be mistaken for one another, as files and as members of one another
    signs = ["x", "#", ".tar", "@0-1"]
    names = ["".join(each) for n in (1, 2, 3) for each in itertools.product(signs, repeat=n)]
    files = [(f"s3://b/{name}", None) for name in ("".join(each) for each in itertools.product(signs, repeat=5))]
    files += [(f"s3://b/{name}", None) for name in names]
    members = [(f"s3://b/{name}", member) for name in names for member in names]

    assert len({utterance_id(*each) for each in files + members}) == len(files) + len(members)


def test_the_folder_of_a_name_that_is_spelt_out_is_found() -> None:
    uri = "s3://archive/2026/1.tar#a.flac"

    assert root_of(uri, utterance_id(uri, None, root="s3://archive/2026/")) == "s3://archive/2026/"
    assert root_of(uri, utterance_id(uri, None)) == ""


def test_a_file_doubles_no_id_of_a_member_of_a_tar_without_a_suffix(tmp_path: Path) -> None:
    write_tar(tmp_path / "x", {"a.flac": encoded(tone(0.5))})
    for name in ("x#a.flac", "x##a.flac"):
        (tmp_path / name).write_bytes(encoded(tone(0.5, seed=1)))
    (tmp_path / "list.csv").write_text("uri,member\nx,a.flac\n")

    found = find(InputConfig(input=(str(tmp_path), f"{tmp_path}/list.csv")), relative=True)

    assert [name for shard in found.shards() for _, name in shard.ids()] == ["x##a.flac", r"x#\x23a.flac", "x#a.flac"]


def test_an_id_that_a_list_states_for_a_member_is_no_other_recordings(tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tar", {"a.flac": encoded(tone(0.5))})
    (tmp_path / "b.flac").write_bytes(encoded(tone(0.5, seed=1)))
    (tmp_path / "list.csv").write_text("uri,member,utterance_id\n1.tar,a.flac,b.flac\n")

    found = find(InputConfig(input=(f"{tmp_path}/b.flac", f"{tmp_path}/list.csv")), relative=True)

    with pytest.raises(ConfigError, match=r"1\.tar and .*b\.flac share the utterance id 'b\.flac'"):
        refuse_shared(found.ids())


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
    code, _, err = bonafide("erase", "1.tar#a.flac", "--output", output)
    assert code == 0, err
    assert ids() == []
