"""Parquet with recordings: which column holds them, and what their names are."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import SchemaError
from jobs import storage
from jobs.inputs.archive import find
from jobs.inputs.config import InputConfig
from jobs.inputs.containers import parquet
from jobs.inputs.shards import Shard
from tests.support.containers import (
    FLAC,
    MEMBERS,
    OTHER,
    errors,
    in_parquet,
    put,
)


def test_rows_without_a_path_are_named_by_number_and_rows_without_bytes_are_failures(tmp_path: Path) -> None:
    rows = [
        {"bytes": FLAC, "path": None},
        None,
        {"bytes": None, "path": "x.wav"},
        {"bytes": OTHER, "path": "b"},
    ]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"audio": pa.array(rows, kind)}), path, row_group_size=3)

    assert errors(path) == [
        ("00000000", None),
        ("00000001", "empty"),
        ("x.wav", "empty"),
        ("b", None),
    ]


def test_a_plain_column_of_bytes_holds_recordings_named_by_number(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"sound": [FLAC, OTHER], "text": ["a", "b"]}), path)

    assert errors(path) == [("00000000", None), ("00000001", None)]


def test_of_several_columns_of_bytes_only_one_called_audio_is_accepted(tmp_path: Path) -> None:
    two = {"image": pa.array([b"?"]), "audio": pa.array([FLAC])}
    pq.write_table(pa.table(two), tmp_path / "0.parquet")
    pq.write_table(pa.table({"left": [FLAC], "right": [FLAC]}), tmp_path / "1.parquet")

    assert errors(tmp_path / "0.parquet") == [("00000000", None)]
    with pytest.raises(SchemaError, match="left, right hold bytes"):
        find(InputConfig(input=(str(tmp_path / "1.parquet"),)))


def test_columns_decide_if_a_parquet_file_is_recordings_or_a_list_and_others_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "audio.parquet", in_parquet(MEMBERS))
    put(tmp_path / "a.flac", FLAC)
    pq.write_table(pa.table({"uri": ["a.flac"]}), tmp_path / "list.parquet")
    pq.write_table(pa.table({"text": ["words"]}), tmp_path / "words.parquet")

    shard, listed = (find(InputConfig(input=(str(tmp_path / f"{name}.parquet"),))) for name in ("audio", "list"))

    assert ([each.kind for each in shard.containers], shard.files) == (["parquet"], ())
    assert ([each.uri for each in listed.files], listed.containers) == ([f"{tmp_path}/a.flac"], ())
    with pytest.raises(SchemaError, match="neither recordings nor a list"):
        find(InputConfig(input=(str(tmp_path / "words.parquet"),)))


def test_in_a_folder_parquet_with_recordings_is_a_shard_and_other_tables_are_skipped(root: str) -> None:
    tables = {"list": pa.table({"uri": ["x"]}), "words": pa.table({"text": ["x"]})}
    for name, table in tables.items():
        file = io.BytesIO()
        pq.write_table(table, file)
        storage.write_bytes(f"{root}/{name}.parquet", file.getvalue())
    storage.write_bytes(f"{root}/audio.parquet", in_parquet(MEMBERS))
    storage.write_bytes(f"{root}/broken.parquet", b"PAR1 and no more")

    found = find(InputConfig(input=(root,)))

    assert [each.uri.rpartition("/")[2] for each in found.containers] == ["audio.parquet", "broken.parquet"]


def test_parquet_is_read_from_front_to_back_and_a_page_at_a_time(tmp_path: Path) -> None:
    noise = [np.random.default_rng(n).bytes(1 << 20) for n in range(64)]
    rows = [{"bytes": content, "path": f"{n:02d}.wav"} for n, content in enumerate(noise)]
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"audio": rows}), path, row_group_size=32, use_dictionary=False, write_batch_size=1)
    stored = storage.stat(str(path))
    assert stored is not None
    places: list[int] = []
    most = 0
    before = pa.total_allocated_bytes()
    with storage.opened(stored) as file:
        seek = file.seek

        def noted(offset: int, whence: int = 0) -> int:
            if whence == os.SEEK_SET:
                places.append(offset)
            return seek(offset, whence)

        file.seek = noted  # type: ignore[method-assign]
        for member, content in zip(parquet.members(file, stored), noise, strict=True):
            assert not isinstance(member.content, Exception)
            assert member.content.read() == content
            most = max(most, pa.total_allocated_bytes() - before)

    assert places == sorted(places)
    assert most < 16 << 20  # of 64 MiB in two row groups


def test_shards_of_earlier_versions_keep_their_slots_and_ids() -> None:
    # as commit b4a72df gave them: else every output that stands would be computed anew. Ids were sixteen digits.
    uri = "s3://bucket/0"
    loose = Shard("files", (storage.Stored(f"{uri}.flac", 10_240, "tag"),), ((f"{uri}.flac", "x"),))
    packed = Shard("tar", (storage.Stored(f"{uri}.tar", 10_240, "tag"),))

    assert (packed.slot, packed.shard_id[:16]) == ("caceca9b06b251b7", "f24a90b8aca0b80b")
    assert (loose.slot, loose.shard_id[:16]) == ("30bdc5873be63e9f", "3b10e6db9f23bd43")


def test_rows_that_are_stored_in_nothing_are_one_row_of_failures(tmp_path: Path) -> None:
    audio = pa.nulls(300_000, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"audio": audio}), tmp_path / "x.parquet")

    assert errors(tmp_path / "x.parquet") == [(None, "bad_archive")]


LARGE = 12 << 20  # bytes, of which 64 MiB and some 200 times what is stored hold five


@pytest.mark.parametrize(("content", "path"), [(FLAC, "a" * LARGE), (bytes(LARGE), "../a")], ids=["paths", "contents"])
def test_all_that_a_page_repeats_counts_whatever_its_name(tmp_path: Path, content: bytes, path: str) -> None:
    rows = pa.array([{"bytes": content, "path": path}] * 7, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    repeating = dict.fromkeys(("audio.path", "audio.bytes"), "DELTA_BYTE_ARRAY")  # a value repeats the one before it
    how = {"use_dictionary": False, "compression": "zstd", "write_statistics": False, "column_encoding": repeating}
    pq.write_table(pa.table({"audio": rows}), tmp_path / "0.parquet", **how)
    assert (tmp_path / "0.parquet").stat().st_size < 30_000

    assert [error for _, error in errors(tmp_path / "0.parquet")] == ["bad_name"] * 5 + ["bad_archive"]


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
def test_a_path_that_is_too_long_to_be_shown_is_a_row_by_its_number(tmp_path: Path, kind: str) -> None:
    paths = pa.array(["a", "b" * 70_000, "c" * 60_000, None], pa.string())
    paths = paths.dictionary_encode() if kind == "dictionary" else paths.cast(kind)
    column = pa.StructArray.from_arrays([pa.array([FLAC] * 4), paths], ["bytes", "path"])
    pq.write_table(pa.table({"audio": column}), tmp_path / "0.parquet")

    names, found = zip(*errors(tmp_path / "0.parquet"), strict=True)

    assert found == (None, "bad_name", "bad_name", None)
    assert (names[:2], names[3]) == (("a", "00000001"), "00000003")
    assert (names[2][:128], len(names[2])) == ("c" * 128, 145)
