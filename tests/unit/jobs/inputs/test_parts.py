"""Labels of parts are the same in every format, and a table that contradicts itself is refused with its rows."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import SchemaError
from detector.schema import PARTS
from jobs.inputs.parts import Part, by_utterance, joined, parts_table, read_parts, write_parts

HEADER = "utterance_id,start_seconds,end_seconds,label\n"
PARTS_OF = {
    "a.flac": [Part(0.0, 1.25, "bonafide"), Part(1.25, 2.0, "spoof"), Part(2.5, 3.1, "bonafide")],
    "é#b, c.flac": [Part(0.1, 0.2, "spoof")],
}


def refusal(path: Path, rows: str) -> str:
    path.write_text(HEADER + rows)
    with pytest.raises(SchemaError) as refused:
        read_parts(str(path))
    return str(refused.value).removeprefix(str(path))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_parts_that_were_written_are_read_as_they_were(tmp_path: Path, suffix: str) -> None:
    uri = str(tmp_path / f"parts{suffix}")

    write_parts(uri, parts_table(PARTS_OF.items()))

    assert read_parts(uri).schema == PARTS
    assert dict(by_utterance(read_parts(uri))) == PARTS_OF


@pytest.mark.parametrize("seconds", [1, 1.0, "1", "1.0", "1e0"])
def test_lines_of_json_may_spell_numbers_in_any_way_and_have_other_columns(
    tmp_path: Path, seconds: float | str
) -> None:
    row = {"utterance_id": "a", "start_seconds": 0, "end_seconds": seconds, "label": "spoof", "note": "?"}
    (tmp_path / "parts.jsonl").write_text(json.dumps(row) + "\n")

    assert dict(by_utterance(read_parts(str(tmp_path / "parts.jsonl")))) == {"a": [Part(0.0, 1.0, "spoof")]}


def test_whole_seconds_of_parquet_are_seconds(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"utterance_id": ["a"], "start_seconds": [0], "end_seconds": [2], "label": ["spoof"]}),
        tmp_path / "parts.parquet",
    )

    assert read_parts(str(tmp_path / "parts.parquet"))["end_seconds"].to_pylist() == [2.0]


def test_rows_in_any_order_are_sorted_by_recording_and_time(tmp_path: Path) -> None:
    (tmp_path / "parts.csv").write_text(HEADER + "b,1,2,spoof\na,3,4,spoof\nb,0,1,bonafide\n")

    assert dict(by_utterance(read_parts(str(tmp_path / "parts.csv")))) == {
        "a": [Part(3.0, 4.0, "spoof")],
        "b": [Part(0.0, 1.0, "bonafide"), Part(1.0, 2.0, "spoof")],
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,0,1,spoof\na,1,2,fake\n", " row 2: label 'fake' of 'a'; expected bonafide or spoof"),
        ("a,0,1,\n", " row 1: label None of 'a'"),
        ("a,0,1,spoof\n,1,2,spoof\n", " row 2: no utterance_id"),
        ("a,2,1,spoof\n", " row 1: from 2.0 to 1.0 s of 'a'"),
        ("a,1,1,spoof\n", " row 1: from 1.0 to 1.0 s"),
        ("a,-1,1,spoof\n", " row 1: from -1.0 to 1.0 s"),
        ("a,nan,1,spoof\n", " row 1: from nan to 1.0 s"),
        ("a,0,inf,spoof\n", " row 1: from 0.0 to inf s"),
        ("a,0,1e9,spoof\n", " row 1: from 0.0 to 1000000000.0 s"),
        ("a,,1,spoof\n", " row 1: from nan to 1.0 s"),
        ("a,0,1,spoof\na,1,two,spoof\n", " row 2: end_seconds 'two'; expected a number of seconds"),
        (
            "a,0,5,spoof\nb,0,9,spoof\na,4,6,bonafide\n",
            " rows 1 and 3: 'a' is both bonafide and spoof from 4.0",
        ),
        # the part that contradicts the third row is not its neighbour
        (
            "a,0,9,spoof\na,1,2,spoof\na,3,4,bonafide\n",
            " rows 1 and 3: 'a' is both bonafide and spoof from 3.0",
        ),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused_with_its_number(tmp_path: Path, rows: str, message: str) -> None:
    assert refusal(tmp_path / "parts.csv", rows).startswith(message)


def test_a_missing_column_is_named_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / "parts.csv").write_text("utterance_id,start_second,end_seconds,label\n")

    with pytest.raises(SchemaError, match=r"no column `start_seconds`.* If `start_second` is meant, rename it"):
        read_parts(str(tmp_path / "parts.csv"))


def test_parts_of_one_label_may_overlap_and_of_two_may_touch(tmp_path: Path) -> None:
    # 0.1 + 0.2 is 0.30000000000000004: rounding is no contradiction
    (tmp_path / "parts.csv").write_text(HEADER + "a,0,0.30000000000000004,spoof\na,0.2,0.25,spoof\na,0.3,1,bonafide\n")

    assert len(read_parts(str(tmp_path / "parts.csv"))) == 3


def test_a_table_without_rows_labels_nothing(tmp_path: Path) -> None:
    write_parts(str(tmp_path / "parts.parquet"), parts_table([]))

    assert list(by_utterance(read_parts(str(tmp_path / "parts.parquet")))) == []


def test_a_table_that_contradicts_itself_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="rows 1 and 2"):
        write_parts(
            str(tmp_path / "parts.csv"), parts_table([("a", [Part(0.0, 2.0, "spoof"), Part(1.0, 3.0, "bonafide")])])
        )
    with pytest.raises(SchemaError, match=r"\.csv or \.parquet"):
        write_parts(str(tmp_path / "parts.txt"), parts_table(PARTS_OF.items()))

    assert list(tmp_path.iterdir()) == []


def test_neighbours_of_one_label_are_joined_and_gaps_are_kept() -> None:
    parts = [Part(2.0, 3.0, "spoof"), Part(0.0, 1.0, "spoof"), Part(1.0, 2.0, "bonafide"), Part(3.0, 3.5, "spoof")]

    assert joined([*parts, Part(4.0, 5.0, "spoof")]) == [
        Part(0.0, 1.0, "spoof"),
        Part(1.0, 2.0, "bonafide"),
        Part(2.0, 3.5, "spoof"),
        Part(4.0, 5.0, "spoof"),
    ]
