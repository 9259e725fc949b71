"""A result replaces an older one at the place that the user names, and never a recording."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.inputs.results import write_result
from tests.support.audio import encoded, tone
from tests.support.containers import in_parquet

Run = Callable[..., tuple[int, str, str]]

FLAC = encoded(tone(0.5))


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.flac", FLAC)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("a.flac")
        member.size = len(FLAC)
        archive.addfile(member, io.BytesIO(FLAC))
    return file.getvalue()


def parquet_of(**columns: list[str]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [FLAC, encoded(tone(0.5), kind="WAV"), tarred(), gzip.compress(tarred()), zipped(), in_parquet({"a.flac": FLAC})],
    ids=["flac", "wav", "tar", "tar.gz", "zip", "parquet"],
)
def test_recordings_are_not_replaced_whatever_they_are_called(root: str, content: bytes) -> None:
    uri = f"{root}/list.parquet"
    storage.write_bytes(uri, content)

    with pytest.raises(ConfigError, match="recordings are stored there"):
        write_result(uri, b"a result")

    assert storage.read_bytes(uri) == content


@pytest.mark.parametrize(
    "content", [b"", b"<!doctype html>", b"{}", b"PARTS", parquet_of(uri=["a.flac"]), parquet_of(label=["spoof"])]
)
def test_other_results_are_replaced(root: str, content: bytes) -> None:
    uri = f"{root}/result"
    storage.write_bytes(uri, content)

    write_result(uri, b"a result")

    assert storage.read_bytes(uri) == b"a result"


def test_a_manifest_does_not_replace_the_shard_that_it_lists(tmp_path: Path, bonafide: Run) -> None:
    shard = tmp_path / "0001.parquet"
    shard.write_bytes(in_parquet({"a.flac": FLAC}))
    before = shard.read_bytes()

    code, _, err = bonafide("manifest", "--input", tmp_path, "--output", shard)

    assert code == 65
    assert str(shard) in err
    assert shard.read_bytes() == before
