"""Shards: loose files are grouped within bounds, and ids follow from the sources."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from jobs.inputs.shards import MAX_SHARD_FILES, Portion, Selection, Shard, group_files
from jobs.storage import Stored

MIB = 1 << 20
TAR = Stored("s3://bucket/0.tar", 10_240, "tag")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1] * (2 * MAX_SHARD_FILES + 1), [MAX_SHARD_FILES, MAX_SHARD_FILES, 1]),
        ([128 * MIB, 128 * MIB], [2]),  # 256 MiB are allowed, not more
        ([128 * MIB, 128 * MIB + 1, 1], [1, 2]),
        ([1, 300 * MIB, 1], [1, 1, 1]),  # a file that is too large stands alone
        ([], []),
    ],
)
def test_loose_files_are_grouped_by_number_and_bytes_in_order(sizes: list[int], expected: list[int]) -> None:
    files = [Stored(f"s3://b/{index:04d}.flac", size, "") for index, size in enumerate(sizes)]

    shards = group_files(files, lambda uri: (Selection(uri),))

    assert [len(shard.sources) for shard in shards] == expected
    assert [source for shard in shards for source in shard.sources] == files


def test_a_group_has_no_more_audio_than_is_asked_for() -> None:
    # WAV has 32,000 bytes a second, so these have 30 s each but for one of 90 s
    sizes = [960_000] * 4 + [2_880_000, 960_000]
    files = [Stored(f"s3://b/{index}.wav", size, "") for index, size in enumerate(sizes)]

    shards = group_files(files, lambda uri: (Selection(uri),), max_seconds=60.0)

    assert [len(shard.sources) for shard in shards] == [2, 2, 1, 1]


def test_a_group_has_the_ids_of_its_files() -> None:
    selections = {"s3://b/a.flac": (Selection("a.flac"),), "s3://b/b.flac": (Selection("mine"),)}

    files = [Stored(uri, size, "") for size, uri in enumerate(selections, start=1)]
    (shard,) = group_files(files, selections.__getitem__)

    assert shard.names == (("s3://b/a.flac", "a.flac"), ("s3://b/b.flac", "mine"))
    assert (shard.uri, shard.size) == ("s3://b/a.flac and 1 more", 3)


@pytest.mark.parametrize("change", [{"uri": "s3://bucket/1.tar"}, {"size": 10_241}, {"etag": "gat"}])
def test_a_shard_id_changes_with_its_source_and_not_otherwise(change: dict[str, Any]) -> None:
    shard = Shard("tar", (TAR,))
    changed = dataclasses.replace(TAR, **change)

    assert Shard("tar", (Stored(TAR.uri, TAR.size, TAR.etag),)).shard_id == shard.shard_id
    assert Shard("tar", (changed,)).shard_id != shard.shard_id
    assert Shard("tar", (TAR,), (("x", "mine"),)).shard_id != shard.shard_id
    assert len(shard.shard_id) == 32  # of 16, two ETags with one id are found in 2**32 tries, and their rows mixed


@pytest.mark.parametrize(
    "shard",
    [
        Shard("tar", (TAR,)),
        Shard("tar", (TAR,), (("日本.flac", "mine"), ("x", "0.tar#x"))),
        *group_files([TAR, Stored("/data/a.flac", 0, "")], lambda uri: (Selection(uri),)),
    ],
    ids=["tar", "members", "files"],
)
@pytest.mark.parametrize("only", [None, (0, 7)])
def test_a_portion_survives_json_unchanged(shard: Shard, only: tuple[int, ...] | None) -> None:
    portion = Portion(shard, only, "segments" if only else "all")
    again = Portion.from_json(portion.to_json())

    assert again == portion
    assert (again.shard.shard_id, again.shard.slot) == (shard.shard_id, shard.slot)


def test_a_slot_depends_on_names_alone_and_a_shard_id_on_sizes_and_etags_too() -> None:
    before, after = Shard("tar", (TAR,)), Shard("tar", (dataclasses.replace(TAR, etag="f"),))

    assert before.slot == after.slot
    assert before.shard_id != after.shard_id
    assert Shard("tar", (dataclasses.replace(TAR, uri="s3://other/x.tar"),)).slot != before.slot
