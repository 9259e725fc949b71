"""Columns are where Arrow says that they are, and a footer that contradicts itself is refused, not looked at."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.inputs.footers import Column, columns_of
from jobs.inputs.thrift import StructReader

TABLES: dict[str, Any] = {
    "flat": {"a": [1, 2, 3], "b": ["x", None, "z"]},
    "lists": {"a": [[1], [], None], "b": [[["x"]], [[]], []]},
    "structs": {"a": [{"x": 1, "y": [2.0]}, None, {"x": 2, "y": []}], "b": [1, 2, 3]},
    "lists of structs": {"a": [[{"x": 1, "y": "u"}], [], []], "b": [True, False, None]},
    "no rows": {"a": pa.array([], pa.int64()), "b": pa.array([], pa.list_(pa.float32()))},
}


def footer_of(content: bytes) -> bytes:
    return content[-8 - int.from_bytes(content[-8:-4], "little") : -8]


def written(name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(TABLES[name]), file, row_group_size=2, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False, "write_page_index": True}], ids=["plain", "index"])
def test_columns_are_those_of_arrow(name: str, options: dict[str, Any]) -> None:
    content = written(name, **options)
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata

    expected = []
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            first, dictionary = column.data_page_offset, column.dictionary_page_offset
            first = dictionary if dictionary is not None and 0 < dictionary < first else first
            is_list = metadata.schema.column(index).max_repetition_level > 0
            expected.append(Column(first, column.total_compressed_size, column.num_values, is_list))

    assert columns_of(footer_of(content)) == expected


def test_a_broken_footer_ends_in_an_error_and_no_process() -> None:
    footer, draw = footer_of(written("flat")), np.random.default_rng(0)
    n_refused = 0
    for _ in range(300):
        broken = bytearray(footer)
        broken[int(draw.integers(len(broken)))] = int(draw.integers(256))
        try:
            columns_of(bytes(broken))
        except ValueError as error:
            n_refused += 1
            assert "footer" in str(error) or "row group" in str(error)  # noqa: PT017
    assert n_refused > 50


@pytest.mark.parametrize("kind", [1, 3, 7], ids=["booleans", "bytes", "doubles"])
def test_a_list_of_more_values_than_there_are_bytes_is_refused_at_once(kind: int) -> None:
    footer = bytes([0x19, 0xF0 | kind, *[0xFF] * 8, 0x7F, 0])  # 2^63 - 1 values

    with pytest.raises(ValueError, match="a footer that breaks off"):
        columns_of(footer)


def test_more_fields_than_footers_have_are_refused_before_they_fill_the_memory() -> None:
    struct = bytes([0x11] * 11_000) + b"\0"  # fields 1 to 11,000, each of one byte

    with pytest.raises(ValueError, match="10,000 values"):
        StructReader(struct, "a struct", "that breaks off").struct()


@pytest.mark.parametrize(("width", "is_taken"), [(32 << 10, True), ((32 << 10) + 1, False)])
def test_a_column_whose_empty_values_would_take_much_memory_is_refused(width: int, is_taken: bool) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": pa.nulls(1, pa.binary(width))}), file)

    if is_taken:
        assert len(columns_of(footer_of(file.getvalue()))) == 1
    else:
        with pytest.raises(ValueError, match="a column of 32,769 bytes a value; at most 32,768 are allowed"):
            columns_of(footer_of(file.getvalue()))
