"""B07: Parquet files whose few bytes claim lists or dictionaries that would fill a machine."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.inputs.containers import parquet
from tests.hostile.harness import AFTER, BEFORE, Lab, alone, hostile

N_ZEROS = 10_000_000


def list_of_zeros(version: str) -> bytes:
    """Return a good recording, and in a row group of its own a list of 10 million zeros."""
    groups = [np.frombuffer(BEFORE[1], np.uint8), np.zeros(N_ZEROS, np.uint8)]
    schema = pa.schema({"audio": pa.list_(pa.uint8())})
    file = io.BytesIO()
    with pq.ParquetWriter(file, schema, compression="zstd", data_page_version=version) as writer:
        for numbers in groups:
            row = pa.ListArray.from_arrays(pa.array([0, len(numbers)], pa.int32()), pa.array(numbers))
            writer.write_table(pa.table({"audio": row}, schema=schema))
    return file.getvalue()


def understated(content: bytes) -> bytes:
    """Return a Parquet file whose footer claims 100 values where there are 10 million."""

    def varint(number: int) -> bytes:
        return bytes((number >> 7 * at) & 0x7F | (0x80 if at < 3 else 0) for at in range(4))

    footer = -8 - int.from_bytes(content[-8:-4], "little")
    claim = varint(2 * N_ZEROS)
    assert claim in content[footer:]
    return content[:footer] + content[footer:].replace(claim, varint(200))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("is_understated", [False, True])
@hostile("B07", given="a list of 10 million zeros in a .parquet of 10 kB", expected="row `bad_archive`; not read")
def test_a_list_that_claims_far_more_than_is_stored_is_not_read(lab: Lab, version: str, is_understated: bool) -> None:
    content = list_of_zeros(version)

    read = lab.read(understated(content) if is_understated else content, "0.parquet")

    assert read.errors() == [("00000000", None), (None, "bad_archive")]
    assert read.samples[0] == alone(BEFORE[1])[0]
    lab.saw("read: `bad_archive`")


def in_dictionary(first: bytes, second: bytes, n_rows: int) -> bytes:
    """Return a first row, and a second one that is there many times but stored once."""
    indices = pa.array(np.minimum(np.arange(n_rows), 1), pa.int32())
    file = io.BytesIO()
    table = pa.table({"audio": pa.DictionaryArray.from_arrays(indices, pa.array([first, second], pa.binary()))})
    pq.write_table(table, file, dictionary_pagesize_limit=64 << 20)
    return file.getvalue()


@hostile("B07", given="a recording 10,000 times in a dictionary", expected="row `bad_archive`; rows before it are kept")
def test_a_dictionary_that_repeats_a_recording_is_abandoned(lab: Lab) -> None:
    read = lab.read(in_dictionary(BEFORE[1], bytes(1_000_000), 10_000), "0.parquet")

    assert read.errors()[0] == ("00000000", None)
    assert read.errors()[-1] == (None, "bad_archive")
    assert len(read.errors()) < 100
    lab.saw("read: `bad_archive`")


@hostile(
    "B07",
    given="a dictionary of 2 MB with the limit set to 1 MiB (normally 64 MiB)",
    expected="row `bad_archive`: it would be copied for every row",
)
def test_a_large_dictionary_is_not_copied_for_every_row(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "FREE_BYTES", 1 << 20)
    noise = np.random.default_rng(0).bytes(2_000_000)

    read = lab.read(in_dictionary(noise, AFTER[1], 100), "0.parquet")

    assert read.errors() == [(None, "bad_archive")]
    lab.saw("read: `bad_archive`")


@hostile("B07", given="two columns of one name in a .parquet", expected="row `bad_archive`")
def test_two_columns_of_one_name_are_refused(lab: Lab) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table([[BEFORE[1]], [AFTER[1]]], names=["audio", "audio"]), file)

    read = lab.read(file.getvalue(), "0.parquet")

    assert read.errors() == [(None, "bad_archive")]
    lab.saw("read: `bad_archive`")
