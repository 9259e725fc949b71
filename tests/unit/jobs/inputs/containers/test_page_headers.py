"""The values that pages claim are counted without reading the pages, whoever wrote them."""

from __future__ import annotations

import io
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.inputs.containers.page_headers import n_claimed_values

ROWS = [[number % 256] * number for number in range(1_500)]
WRITINGS: dict[str, dict[str, Any]] = {
    "as a rule": {},
    "version 2": {"data_page_version": "2.0"},
    "without dictionaries": {"use_dictionary": False},
    "small pages": {"data_page_size": 1_000, "write_batch_size": 10},
    "small pages of version 2": {"data_page_version": "2.0", "data_page_size": 1_000, "write_batch_size": 10},
    "checksums": {"write_page_checksum": True},
    "an index": {"write_page_index": True},
    "uncompressed": {"compression": "none"},
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_the_count_is_the_writers_own(writing: str) -> None:
    file = io.BytesIO()
    table = pa.table({"audio": pa.array([*ROWS, None, []], pa.list_(pa.uint8())), "text": ["x"] * (len(ROWS) + 2)})
    pq.write_table(table, file, row_group_size=600, **WRITINGS[writing])
    metadata = pq.ParquetFile(file).metadata

    found = [n_claimed_values(file, metadata.row_group(group).column(0)) for group in range(3)]

    # a null list, an empty one, and the empty one of the first row are a value each
    assert sum(found) == sum(map(len, ROWS)) + 3
    assert found == [metadata.row_group(group).column(0).num_values for group in range(3)]


def test_the_count_of_another_writer_is_its_own(tmp_path: Any) -> None:
    path = tmp_path / "0.parquet"
    duckdb.sql(f"COPY (SELECT range(n % 250)::UTINYINT[] AS audio FROM range(500) t(n)) TO '{path}'")

    with path.open("rb") as file:
        assert n_claimed_values(file, pq.read_metadata(path).row_group(0).column(0)) == 2 * (249 * 250 // 2 + 1)


def test_bytes_that_are_no_pages_are_refused_in_bounded_time() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": ROWS}), file)
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    draw = np.random.default_rng(0)
    for _ in range(2_000):
        content = bytearray(file.getvalue())
        at = int(draw.integers(4, 60))
        content[at : at + 8] = draw.bytes(8)
        try:
            n_claimed_values(io.BytesIO(content), column)
        except ValueError as error:
            assert "page" in str(error)  # noqa: PT017
