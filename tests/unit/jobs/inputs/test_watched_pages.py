"""Pages of Parquet are counted as they are read, whoever wrote them."""

from __future__ import annotations

import io
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.inputs import untrusted_parquet
from tests.support.parquet_footers import claiming

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


def opened(content: bytes) -> pq.ParquetFile:
    return untrusted_parquet.open_file(io.BytesIO(content), len(content), buffer_size=4_096, pre_buffer=False)


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_table_is_read_as_it_was_written(writing: str) -> None:
    file = io.BytesIO()
    table = pa.table({"audio": pa.array([*ROWS, None, []], pa.list_(pa.uint8())), "text": ["x"] * (len(ROWS) + 2)})
    pq.write_table(table, file, row_group_size=600, **WRITINGS[writing])

    assert opened(file.getvalue()).read().equals(table)


def test_columns_may_be_read_in_turns() -> None:
    file = io.BytesIO()
    pq.write_table(
        pa.table({"number": range(2_000), "text": [str(each) for each in range(2_000)]}), file, data_page_size=500
    )
    table = opened(file.getvalue())
    ways = [table.iter_batches(7, columns=[name]) for name in ("number", "text")]

    pairs = [(number["number"].to_pylist(), text["text"].to_pylist()) for number, text in zip(*ways, strict=True)]

    assert all([str(each) for each in numbers] == found for numbers, found in pairs)
    assert sum(len(numbers) for numbers, _ in pairs) == 2_000


def test_tables_of_other_writers_are_read(tmp_path: Any) -> None:
    path = tmp_path / "0.parquet"
    duckdb.sql(f"COPY (SELECT range(n % 250)::UTINYINT[] AS audio FROM range(500) t(n)) TO '{path}'")
    assert pa.compute.list_value_length(opened(path.read_bytes()).read()["audio"]).to_pylist() == [
        n % 250 for n in range(500)
    ]
    recordings = [np.random.default_rng(n).bytes(300_000) for n in range(5)]  # their headers repeat whole recordings
    polars.DataFrame({"audio": recordings}).write_parquet(path, statistics="full")
    assert opened(path.read_bytes()).read()["audio"].to_pylist() == recordings


def test_a_page_that_decompresses_to_far_more_than_the_footer_says_is_refused_unread() -> None:
    file = io.BytesIO()
    table = pa.table({"audio": pa.array([bytes(80 << 20)], pa.binary())})
    pq.write_table(table, file, compression="zstd", use_dictionary=False, write_statistics=False, store_schema=False)
    content = claiming(file.getvalue(), 1_000)
    assert pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0).total_uncompressed_size == 1_000

    with pytest.raises(ValueError, match=r"byte 4: 83,886,... bytes from .* a decompression bomb"):
        opened(content).read()


def test_a_page_of_millions_of_values_of_one_list_is_refused_unread() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": pa.array([[0] * 8_000_000], pa.list_(pa.uint8()))}), file, compression="zstd")

    with pytest.raises(ValueError, match="a decompression bomb"):
        opened(file.getvalue()).read()


def test_bytes_that_are_no_pages_are_refused_in_bounded_time() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": ROWS}), file)
    draw = np.random.default_rng(0)
    n_refused = 0
    for _ in range(500):
        content = bytearray(file.getvalue())
        at = int(draw.integers(4, 60))
        content[at : at + 8] = draw.bytes(8)
        try:
            opened(bytes(content)).read()
        except (ValueError, OSError):  # Arrow's own, for what is no claim
            n_refused += 1
    assert n_refused > 400
