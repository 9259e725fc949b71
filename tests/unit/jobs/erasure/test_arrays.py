"""A foreign table is searched in all of its bytes: what was cut off, masked or set to null leaves them behind."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.erasure.arrays import remains
from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest

CALL, WORD, OTHER = "2026/call.flac", "call_4711", "2026/other.flac"
TEXTS = ["first", "x", "last"]
IDS = [CALL, WORD]
KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]


def search(folder: Path, name: str) -> list[str]:
    return find_mentions(str(folder), ErasureRequest((name,)))[0]


def write_arrow(path: Path, column: pa.Array) -> None:
    batch = pa.record_batch({"x": column})
    with pa.ipc.new_file(path, batch.schema) as writer:
        writer.write_batch(batch)


def hidden(name: str, kind: pa.DataType) -> pa.Array:
    """An array of three values, the second of which, an id, is null, though its bytes are still there."""
    texts = pa.array([TEXTS[0], name, TEXTS[2]]).cast(pa.large_binary()).cast(kind)
    return pa.Array.from_buffers(kind, 3, [pa.py_buffer(bytes([0b101])), *texts.buffers()[1:]])


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_bytes_in_the_slot_of_a_null_are_searched(tmp_path: Path, kind: pa.DataType, name: str) -> None:
    write_arrow(tmp_path / "a", hidden(name, kind))

    assert CALL not in str(hidden(name, kind).to_pylist())
    assert search(tmp_path, name) == [f"{tmp_path / 'a'}: mentions {name}"]
    assert search(tmp_path, OTHER) == []


@pytest.mark.parametrize("name", IDS)
def test_texts_that_a_slice_of_views_leaves_out_are_searched(tmp_path: Path, name: str) -> None:
    path = f"archive/{name}"  # longer than what a view holds itself
    write_arrow(tmp_path / "a", pa.array([path, *TEXTS, "a text of many letters"], pa.string_view())[1:])

    assert search(tmp_path, name) == [f"{tmp_path / 'a'}: mentions {name}"]
    assert search(tmp_path, OTHER) == []


def nested(name: str, kind: str) -> pa.Array:
    """An array that holds an id below a null or outside of all lists."""
    texts, masked = pa.array([TEXTS[0], name, TEXTS[2]]), pa.array([False, True, False])
    return {
        "struct": lambda: pa.StructArray.from_arrays([texts], ["id"], mask=masked),
        "struct of structs": lambda: pa.StructArray.from_arrays(
            [pa.StructArray.from_arrays([texts], ["id"], mask=masked)], ["inner"]
        ),
        "list": lambda: pa.ListArray.from_arrays([0, 1, 2, 3], texts, mask=masked),
        "fixed list": lambda: pa.FixedSizeListArray.from_arrays(texts, 1, mask=masked),
        "list of bytes": lambda: pa.ListArray.from_arrays(
            pa.array([0, len(name)], pa.int32()),
            pa.array(np.frombuffer(name.encode(), np.uint8)),
            mask=pa.array([True]),
        ),
        "list view": lambda: pa.ListViewArray.from_arrays([0, 2], [1, 1], texts),
        "dictionary": lambda: pa.DictionaryArray.from_arrays(pa.array([0, 2, 2]), texts),
        "union": lambda: pa.UnionArray.from_dense(
            pa.array([0, 0], pa.int8()), pa.array([0, 2], pa.int32()), [texts, pa.array([1])]
        ),
    }[kind]()


NESTED = ["struct", "struct of structs", "list", "fixed list", "list of bytes", "list view", "dictionary", "union"]


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("kind", NESTED)
def test_what_no_row_of_a_nested_column_shows_is_searched(tmp_path: Path, kind: str, name: str) -> None:
    column = nested(name, kind)
    write_arrow(tmp_path / "a", column)

    assert name not in str(column.to_pylist())
    assert search(tmp_path, name) == [f"{tmp_path / 'a'}: mentions {name}"]
    assert search(tmp_path, OTHER) == []


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("kind", ["plain", "list", "struct", "bytes"])
def test_a_value_of_a_dictionary_of_parquet_that_no_row_has_is_searched(tmp_path: Path, kind: str, name: str) -> None:
    values = pa.array([TEXTS[0], name, TEXTS[2]]).cast(pa.binary() if kind == "bytes" else pa.string())
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 0, 2], pa.int32()), values)
    column = {
        "list": lambda: pa.ListArray.from_arrays([0, 1, 3], texts),
        "struct": lambda: pa.StructArray.from_arrays([texts], ["id"]),
    }.get(kind, lambda: texts)()
    pq.write_table(pa.table({"x": column}), tmp_path / "a.parquet", store_schema=False)

    assert name not in str(pq.read_table(tmp_path / "a.parquet").to_pylist())
    assert search(tmp_path, name) == [f"{tmp_path / 'a.parquet'}: mentions {name}"]
    assert search(tmp_path, OTHER) == []


@pytest.mark.parametrize("kind", [*KINDS, pa.binary(5), pa.list_(pa.uint8())], ids=str)
def test_an_array_of_values_alone_leaves_nothing(kind: pa.DataType) -> None:
    texts = [b"first", None, b"first", b"third" * (1 if kind == pa.binary(5) else 9)]
    if kind in (pa.string(), pa.large_string(), pa.string_view()):
        column = pa.array([each and each.decode() for each in texts], kind)
    else:
        column = pa.array([list(each or b"") for each in texts] if kind.num_fields else texts, kind)

    assert list(remains(column)) == []


@pytest.mark.parametrize("kind", ["list_view", "null letters"])
def test_lists_of_bytes_are_read_as_bytes(tmp_path: Path, kind: str) -> None:
    letters = np.frombuffer(CALL.encode(), np.uint8)
    nulls = pa.Array.from_buffers(pa.uint8(), len(letters), [pa.py_buffer(bytes(4)), pa.py_buffer(letters.tobytes())])
    column = (
        pa.array([letters.tolist()], pa.list_view(pa.uint8()))
        if kind == "list_view"
        else pa.ListArray.from_arrays(pa.array([0, len(letters)], pa.int32()), nulls)
    )
    write_arrow(tmp_path / "a", column)

    assert search(tmp_path, CALL) == [f"{tmp_path / 'a'}: mentions {CALL}"]


CELLS = {
    "msgpack": lambda name: b"\x81\xa2id" + bytes([0xA0 | len(name)]) + name.encode(),
    "protobuf": lambda name: b"\x0a" + bytes([len(name)]) + name.encode() + b"\x10\x01",
    "padded": lambda name: name.encode().ljust(32, b"\0"),
    "UTF-32": lambda name: name.encode("utf-32-le"),
}


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("form", CELLS)
def test_a_short_cell_of_another_format_is_searched_for_words_too(tmp_path: Path, form: str, name: str) -> None:
    pq.write_table(pa.table({"x": [CELLS[form](name)]}), tmp_path / "a.parquet")

    assert search(tmp_path, name) == [f"{tmp_path / 'a.parquet'}: mentions {name}"]
    assert search(tmp_path, OTHER) == []


def test_a_digest_mentions_no_word_of_a_few_letters(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [bytes(range(48, 80)), b"\xff" + bytes(range(96, 127))]}), tmp_path / "a.parquet")

    assert [search(tmp_path, word) for word in ("7", "ab", "xyz")] == [[], [], []]


URI, MEMBER = "s3://archive/2026/1.tar", "a.wav"
PAIRS = {
    "struct": [{"uri": URI, "member": MEMBER}],
    "list": [[URI, MEMBER]],
    "list of structs": [[{"uri": URI, "member": MEMBER}]],
}


@pytest.mark.parametrize("form", [*PAIRS, "map", "bytes"])
def test_a_container_and_its_member_in_one_row_are_found(tmp_path: Path, form: str) -> None:
    if form == "bytes":
        rows = pa.table({"uri": [URI], "member": [MEMBER.encode()]})
    elif form == "map":
        rows = pa.table({"x": pa.array([[(URI, [MEMBER])]], pa.map_(pa.string(), pa.list_(pa.string())))})
    else:
        rows = pa.table({"x": PAIRS[form]})
    pq.write_table(rows, tmp_path / "a.parquet")

    assert search(tmp_path, "2026/1.tar#a.wav")
    assert search(tmp_path, "2026/1.tar#b.wav") == []


def test_the_metadata_of_a_dataset_is_searched_for_files_and_extreme_values(tmp_path: Path) -> None:
    collected: list[pq.FileMetaData] = []
    rows = pa.table({"speaker": [WORD, "b"], "score": [1.0, 2.0], "note": ["first", CALL]})
    pq.write_to_dataset(rows, tmp_path / "set", partition_cols=["speaker"], metadata_collector=collected)
    for part in (tmp_path / "set").iterdir():
        shutil.rmtree(part)  # as an erasure told
    pq.write_metadata(rows.drop_columns("speaker").schema, tmp_path / "set" / "_metadata", metadata_collector=collected)

    assert search(tmp_path, WORD) == [f"{tmp_path / 'set' / '_metadata'}: mentions {WORD}"]
    assert search(tmp_path, CALL) == [f"{tmp_path / 'set' / '_metadata'}: mentions {CALL}"]
    assert search(tmp_path, OTHER) == []


def test_offsets_that_lead_out_of_their_buffer_are_refused(tmp_path: Path) -> None:
    write_arrow(tmp_path / "a", pa.array(["first", "second"]))
    content = (tmp_path / "a").read_bytes()
    offsets = np.array([0, 5, 11], np.int32).tobytes()
    assert content.count(offsets) == 1
    (tmp_path / "a").write_bytes(content.replace(offsets, np.array([0, 5, 1 << 30], np.int32).tobytes()))

    (found,) = search(tmp_path, CALL)

    assert found.startswith(f"{tmp_path / 'a'}: cannot be read, so what it mentions is not known: ")


def test_a_decimal_is_no_text_of_parquet(tmp_path: Path) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"x": pa.array([1, 2], pa.decimal128(9, 2))}), file)
    (tmp_path / "a.parquet").write_bytes(file.getvalue())

    assert search(tmp_path, CALL) == []
