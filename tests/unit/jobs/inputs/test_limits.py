"""Recordings beyond a limit of length, or beyond the quota of their source, are rows; all others are as without one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import storage
from jobs.inputs.limits import Limits
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Shard
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

CONTENTS = {
    **{f"radio/{number}.flac": encoded(tone(2.0, seed=number)) for number in range(4)},
    "phone/a.flac": encoded(tone(5.5)),
    "phone/b.flac": b"<html>",
}


def read(path: Path, limits: Limits, channels: str = "mix", **portion: Any) -> list[dict[str, Any]]:
    stored = storage.stat(str(path))
    assert stored is not None
    return list(read_shard(Portion(Shard("tar", (stored,)), **portion), 2.0, channels, limits))


def outcomes(rows: list[dict[str, Any]]) -> dict[str, str | None]:
    found = [row["outcome"] for row in rows if "outcome" in row]
    return {outcome["member"]: outcome.get("error") for outcome in found}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "0.tar", CONTENTS)


def test_a_recording_longer_than_the_limit_is_a_row_once_so_much_is_decoded(path: Path) -> None:
    rows = read(path, Limits(max_seconds=5.0))

    assert outcomes(rows)["phone/a.flac"] == "too_long"
    (failure,) = [row["outcome"] for row in rows if row.get("outcome", {}).get("error") == "too_long"]
    assert (failure["stage"], failure["message"]) == ("decode", "more than 5 s; split the recording")
    assert failure["seconds"] <= 5.0
    within = read(path, Limits(max_seconds=5.5))
    assert within == read(path, Limits())


def test_a_source_beyond_its_quota_gives_rows_and_other_sources_go_on(path: Path) -> None:
    # 2 + 2 s reach the quota of 3 s: the third recording is the first that finds it used up
    rows = read(path, Limits(max_source_seconds=3.0))

    assert outcomes(rows) == {
        **dict.fromkeys(["radio/0.flac", "radio/1.flac"]),
        **dict.fromkeys(["radio/2.flac", "radio/3.flac"], "over_quota"),
        **{"phone/a.flac": None, "phone/b.flac": "over_quota"},
    }
    unlimited = read(path, Limits())
    over = [2, 3, 5]
    assert [row for row in rows if row.get("ordinal") not in over] == [
        row for row in unlimited if row.get("ordinal") not in over
    ]


def test_the_quota_gives_the_same_rows_again_and_does_not_bind_who_asks_for_single_utterances(path: Path) -> None:
    limits = Limits(max_source_seconds=3.0)

    assert read(path, limits) == read(path, limits)
    # after a fault only segments of utterances that were within the quota are asked for
    assert outcomes(read(path, limits, only=(1,))) == {"radio/1.flac": None}


def test_seconds_of_recordings_that_failed_half_way_count(tmp_path: Path) -> None:
    cut = encoded(tone(30.0), kind="WAV")[:-33_000]  # less than 29 s are decoded, and 30 s were claimed
    path = write_tar(tmp_path / "0.tar", {"a/1.wav": cut, "a/2.flac": encoded(tone(1.0))})

    assert outcomes(read(path, Limits(max_source_seconds=20.0))) == {"a/1.wav": "truncated", "a/2.flac": "over_quota"}
    assert outcomes(read(path, Limits(max_source_seconds=math.inf)))["a/2.flac"] is None


def test_a_source_is_the_first_folder_below_the_input(path: Path) -> None:
    limits = Limits(max_source_seconds=3.0, roots=(f"{path.parent.parent}/",))

    # the tar lies in a folder below the root: radio and phone are one source then
    assert list(outcomes(read(path, limits)).values()) == [None, None, *["over_quota"] * 4]


def test_each_channel_of_a_recording_counts(tmp_path: Path) -> None:
    stereo = encoded(np.stack([tone(2.0), tone(2.0, seed=1)], axis=1))
    path = write_tar(tmp_path / "0.tar", {"a.flac": stereo, "b.flac": stereo})

    rows = read(path, Limits(max_source_seconds=3.0), "each")

    names = [row["outcome"]["utterance_id"] for row in rows if "outcome" in row]
    assert [name.rpartition("#")[2] for name in names] == ["a.flac/ch0", "a.flac/ch1", "b.flac"]
