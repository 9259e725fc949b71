"""Every text of every object is searched, and objects that cannot be read are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest

CALL = "2026/call.flac"
TEXT = pa.string()


COLUMNS = [
    pa.array([CALL]),
    pa.array([CALL], pa.large_string()),
    pa.array([CALL.encode()]),
    pa.array([CALL.encode()], pa.large_binary()),
    pa.array([CALL.encode()], pa.binary(len(CALL))),
    pa.array([CALL]).dictionary_encode(),
    pa.array([[None, CALL]], pa.list_(TEXT)),
    pa.array([[CALL]], pa.large_list(pa.list_(TEXT).value_type)),
    pa.array([[CALL]], pa.list_(TEXT, 1)),
    pa.array([{"a": {"b": [CALL]}}]),
    pa.array([[("key", CALL)]], pa.map_(TEXT, TEXT)),
    pa.array([[(CALL, 1)]], pa.map_(TEXT, pa.int64())),
]
NAMES = ["note", "a.note", "utterance_id", "message"]


@pytest.mark.parametrize(
    ("column", "name"), zip(COLUMNS, NAMES * 3, strict=True), ids=lambda each: str(getattr(each, "type", each))
)
def test_text_is_found_in_a_column_of_any_type(tmp_path: Path, column: pa.Array, name: str) -> None:
    pq.write_table(pa.table({"layer": [1], name: column}), tmp_path / "x.parquet")

    assert find_mentions(str(tmp_path), ErasureRequest((CALL,))) == ([f"{tmp_path}/x.parquet: mentions {CALL}"], 1)


@pytest.mark.parametrize("about", [{"metadata": {"note": CALL}}, {"metadata": {CALL: "note"}}])
def test_text_is_found_in_a_footer(tmp_path: Path, about: dict[str, Any]) -> None:
    pq.write_table(pa.table({"layer": [1]}).replace_schema_metadata(about["metadata"]), tmp_path / "x.parquet")

    assert find_mentions(str(tmp_path), ErasureRequest((CALL,)))[0] == [f"{tmp_path}/x.parquet: mentions {CALL}"]


def test_fixed_words_are_no_mentions_in_the_tables_and_are_in_a_copy(tmp_path: Path) -> None:
    rows = pa.table({"label": ["spoof"], "member": ["call.flac"]}).replace_schema_metadata({"bonafide.of": "a shard"})
    ours, copy = tmp_path / "scores" / f"{0:016x}-{0:016x}.parquet", tmp_path / "x.parquet"
    ours.parent.mkdir()
    pq.write_table(rows, ours)
    request = ErasureRequest(("spoof", "call.flac"))

    assert find_mentions(str(tmp_path), request) == ([], 1)
    pq.write_table(rows, copy)
    assert find_mentions(str(tmp_path), request) == ([f"{copy}: mentions call.flac, spoof"], 2)


@pytest.mark.parametrize(
    "name", ["x.parquet", "runs/x.json", "_commits/scores-1/1-000001.json", "_plans/s/000001.json"]
)
def test_an_object_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"PAR1 and no more")

    (found,), _ = find_mentions(str(tmp_path), ErasureRequest((CALL,)))

    assert found.startswith(f"{tmp_path}/{name}: cannot be read")


def test_a_table_with_a_damaged_page_cannot_be_read(tmp_path: Path) -> None:
    place = tmp_path / "x.parquet"
    pq.write_table(pa.table({"note": ["a" * 50] * 9}), place, compression="none", write_page_checksum=True)
    place.write_bytes(place.read_bytes().replace(b"a" * 40, b"b" * 40, 1))

    assert "cannot be read" in find_mentions(str(tmp_path), ErasureRequest((CALL,)))[0][0]
