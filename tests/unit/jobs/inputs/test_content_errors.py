"""One object's bytes cost its own row, whatever reading them raises; they stop neither a listing nor a reader."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from detector.errors import SchemaError
from jobs import storage
from jobs.inputs.archive import find
from jobs.inputs.config import InputConfig
from jobs.inputs.containers import CONTAINERS, parquet
from jobs.storage import Stored
from tests.support.audio import encoded, tone
from tests.support.containers import errors

DEEP = {
    "lists": b"\x19" * 5_001 + b"\x13" + bytes(10),
    "maps": b"\x1b" + b"\x01\xbb" * 5_000 + bytes(10),
    "lists of maps": b"\x19" + b"\x1b\x01\x99" * 5_000 + bytes(10),
    "structs": b"\x1c" * 5_000 + bytes(5_001),
}


MAGIC = {"tar.gz": b"\x1f\x8b\x08\0", "tar.zst": b"\x28\xb5\x2f\xfd", "zip": b"PK\5\6"}


def with_footer(footer: bytes) -> bytes:
    return b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def put(path: Path, content: bytes) -> Stored:
    path.write_bytes(content)
    stored = storage.stat(str(path), as_source=True)
    assert stored is not None
    return stored


@pytest.mark.parametrize("form", DEEP)
def test_a_file_of_fields_in_one_another_is_one_row_and_its_neighbours_are_found(tmp_path: Path, form: str) -> None:
    put(tmp_path / "a.wav", encoded(tone(0.1), kind="WAV"))
    stored = put(tmp_path / "holiday.parquet", with_footer(DEEP[form]))

    found = find(InputConfig(input=(str(tmp_path),)))

    assert ([each.sources[0] for each in found.containers], len(found.files)) == ([stored], 1)
    assert errors(tmp_path / "holiday.parquet") == [(None, "bad_archive")]


def test_random_bytes_as_a_footer_are_refused_by_a_schema_error(tmp_path: Path) -> None:
    # half of them of bytes that begin lists, maps, structs, texts and numbers, so that they are read far
    draw = np.random.default_rng(5)
    heads = np.frombuffer(b"\x00\x01\x0c\x13\x15\x16\x18\x19\x1b\x1c\x2c\x29\xbb\x99\xfc", np.uint8)
    for turn in range(200):
        n_bytes = int(draw.integers(1, 400))
        footer = draw.bytes(n_bytes) if turn % 2 else draw.choice(heads, n_bytes).tobytes()
        stored = put(tmp_path / "0.parquet", with_footer(footer))

        with pytest.raises(SchemaError, match=r"0\.parquet: cannot be read as \.parquet: "):
            parquet.content_of(stored)


def test_a_parquet_file_that_changes_while_a_folder_is_listed_is_left_to_its_reader(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", encoded(tone(0.1), kind="WAV"))
    put(tmp_path / "b.parquet", with_footer(b"\0"))

    def touch(stored: Stored) -> bool:
        os.utime(tmp_path / "b.parquet", ns=(1, 1))
        return False

    found = find(InputConfig(input=(str(tmp_path),)), leave_out=touch)

    assert [len(found.containers), len(found.files)] == [1, 1]


def test_no_reader_of_containers_raises_but_its_own_error_or_the_store_s(tmp_path: Path) -> None:
    draw = np.random.default_rng(6)
    for kind, container in CONTAINERS.items():
        magic = MAGIC.get(kind, b"")
        name = f"0{container.suffixes[0]}"
        for _ in range(20):
            content = magic + draw.bytes(int(draw.integers(18, 1_500)))
            put(tmp_path / name, content)

            assert [error for _, error in errors(tmp_path / name)][-1] == "bad_archive"
