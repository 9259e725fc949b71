"""jobs.ledger and jobs.digest: objects first, the marker last, and rows that can be told from others."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from detector.errors import ConfigError
from detector.schema import FAILURES, embeddings_schema
from jobs import ledger
from jobs.archive import Shard
from jobs.digest import add, rows_digest
from jobs.ledger import Ledger, parquet_bytes
from jobs.storage import Stored


def embeddings(*values: float | None) -> pa.Table:
    same = {"uri": "u", "audio_sha256": "ab", "seconds": 1.0, "native_rate": 8_000, "channels": 1, "codec": "c"}
    same |= {"decoder": "d", "rms_dbfs": -20.0, "layer": 1, "fingerprint": "print", "run_id": "run"}
    rows = [
        {**same, "utterance_id": str(index), "embedding": None if value is None else [value, 0.5]}
        for index, value in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, schema=embeddings_schema(2))


def commit(output: Path, shard_id: str, *values: float | None) -> ledger.Marker:
    tables = {
        "embeddings": ("embeddings/backbone=b", embeddings(*values)),
        "failures": ("failures/run_date=d", FAILURES.empty_table()),
    }
    return Ledger(str(output), "embeddings", "print").commit(shard_id, "s3://a/0.tar", tables, {"run_id": "run"})


def test_a_commit_is_one_object_a_table_and_a_marker(tmp_path: Path) -> None:
    marker = commit(tmp_path, "s1", 0.25, None)

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "_commits/embeddings-print/s1.json",
        "embeddings/backbone=b/print-s1.parquet",
    ]
    table = Ledger(str(tmp_path), "embeddings", "print")
    assert table.done() == {"s1"}
    assert table.markers(["s1"]) == [marker]
    assert marker.rows == {"embeddings": 2, "failures": 0}
    assert table.read(marker, "failures") is None
    read = table.read(marker, "embeddings")
    assert read is not None
    assert read.equals(embeddings(0.25, None))


def test_duckdb_reads_the_vectors_and_their_gaps(tmp_path: Path) -> None:
    commit(tmp_path, "s1", 0.25, None)

    rows = duckdb.sql(f"SELECT utterance_id, embedding FROM '{tmp_path}/**/*.parquet' ORDER BY 1").fetchall()

    assert rows == [("0", [0.25, 0.5]), ("1", None)]


def test_a_shard_done_again_is_the_same_bytes_at_the_same_names(tmp_path: Path) -> None:
    commit(tmp_path, "s1", 0.25)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    commit(tmp_path, "s1", 0.25)

    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_one_table_is_found_and_two_want_a_key(tmp_path: Path) -> None:
    commit(tmp_path, "s1", 0.25)
    assert ledger.only(str(tmp_path), "embeddings", None, "--fingerprint").done() == {"s1"}
    with pytest.raises(ConfigError, match="0 tables of scores"):
        ledger.only(str(tmp_path), "scores", None, "--head-id")

    Ledger(str(tmp_path), "embeddings", "other").commit("s1", "u", {})

    with pytest.raises(ConfigError, match=r"2 tables of embeddings here \(other, print\).*--fingerprint"):
        ledger.only(str(tmp_path), "embeddings", None, "--fingerprint")
    assert ledger.only(str(tmp_path), "embeddings", "print", "--fingerprint").done() == {"s1"}


def test_planned_shards_are_remembered(tmp_path: Path) -> None:
    shard = Shard("files", (Stored("a", 1, "e"),), (("a", "id"),))

    ledger.remember(str(tmp_path), [shard])
    ledger.remember(str(tmp_path), [])

    assert ledger.known_shards(str(tmp_path)) == {shard.shard_id: shard}
    assert ledger.known_shards(str(tmp_path / "elsewhere")) == {}


def test_a_digest_does_not_depend_on_order_or_parts_and_sees_one_bit() -> None:
    rows = embeddings(0.25, 0.5, None)
    parts = [rows.slice(0, 1), rows.slice(1)]

    whole = rows_digest("embeddings", rows)

    assert rows_digest("embeddings", rows.take([2, 0, 1])) == whole
    assert add(rows_digest("embeddings", part) for part in parts) == whole
    assert rows_digest("embeddings", embeddings(0.25, 0.5 + 2**-24, None)) != whole
    assert rows_digest("embeddings", rows.slice(0, 2)) != whole


def test_the_same_rows_are_the_same_parquet_bytes() -> None:
    assert parquet_bytes(embeddings(0.25)) == parquet_bytes(embeddings(0.25))
