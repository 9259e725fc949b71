"""CSV, JSONL and Parquet say the same, and what does not fit is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.audio import WHOLE, Excerpt
from detector.errors import SchemaError
from detector.schema import LABEL_COLUMNS
from jobs import storage
from jobs.inputs.labels import read_labels
from jobs.inputs.lists import LIST_SUFFIXES, read_entries

Row = dict[str, str | None]


def write_list(path: Path, rows: list[Row]) -> str:
    """Write rows in the format that the name says; a CSV has no null but an empty field."""
    if path.suffix.lower() == ".csv":
        lines = [rows[0].keys(), *([value or "" for value in row.values()] for row in rows)]
        path.write_text("".join(",".join(line) + "\n" for line in lines))
    elif path.suffix.lower() == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def labels_of(path: Path, text: str) -> list[dict[str, str]]:
    path.write_text(text)
    return list(read_labels(str(path)).select(["utterance_id", "label"]).to_pylist())


@pytest.mark.parametrize("suffix", [*LIST_SUFFIXES, ".CSV"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    rows: list[Row] = [
        {"utterance_id": "a", "label": "spoof", "system": "A07", "speaker": None},
        {"utterance_id": "é", "label": "bonafide", "system": None, "speaker": "7"},
    ]

    labels = read_labels(write_list(tmp_path / f"labels{suffix}", rows))

    assert labels.column_names == ["utterance_id", *LABEL_COLUMNS]
    assert labels.to_pylist() == [dict.fromkeys(LABEL_COLUMNS) | row for row in rows]


@pytest.mark.parametrize("suffix", LIST_SUFFIXES)
@pytest.mark.parametrize("text", ["007", "1e5", "true", "null", "2026-11-23"])
def test_an_id_is_read_as_it_is_spelt(tmp_path: Path, suffix: str, text: str) -> None:
    labels = read_labels(write_list(tmp_path / f"labels{suffix}", [{"utterance_id": text, "label": "spoof"}]))

    assert labels["utterance_id"].to_pylist() == [text]


def test_numbers_of_jsonl_and_parquet_are_taken_as_their_text(tmp_path: Path) -> None:
    rows = [{"utterance_id": 7, "label": "spoof", "speaker": 12}]
    (tmp_path / "labels.jsonl").write_text(json.dumps(rows[0]))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "labels.parquet")

    for name in ("labels.jsonl", "labels.parquet"):
        labels = read_labels(f"{tmp_path}/{name}").select(["utterance_id", "label", "speaker"])
        assert labels.to_pylist() == [{"utterance_id": "7", "label": "spoof", "speaker": "12"}]


@pytest.mark.parametrize("text", ["\ufeffutterance_id,label\na,spoof\n", 'utterance_id,label\r\n"a","spoof"\r\n'])
def test_a_csv_of_a_spreadsheet_is_read(tmp_path: Path, text: str) -> None:
    assert labels_of(tmp_path / "labels.csv", text) == [{"utterance_id": "a", "label": "spoof"}]


def test_rows_without_a_label_are_left_out(tmp_path: Path) -> None:
    assert labels_of(tmp_path / "labels.csv", "utterance_id,label\na,\nb,spoof\n") == [
        {"utterance_id": "b", "label": "spoof"}
    ]


@pytest.mark.parametrize("suffix", LIST_SUFFIXES)
@pytest.mark.parametrize("missing", ["utterance_id", "label"])
def test_a_missing_column_is_named_beside_those_found(tmp_path: Path, suffix: str, missing: str) -> None:
    row: Row = {"utterance_id": "a", "label": "spoof"}
    row["other"] = row.pop(missing)

    with pytest.raises(SchemaError, match=f"no column `{missing}`; found .*other"):
        read_labels(write_list(tmp_path / f"labels{suffix}", [row]))


@pytest.mark.parametrize("word", ["0", "1", "fake", "Bonafide", "spoof "])
def test_a_label_is_one_of_two_words(tmp_path: Path, word: str) -> None:
    with pytest.raises(SchemaError, match=f"first '{word}' of 'b'"):
        labels_of(tmp_path / "labels.csv", f"utterance_id,label\na,spoof\nb,{word}\n")


def test_a_number_is_no_label(tmp_path: Path) -> None:
    pq.write_table(pa.table({"utterance_id": ["a"], "label": [0]}), tmp_path / "labels.parquet")

    with pytest.raises(SchemaError, match="first '0' of 'a'"):
        read_labels(f"{tmp_path}/labels.parquet")


def test_a_repeated_id_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"1 utterance id\(s\) occur more than once, first 'a'"):
        labels_of(tmp_path / "labels.csv", "utterance_id,label\na,spoof\nb,spoof\na,bonafide\n")


def test_a_split_is_selected_if_the_table_has_splits(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"utterance_id": "a", "label": "spoof", "split": "train"},
        {"utterance_id": "b", "label": "spoof", "split": "eval"},
        {"utterance_id": "c", "label": "spoof", "split": None},
    ]
    with_splits = write_list(tmp_path / "with.csv", rows)
    without = write_list(tmp_path / "without.csv", [{"utterance_id": "a", "label": "spoof"}])

    assert read_labels(with_splits, "train")["utterance_id"].to_pylist() == ["a"]
    assert len(read_labels(with_splits)) == 3
    assert read_labels(without, "train")["utterance_id"].to_pylist() == ["a"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("ragged.csv", b"utterance_id,label\na,spoof,more\n"),
        ("latin.csv", b"utterance_id,label\ncaf\xe9,spoof\n"),
        ("twice.csv", b"utterance_id,label,label\na,spoof,spoof\n"),
        ("cut.jsonl", b'{"utterance_id": "a", "lab'),
        ("nested.jsonl", b'{"utterance_id": {"name": "a"}, "label": "spoof"}\n'),
        ("text.parquet", b"utterance_id,label\n"),
    ],
)
def test_an_unreadable_table_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(SchemaError, match=name):
        read_labels(f"{tmp_path}/{name}")


def test_a_column_of_texts_that_are_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"uri": ["a.flac"], "utterance_id": bad}), tmp_path / "bad.parquet")

    with pytest.raises(SchemaError, match=r"bad\.parquet: column `utterance_id` is string; expected text, in UTF-8"):
        read_entries(f"{tmp_path}/bad.parquet")


def test_a_column_that_pandas_calls_a_category_is_text(tmp_path: Path) -> None:
    ids = pa.array(["x", "y", "x"]).dictionary_encode()
    pq.write_table(
        pa.table({"uri": pa.array(["/a", "/b", "/c"]).dictionary_encode(), "member": ids}), tmp_path / "c.parquet"
    )

    assert [(each.uri, each.member) for each in read_entries(f"{tmp_path}/c.parquet")] == [
        ("/a", "x"),
        ("/b", "y"),
        ("/c", "x"),
    ]


@pytest.mark.parametrize("suffix", LIST_SUFFIXES)
def test_entries_have_a_uri_and_a_member_and_id_if_given(tmp_path: Path, suffix: str) -> None:
    rows: list[Row] = [
        {"uri": "a.flac", "member": None, "utterance_id": None},
        {"uri": "../up.flac", "member": None, "utterance_id": "mine"},
        {"uri": "/data/0.tar", "member": "x/a.flac", "utterance_id": None},
        {"uri": "s3://bucket/0.tar", "member": None, "utterance_id": None},
    ]

    entries = read_entries(write_list(tmp_path / f"list{suffix}", rows))

    assert [(each.uri, each.member, each.given_id) for each in entries] == [
        (f"{tmp_path}/a.flac", None, None),
        (f"{tmp_path.parent}/up.flac", None, "mine"),
        ("/data/0.tar", "x/a.flac", None),
        ("s3://bucket/0.tar", None, None),
    ]
    assert entries[2].where == f"{tmp_path}/list{suffix} row 3"


def test_a_list_beside_its_recordings_is_read_from_a_bucket_too(s3_root: str) -> None:
    storage.write_bytes(f"{s3_root}/list.csv", b"uri\nday/a.flac\n")

    assert [each.uri for each in read_entries(f"{s3_root}/list.csv")] == [f"{s3_root}/day/a.flac"]


@pytest.mark.parametrize("suffix", LIST_SUFFIXES)
@pytest.mark.parametrize(
    ("row", "complaint"),
    [({"path": "a.flac"}, "no column `uri`; found .*path"), ({"uri": None, "member": "x"}, "row 1 has no uri")],
)
def test_a_list_without_uris_is_refused(tmp_path: Path, suffix: str, row: Row, complaint: str) -> None:
    with pytest.raises(SchemaError, match=complaint):
        read_entries(write_list(tmp_path / f"list{suffix}", [row]))


@pytest.mark.parametrize("suffix", LIST_SUFFIXES)
def test_a_list_names_excerpts_in_every_format(tmp_path: Path, suffix: str) -> None:
    rows: list[Row] = [
        {"uri": "/a.wav", "start": "1.5", "end": "20", "channel": None},
        {"uri": "/a.wav", "start": None, "end": None, "channel": "1"},
        {"uri": "/a.wav", "start": "7", "end": None, "channel": None},
        {"uri": "/a.wav", "start": None, "end": None, "channel": None},
    ]

    entries = read_entries(write_list(tmp_path / f"list{suffix}", rows))

    assert [entry.excerpt for entry in entries] == [Excerpt(1.5, 20.0), Excerpt(channel=1), Excerpt(7.0), WHOLE]


def test_numbers_in_columns_of_parquet_are_excerpts_too(tmp_path: Path) -> None:
    table = pa.table({"uri": ["/a.wav", "/b.wav"], "start": [0.25, None], "end": [3, None], "channel": [1.0, None]})
    pq.write_table(table, tmp_path / "list.parquet")

    assert [each.excerpt for each in read_entries(str(tmp_path / "list.parquet"))] == [Excerpt(0.25, 3.0, 1), WHOLE]


@pytest.mark.parametrize(
    "row",
    ["-1,2,", "3,3,", "4,3,", "nan,3,", "0,inf,", "inf,,", "x,3,", "0,0,", "0,1,-1", "0,1,16", "0,1,1.5", "0,1,left"],
)
def test_an_impossible_excerpt_is_refused_by_its_row(tmp_path: Path, row: str) -> None:
    (tmp_path / "list.csv").write_text(f"uri,start,end,channel\na.wav,0,1,\na.wav,{row}\n")

    with pytest.raises(SchemaError, match=r"list\.csv row 2: "):
        read_entries(str(tmp_path / "list.csv"))
