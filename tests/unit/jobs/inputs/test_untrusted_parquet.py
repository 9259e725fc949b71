"""Plain tables as Arrow reads them; what is refused stands in tests/hostile."""

from __future__ import annotations

import base64
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.inputs import untrusted_parquet


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def read(table: pa.Table) -> pa.Table:
    return pa.concat_tables(untrusted_parquet.tables(parquet(table)))


def test_a_plain_list_is_read_as_arrow_reads_it() -> None:
    table = pa.table({"utterance_id": ["a", None, "ü"], "seconds": [1.5, 2.0, None], "n": [1, 2, 3]})

    assert read(table).equals(table)
    assert read(table.slice(0, 0)).equals(table.slice(0, 0))


def test_a_nested_column_is_left_out() -> None:
    table = pa.table({"utterance_id": ["a"], "audio": [{"bytes": b"x", "path": "a"}]})

    assert read(table).column_names == ["utterance_id"]


@pytest.mark.parametrize("n_rows", [untrusted_parquet.BATCH_ROWS + 1, 1])
def test_texts_that_repeat_come_back_in_every_row(n_rows: int) -> None:
    table = pa.table({"label": ["spoof", None] * n_rows})

    assert read(table).equals(table)


@pytest.mark.parametrize("n_before", range(5))
def test_an_extension_type_is_found_wherever_it_stands_among_the_digits(n_before: int) -> None:
    schema = base64.b64encode(bytes(n_before) + b"ARROW:extension:name" + bytes(7))
    table = pa.table({"uri": ["a"]}).replace_schema_metadata({"note": schema})

    with pytest.raises(ValueError, match="columns of an Arrow extension type"):
        untrusted_parquet.opened(parquet(table))


def test_a_footer_that_no_table_of_recordings_needs_is_not_read() -> None:
    table = pa.table({"uri": ["a"]}).replace_schema_metadata({"note": b" " * (8 << 20)})

    with pytest.raises(ValueError, match=r"a footer of \d\d,\d\d\d,\d\d\d bytes; at most 16,777,216 are allowed"):
        untrusted_parquet.opened(parquet(table))
