"""A column of recordings is found and read, whatever the type in which a tool wrote it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from detector.errors import SchemaError
from detector.schema import MANIFEST, SCORES, embeddings_schema
from jobs.inputs.archive import find
from jobs.inputs.config import InputConfig
from jobs.inputs.containers.audio_columns import audio_column
from tests.support.audio import encoded, tone
from tests.support.containers import FLAC, MEMBERS, OTHER, errors, in_parquet, put, read, shard_of

WAVS = [encoded(tone(1.0, seed=seed), kind="WAV", subtype="PCM_16") for seed in (1, 2)]  # of one size
BYTES = [*WAVS, None]


def lists_of(kind: pa.DataType, contents: list[bytes | None] = BYTES) -> pa.Array:
    values = [None if each is None else np.frombuffer(each, kind.value_type.to_pandas_dtype()) for each in contents]
    return pa.array(values, kind)


KINDS: dict[str, Callable[[], pa.Array]] = {
    "binary": lambda: pa.array(BYTES, pa.binary()),
    "large binary": lambda: pa.array(BYTES, pa.large_binary()),
    "binary view": lambda: pa.array(BYTES, pa.binary_view()),
    "fixed-size binary": lambda: pa.array(BYTES, pa.binary(len(WAVS[0]))),
    "dictionary of binary": lambda: pa.array(BYTES, pa.binary()).dictionary_encode(),
    "dictionary of large binary": lambda: pa.array(BYTES, pa.large_binary()).dictionary_encode(),
    "dictionary of fixed-size binary": lambda: pa.array(BYTES, pa.binary(len(WAVS[0]))).dictionary_encode(),
    "list of uint8": lambda: lists_of(pa.list_(pa.uint8())),
    "list of int8": lambda: lists_of(pa.list_(pa.int8())),
    "large list of uint8": lambda: lists_of(pa.large_list(pa.uint8())),
    "list view of uint8": lambda: lists_of(pa.list_view(pa.uint8())),
    "fixed-size list of uint8": lambda: lists_of(pa.list_(pa.uint8(), len(WAVS[0]))),
    "fixed-size list of int8": lambda: lists_of(pa.list_(pa.int8(), len(WAVS[0]))),
}


def plain(column: pa.Array) -> pa.Table:
    return pa.table({"audio": column, "text": ["a", "b", "c"]})


def in_a_struct(column: pa.Array) -> pa.Table:
    names = pa.array(["a.wav", "b.wav", "c.wav"])
    return pa.table({"audio": pa.StructArray.from_arrays([column, names], ["bytes", "path"])})


def in_structs_of_structs(column: pa.Array) -> pa.Table:
    inner = in_a_struct(column)["audio"].combine_chunks()
    for name in ("audio", "call", "row"):
        inner = pa.StructArray.from_arrays([inner, pa.array([1, 2, 3])], [name, "number"])
    return pa.table({"data": inner})


@pytest.mark.parametrize("put_in", [plain, in_a_struct, in_structs_of_structs])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keeps_schema", [True, False], ids=["with Arrow's schema", "without"])
def test_bytes_of_every_kind_are_heard_as_a_second_reader_hears_them(
    tmp_path: Path, kind: str, put_in: Callable[[pa.Array], pa.Table], keeps_schema: bool
) -> None:
    path = tmp_path / "0.parquet"
    pq.write_table(put_in(KINDS[kind]()), path, store_schema=keeps_schema)
    names = ["00000000", "00000001", "00000002"] if put_in is plain else ["a.wav", "b.wav", "c.wav"]

    found, samples = read(shard_of(path))

    assert [(each["member"], each.get("error")) for each in found] == [
        (names[0], None),
        (names[1], None),
        (names[2], "empty"),
    ]
    for ordinal, wav in enumerate(WAVS):
        expected, _ = soundfile.read(io.BytesIO(wav), dtype="float32")
        np.testing.assert_array_equal(np.frombuffer(samples[ordinal], np.float32), expected)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_a_path_of_every_kind_of_text_names_its_row(tmp_path: Path, kind: pa.DataType) -> None:
    rows = [{"bytes": FLAC, "path": "a.flac"}, {"bytes": OTHER, "path": None}]
    audio = pa.array(rows, pa.struct({"bytes": pa.binary_view(), "path": kind}))
    pq.write_table(pa.table({"audio": audio}), tmp_path / "0.parquet")

    assert errors(tmp_path / "0.parquet") == [("a.flac", None), ("00000001", None)]


BINARY, HF = pa.binary(), pa.struct({"bytes": pa.binary(), "path": pa.string()})
DECODED = pa.struct({"array": pa.list_(pa.float32()), "sampling_rate": pa.int64(), "path": pa.string()})


@pytest.mark.parametrize(
    ("columns", "content"),
    [
        ({"audio": pa.list_(pa.uint8()), "image": BINARY}, "audio"),
        ({"sound": BINARY, "mask": pa.list_(pa.uint8())}, "sound"),
        ({"sound": HF, "view": pa.binary_view(), "decoded": DECODED}, "sound.bytes"),
        ({"row": pa.struct({"audio": HF, "image": HF})}, "row.audio.bytes"),
        ({"row": pa.struct({"audio": HF}), "image": HF}, "row.audio.bytes"),
        ({"row": pa.struct({"audio": HF}), "audio": DECODED}, "audio.array"),
        ({"row": pa.struct({"sound": BINARY, "text": pa.string()})}, "row.sound"),
        ({"audio": pa.struct({"array": pa.list_(pa.int64()), "bytes": BINARY})}, "audio.bytes"),
        ({"array": pa.list_(pa.float64()), "sampling_rate": pa.int32(), "path": pa.string()}, "array"),
        ({"sha256": pa.binary(32), "uuid": pa.binary(16), "sound": pa.list_(pa.int8())}, "sound"),
        ({"sha256": pa.binary(32), "text": pa.string()}, None),
        ({"audio": pa.list_(pa.float32())}, None),
        ({"audio": pa.list_(HF)}, None),
    ],
)
def test_the_column_called_audio_is_chosen_at_any_depth_or_the_only_one(
    columns: dict[str, Any], content: str | None
) -> None:
    found = audio_column(pa.schema(columns))

    assert (found and ".".join(found.content)) == content


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"left": pa.binary_view(), "right": pa.list_(pa.uint8())}, "left, right"),
        ({"a": pa.struct({"audio": HF}), "b": pa.struct({"audio": BINARY})}, "a.audio, b.audio"),
    ],
)
def test_several_columns_of_which_none_is_the_one_called_audio_are_refused(columns: dict[str, Any], named: str) -> None:
    with pytest.raises(SchemaError, match=f"columns {named} hold bytes"):
        audio_column(pa.schema(columns))


def test_tables_in_a_folder_that_may_hold_recordings_are_counted_and_named_and_our_own_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "audio.parquet", in_parquet(MEMBERS))
    known = {
        "scores": SCORES,
        "embeddings": embeddings_schema(4),
        "list": MANIFEST,
        "labels": pa.schema({"utterance_id": pa.string()}),
    }
    for name, schema in known.items():
        pq.write_table(schema.empty_table(), tmp_path / f"{name}.parquet")

    with caplog.at_level(logging.WARNING):
        find(InputConfig(input=(str(tmp_path),)))
    assert caplog.text == ""

    pq.write_table(pa.table({"audio": [[1, 2]], "text": ["a"]}), tmp_path / "u.parquet")
    pq.write_table(pa.table({"utterance_id": ["a"], "waves": [[0.5]]}), tmp_path / "v.parquet")
    with caplog.at_level(logging.WARNING):
        shards = find(InputConfig(input=(str(tmp_path),))).containers

    assert [Path(shard.uri).name for shard in shards] == ["audio.parquet"]
    assert "passed over 2 Parquet files" in caplog.text
    assert f"{tmp_path}/u.parquet, with the columns audio: list<element: int64>, text: string" in caplog.text


def test_a_table_that_is_named_itself_and_holds_no_recordings_is_refused_with_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"audio": [[1, 2]]}), tmp_path / "0.parquet")

    with pytest.raises(SchemaError, match="found audio: list<element: int64>"):
        find(InputConfig(input=(str(tmp_path / "0.parquet"),)))
