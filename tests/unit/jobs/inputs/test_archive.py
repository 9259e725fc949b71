"""Finding: `--input` names containers and loose files, each listed once, which become shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.audio import WHOLE, Excerpt
from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.inputs.archive import Archive, find
from jobs.inputs.config import InputConfig
from jobs.inputs.shards import Portion, Shard
from jobs.inputs.utterance_ids import refuse_shared, utterance_id
from tests.support.audio import encoded, tone


def put(folder: str | Path, *names: str) -> None:
    for name in names:
        storage.write_bytes(f"{folder}/{name}", b"listing opens nothing")


def found(*inputs: str | Path) -> Archive:
    return find(InputConfig(input=tuple(map(str, inputs))))


def names(archive: Archive, root: str | Path) -> list[str]:
    """Return the URIs of an archive, relative to ``root``."""
    uris = [shard.sources[0].uri for shard in archive.containers] + [stored.uri for stored in archive.files]
    return [uri.removeprefix(f"{root}/") for uri in uris]


def listed(folder: Path, content: str, name: str = "list.csv") -> Path:
    (folder / name).write_text(content)
    return folder / name


def test_a_folder_gives_its_tars_and_audio_files_and_counts_the_rest(root: str) -> None:
    put(root, "b/1.TAR", "0.tar", "b/c.WAV", "a.flac", "notes.txt", "._a.flac", "2.7z")

    archive = found(root)

    assert names(archive, root) == ["0.tar", "b/1.TAR", "a.flac", "b/c.WAV"]
    assert all(shard.kind == "tar" and shard.names is None for shard in archive.containers)
    key = storage.key_of(root)
    assert archive.passed_over.to_content() == {
        "._*": {"count": 1, "examples": [f"{key}/._a.flac"]},
        ".7z": {"count": 1, "examples": [f"{key}/2.7z"]},
        ".txt": {"count": 1, "examples": [f"{key}/notes.txt"]},
    }


def test_a_file_whose_suffix_says_nothing_is_a_recording_if_its_first_bytes_are_those_of_audio(root: str) -> None:
    recording = encoded(tone(0.1), kind="WAV")
    for name in ("call.17", "recording", "voice.bin", "._fork.wav", "hidden.json"):
        storage.write_bytes(f"{root}/{name}", recording)
    for name in ("weights.bin", "README", "empty"):
        storage.write_bytes(f"{root}/{name}", b"no recording" if name != "empty" else b"")

    archive = found(root)

    assert names(archive, root) == ["._fork.wav", "call.17", "recording", "voice.bin"]
    counts = {suffix: each["count"] for suffix, each in archive.passed_over.to_content().items()}
    assert counts == {"(no suffix)": 2, ".bin": 1, ".json": 1}


def test_an_object_that_a_list_names_is_not_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "call.17", "call.18")
    listing = listed(tmp_path, "uri\ncall.17\n")

    archive = found(tmp_path, listing)

    assert names(archive, tmp_path) == ["call.17"]
    assert set(archive.passed_over.to_content()) == {".18", ".csv"}


def test_parquet_tables_without_recordings_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.flac")
    pq.write_table(pa.table({"utterance_id": ["a"]}), tmp_path / "labels.parquet")

    assert found(tmp_path).passed_over.to_content()[".parquet"]["count"] == 1


def test_a_prefix_that_ends_with_a_slash_is_listed_without_a_head_request(
    s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a role that may only read below the prefix would get 403, not 404
    put(s3_root, "a.flac")
    monkeypatch.setattr(storage, "stat", lambda uri, **_: pytest.fail(f"asked for {uri}"))

    assert names(found(f"{s3_root}/"), s3_root) == ["a.flac"]


def test_every_kind_of_container_is_a_shard_and_a_list_may_name_it_whole_or_by_member(root: str) -> None:
    put(root, "0.tar", "1.tar.gz", "2.TGZ", "3.tar.zst", "4.tzst", "5.zip")
    storage.write_bytes(f"{root}/list.csv", b"uri,member\n5.zip,x\n5.zip,a\n1.tar.gz,\n")

    kinds = [shard.kind for shard in found(root).containers]
    listed = {shard.kind: shard.names for shard in found(f"{root}/list.csv").containers}

    assert kinds == ["tar", "tar.gz", "tar.gz", "tar.zst", "tar.zst", "zip"]
    key = storage.key_of(root)
    assert listed == {"tar.gz": None, "zip": (("a", f"{key}/5.zip#a"), ("x", f"{key}/5.zip#x"))}


@pytest.mark.parametrize("given", ["", "/", "/*.flac", "/**/*.flac", "/a.flac", "/list.csv"])
def test_folder_glob_file_and_list_name_the_same_object(root: str, given: str) -> None:
    put(root, "a.flac")
    storage.write_bytes(f"{root}/list.csv", b"uri\na.flac\n")

    assert names(found(f"{root}{given}"), root) == ["a.flac"]


def test_overlapping_inputs_give_each_object_once(tmp_path: Path) -> None:
    put(tmp_path, "0.tar", "a.flac", "b.flac")
    listing = listed(tmp_path, "uri\n0.tar\nb.flac\n")

    archive = found(tmp_path, tmp_path / "*.flac", f"file://{tmp_path}/a.flac", tmp_path / "0.tar", listing)

    assert names(archive, tmp_path) == ["0.tar", "a.flac", "b.flac"]


def test_a_file_that_is_named_itself_may_have_any_suffix(tmp_path: Path) -> None:
    put(tmp_path, "call.raw")

    assert names(found(tmp_path / "call.raw"), tmp_path) == ["call.raw"]


def test_a_pattern_also_matches_what_is_called_exactly_like_it(tmp_path: Path) -> None:
    put(tmp_path, "take[1].flac", "take[2].flac", "take2.flac", "day [2]/a.flac", "day [3]/a.flac", "day 3/b.flac")

    assert names(found(tmp_path / "take[1].flac"), tmp_path) == ["take[1].flac"]
    assert names(found(tmp_path / "take[2].flac"), tmp_path) == ["take2.flac", "take[2].flac"]
    assert names(found(tmp_path / "day [2]"), tmp_path) == ["day [2]/a.flac"]
    assert names(found(tmp_path / "day [3]"), tmp_path) == ["day 3/b.flac", "day [3]/a.flac"]


@pytest.mark.parametrize("stranger", ["*.wav", "*.wav/x.wav", "*.wav/list.csv", "[a-z].wav"])
def test_no_name_in_an_archive_changes_what_a_pattern_matches(tmp_path: Path, stranger: str) -> None:
    put(tmp_path, "a.wav", "b.wav", stranger)

    assert {"a.wav", "b.wav"} <= set(names(found(tmp_path / "*.wav"), tmp_path))


def test_a_folder_that_a_glob_matches_is_listed_too(tmp_path: Path) -> None:
    put(tmp_path, "2026-11-22/a.flac", "2026-11-23/b.flac", "2026.flac", "2025-01-01/c.flac")

    assert names(found(tmp_path / "2026*"), tmp_path) == ["2026-11-22/a.flac", "2026-11-23/b.flac", "2026.flac"]


@pytest.mark.parametrize("given", ["texts", "texts/*.txt", "texts/*.flac", "empty"])
def test_an_input_without_audio_is_refused_by_name(tmp_path: Path, given: str) -> None:
    put(tmp_path, "texts/a.txt")
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigError, match="no audio found") as refused:
        found(tmp_path / given)

    assert f"{tmp_path}/{given}:" in str(refused.value)


@pytest.mark.parametrize("given", ["none", "none.flac", "none.tar", "none.csv", "none*.flac"])
def test_a_missing_input_is_refused_even_beside_an_existing_one(tmp_path: Path, given: str) -> None:
    put(tmp_path, "a.flac")

    with pytest.raises(ConfigError, match=str(tmp_path / "none")):
        found(tmp_path / "a.flac", tmp_path / given)


@pytest.mark.parametrize("given", [{}, {"input": ("a",), "manifest": "b"}], ids=["neither", "both"])
def test_either_inputs_or_a_manifest_must_be_given(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="either --input"):
        InputConfig(**given)


def test_a_list_gives_ids_and_selects_members(tmp_path: Path) -> None:
    put(tmp_path, "lists/a.flac", "b.flac", "0.tar", "1.tar")
    rows = f"uri,member,utterance_id\na.flac,,first\n{tmp_path}/b.flac,,\n../0.tar,y,\n../0.tar,x,second\n../1.tar,,\n"
    listing = listed(tmp_path / "lists", rows)

    archive = found(listing)

    assert archive.selections == {
        f"{tmp_path}/lists/a.flac": (("first", WHOLE),),
        f"{tmp_path}/b.flac": ((f"{tmp_path}/b.flac", WHOLE),),
    }
    assert names(archive, tmp_path) == ["0.tar", "1.tar", "b.flac", "lists/a.flac"]
    assert [shard.names for shard in archive.containers] == [(("x", "second"), ("y", f"{tmp_path}/0.tar#y")), None]


def test_an_id_on_two_rows_is_refused_with_both(tmp_path: Path) -> None:
    put(tmp_path, "a.flac", "b.flac")
    one = listed(tmp_path, "uri,utterance_id\na.flac,same\n", "one.csv")
    two = listed(tmp_path, "uri,utterance_id\nb.flac,other\nb.flac,same\n", "two.csv")

    with pytest.raises(ConfigError, match=f"'same' occurs in {one} row 1 and in {two} row 2"):
        found(one, two)


@pytest.mark.parametrize(
    "rows",
    ["a.flac,,one\na.flac,,two\n", "0.tar,x,one\n0.tar,x,two\n", "0.tar,x,one\n0.tar,,\n"],
    ids=["file", "member", "tar and its member"],
)
def test_a_recording_with_two_ids_is_refused_with_both_rows(tmp_path: Path, rows: str) -> None:
    put(tmp_path, "a.flac", "0.tar")
    listing = listed(tmp_path, f"uri,member,utterance_id\n{rows}")

    with pytest.raises(ConfigError, match=r"row 1 .*row 2"):
        found(listing)


def test_a_tar_named_whole_and_by_a_list_of_members_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "0.tar")
    listing = listed(tmp_path, "uri,member,utterance_id\n0.tar,x,mine\n")

    with pytest.raises(ConfigError, match=r"0\.tar"):
        found(tmp_path / "0.tar", listing)


def test_a_row_whose_object_is_missing_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.flac")

    with pytest.raises(ConfigError, match=r"list.csv row 2: .*gone.flac does not exist"):
        found(listed(tmp_path, "uri\na.flac\ngone.flac\n"))


def test_all_rows_whose_objects_are_missing_are_counted_and_the_first_ones_named(root: str) -> None:
    put(root, "a.flac")
    rows = "".join(f"gone{number}.flac\n" for number in range(23))
    storage.write_bytes(f"{root}/list.csv", f"uri\na.flac\n{rows}".encode())

    with pytest.raises(ConfigError, match="23 of 24 objects that lists name do not exist") as refused:
        found(f"{root}/list.csv")

    message = str(refused.value)
    assert all(f"list.csv row {number + 2}: {root}/gone{number}.flac does" in message for number in range(20))
    assert "gone20" not in message
    assert "and 3 more" in message
    assert "--missing row" in message


def test_an_input_or_a_row_below_a_file_is_told_of_the_file(tmp_path: Path) -> None:
    put(tmp_path, "a.flac")

    with pytest.raises(ConfigError, match=f"{tmp_path}/a.flac is a file, not a folder"):
        found(tmp_path / "a.flac" / "b.flac")
    with pytest.raises(ConfigError, match=r"list.csv row 1: .*/a.flac/b.flac does not exist"):
        found(listed(tmp_path, "uri\na.flac/b.flac\n"))


def test_a_row_whose_name_no_file_can_have_is_missing_or_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"list.csv row 1: .* does not exist"):
        found(listed(tmp_path, f"uri\n{'a' * 5_000}.flac\n"))
    with pytest.raises(SchemaError, match="row 1 has a zero byte in its uri"):
        found(listed(tmp_path, "uri\na\0.flac\n"))


def test_a_missing_object_keeps_its_place_and_selections_if_it_is_to_become_a_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "a.flac")
    listing = listed(tmp_path, "uri,member,utterance_id\na.flac,,\ngone.flac,,mine\ngone.tar,x,\nwhole.tar,,\n")

    archive = find(InputConfig(input=(str(listing),), missing="row"))

    listed_tar, whole_tar = archive.containers
    _, absent = archive.files
    assert absent.is_absent
    assert archive.selections_of(absent.uri) == (("mine", WHOLE),)
    assert listed_tar.sources[0].is_absent
    assert listed_tar.names == (("x", f"{tmp_path}/gone.tar#x"),)
    assert (whole_tar.names, whole_tar.sources[0].is_absent) == (None, True)
    assert "3 of 4 objects that lists name do not exist" in caplog.text


def test_an_unknown_choice_for_missing_objects_is_refused() -> None:
    with pytest.raises(ConfigError, match="refuse, row"):
        InputConfig(input=("a",), missing="ignore")


def test_two_buckets_with_the_same_key_are_refused_with_both(s3_root: str, store: fsspec.AbstractFileSystem) -> None:
    store.mkdir("other-unit-tests")
    other = s3_root.replace("unit-tests", "other-unit-tests")
    put(s3_root, "0.tar")
    put(other, "0.tar")

    with pytest.raises(ConfigError, match="share the utterance id") as refused:
        refuse_shared(found(s3_root, other).ids())

    assert all(f"{each}/0.tar" in str(refused.value) for each in (s3_root, other))


def test_an_id_of_a_list_that_is_another_file_s_path_is_refused_with_both(tmp_path: Path) -> None:
    put(tmp_path, "day/a.flac", "b.flac")
    listing = listed(tmp_path, f"uri,utterance_id\nb.flac,{tmp_path}/day/a.flac\n")

    with pytest.raises(ConfigError, match="share the utterance id") as refused:
        refuse_shared(found(tmp_path / "day", listing).ids())

    assert f"{tmp_path}/b.flac" in str(refused.value)


def test_ids_leave_out_scheme_and_bucket() -> None:
    assert utterance_id("s3://bucket/day/0.tar", "x/a.flac") == "day/0.tar#x/a.flac"
    assert utterance_id("s3://bucket/day/a.flac", None) == "day/a.flac"
    assert utterance_id("/data/a.flac", None) == "/data/a.flac"


def test_several_rows_select_excerpts_of_one_recording_each_under_its_own_id(tmp_path: Path) -> None:
    put(tmp_path, "a.wav", "0.tar")
    rows = "uri,member,utterance_id,start,end,channel\n"
    rows += "a.wav,,,0,2.5,\na.wav,,,2.5,5,\na.wav,,mine,5,,\na.wav,,,,,1\n0.tar,x,,1,2,0\n0.tar,x,,,,\n"

    archive = found(listed(tmp_path, rows))
    loose, packed = sorted(archive.shards(), key=lambda shard: shard.kind)

    a, x = f"{tmp_path}/a.wav", f"{tmp_path}/0.tar#x"
    assert loose.selections() == {
        a: (
            (f"{a}/ch1", Excerpt(channel=1)),
            (f"{a}@0-2.5", Excerpt(0.0, 2.5)),
            (f"{a}@2.5-5", Excerpt(2.5, 5.0)),
            ("mine", Excerpt(5.0)),
        )
    }
    assert packed.selections() == {"x": ((x, WHOLE), (f"{x}@1-2/ch0", Excerpt(1.0, 2.0, 0)))}
    for shard in (loose, packed):
        assert Portion.from_json(Portion(shard).to_json()).shard == shard
    assert loose.slot == Shard("files", loose.sources).slot


@pytest.mark.parametrize(
    "rows",
    ["a.wav,0,1\na.wav,0,1\n", "0.tar,0,1\n"],
    ids=["the same excerpt twice", "of a container"],
)
def test_excerpts_with_equal_ids_are_refused(tmp_path: Path, rows: str) -> None:
    put(tmp_path, "a.wav", "0.tar")

    with pytest.raises(ConfigError, match="row 1"):
        found(listed(tmp_path, f"uri,start,end\n{rows}"))


def test_a_recording_named_whole_by_an_input_and_in_part_by_a_list_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "day/a.wav")
    listing = listed(tmp_path, "uri,start,end\nday/a.wav,0,1\n")

    with pytest.raises(ConfigError, match="once as a whole and once in part"):
        found(tmp_path / "day", listing)


def test_a_glob_of_parquet_files_is_no_list(tmp_path: Path) -> None:
    for name in ("0.parquet", "1.parquet"):
        pq.write_table(pa.table({"audio": pa.array([b"RIFF"], pa.binary())}), tmp_path / name)

    assert [shard.uri for shard in found(f"{tmp_path}/*.parquet").containers] == [
        f"{tmp_path}/{name}" for name in ("0.parquet", "1.parquet")
    ]


def test_a_file_that_is_called_like_a_draft_of_ours_is_a_recording(tmp_path: Path) -> None:
    (tmp_path / "a.wav.1-deadbeef.part").write_bytes(encoded(tone(0.5)))

    assert [file.uri for file in found(tmp_path).files] == [f"{tmp_path}/a.wav.1-deadbeef.part"]
