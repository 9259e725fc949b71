"""Samples that a table holds as numbers are heard as they are, at their own rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.audio import RATE, tone
from tests.support.containers import errors, read, shard_of

TONE = tone(1.0).astype(np.float32)
PCM = (TONE * 20_000).astype(np.int16)
FLOATS = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}


def written(folder: Path, arrays: list[Any], kind: pa.DataType, rates: list[Any], rate_kind: Any = None) -> Path:
    """Write a table as `datasets` does with decoded recordings."""
    audio = pa.StructArray.from_arrays(
        [
            pa.array(arrays, kind),
            pa.array(rates, rate_kind or pa.int64()),
            pa.array([f"{n}.wav" for n in range(len(rates))]),
        ],
        ["array", "sampling_rate", "path"],
    )
    pq.write_table(pa.table({"audio": audio}), folder / "0.parquet", row_group_size=2)
    return folder / "0.parquet"


def heard(path: Path) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    found, samples = read(shard_of(path))
    return found, [np.frombuffer(samples[ordinal], np.float32) for ordinal in sorted(samples)]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("make", [pa.list_, pa.large_list, pa.list_view, lambda kind: pa.list_(kind, RATE)])
def test_floats_are_heard_to_the_bit(tmp_path: Path, name: str, make: Any) -> None:
    expected = TONE.astype(name)

    found, samples = heard(written(tmp_path, [expected, expected[::-1].copy(), None], make(FLOATS[name]), [RATE] * 3))

    assert [(each["member"], each.get("error")) for each in found] == [
        ("0.wav", None),
        ("1.wav", None),
        ("2.wav", "empty"),
    ]
    assert (found[0]["native_rate"], found[0]["channels"], found[0]["seconds"]) == (RATE, 1, 1.0)
    np.testing.assert_array_equal(samples[0], expected.astype(np.float32))
    np.testing.assert_array_equal(samples[1], expected[::-1].astype(np.float32))


def test_integers_are_pcm_of_16_bits(tmp_path: Path) -> None:
    found, samples = heard(written(tmp_path, [PCM], pa.list_(pa.int16()), [RATE]))

    assert found[0].get("error") is None
    np.testing.assert_array_equal(samples[0], PCM / np.float32(1 << 15))


@pytest.mark.parametrize("n_channels", [1, 2, 3, 6, 8, 12])
@pytest.mark.parametrize("is_samples_first", [False, True])
@pytest.mark.parametrize("kind", [pa.float32(), pa.int16()])
def test_a_list_of_lists_has_channels(
    tmp_path: Path, n_channels: int, is_samples_first: bool, kind: pa.DataType
) -> None:
    whole = PCM if kind == pa.int16() else TONE
    channels = np.stack([(whole / (number + 1)).astype(whole.dtype) for number in range(n_channels)])
    array = (channels.T if is_samples_first else channels).tolist()

    found, samples = heard(written(tmp_path, [array], pa.list_(pa.list_(kind)), [RATE]))

    assert (found[0].get("error"), found[0]["channels"], found[0]["seconds"]) == (None, n_channels, 1.0)
    scale = 1 << 15 if kind == pa.int16() else 1
    np.testing.assert_allclose(samples[0], (channels / scale).mean(axis=0), atol=1e-6)


def test_a_recording_has_the_rate_of_its_row(tmp_path: Path) -> None:
    found, _ = heard(written(tmp_path, [TONE[:8_000], TONE], pa.list_(pa.float32()), [8_000, 48_000.0], pa.float64()))

    assert [(each["native_rate"], each["seconds"]) for each in found] == [
        (8_000, 1.0),
        (48_000, pytest.approx(1 / 3, abs=1e-3)),
    ]


def test_columns_of_the_table_itself_may_hold_samples_and_rates(tmp_path: Path) -> None:
    pq.write_table(pa.table({"array": [TONE], "sampling_rate": [RATE], "path": ["a.wav"]}), tmp_path / "0.parquet")

    assert errors(tmp_path / "0.parquet") == [("a.wav", None)]


def test_a_rate_that_no_recording_has_is_an_error_of_its_row(tmp_path: Path) -> None:
    rates = [None, 0.0, -16_000.0, 1e12, 16_000.5, float("nan"), float("inf"), 16_000.0]
    path = written(tmp_path, [TONE] * len(rates), pa.list_(pa.float32()), rates, pa.float64())

    assert [error for _, error in errors(path)] == [*["bad_header"] * 7, None]


@pytest.mark.parametrize(
    ("array", "error"),
    [
        ([[0.5] * 900, [0.5] * 901], "bad_header"),
        ([[0.5] * 900, None], "bad_header"),
        ([[0.5] * 900] * 17, "bad_header"),
        ([[0.5, None] * 900], "bad_archive"),
        ([[float("nan")] * 900], "nonfinite_audio"),
        ([[]], "empty"),
        ([], "empty"),
        ([[1e300] * 900], "nonfinite_audio"),
    ],
    ids=["ragged", "a null channel", "17 channels", "nulls", "NaN", "an empty channel", "empty", "beyond float32"],
)
def test_an_array_that_is_no_recording_is_an_error_of_its_row(tmp_path: Path, array: Any, error: str) -> None:
    good = [TONE.tolist()]

    found = errors(written(tmp_path, [good, array, good], pa.list_(pa.list_(pa.float64())), [RATE] * 3))

    assert found == [("0.wav", None), ("1.wav", error), ("2.wav", None)]


def test_a_null_among_the_bytes_of_a_file_is_an_error_of_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"audio": pa.array([[82, None]], pa.list_(pa.uint8()))}), tmp_path / "0.parquet")

    assert errors(tmp_path / "0.parquet") == [("00000000", "bad_archive")]
