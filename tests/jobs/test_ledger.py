"""jobs.ledger: objects first, the marker last, and tables that SQL reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError
from detector.schema import FAILURES, embeddings_schema
from jobs import ledger, storage
from jobs.archive import Shard
from jobs.digest import add, rows_digest
from jobs.errors import StorageError
from jobs.ledger import ROW_GROUP_ROWS, Ledger, Marker, parquet_bytes
from jobs.storage import Stored

OBJECT = "embeddings/backbone=b/print-s1.parquet"
MARKER = "_commits/embeddings-print/s1.json"


def embeddings(*values: float | None) -> pa.Table:
    same = {"uri": "u", "audio_sha256": "ab", "seconds": 1.0, "native_rate": 8_000, "channels": 1, "codec": "c"}
    same |= {"decoder": "d", "rms_dbfs": -20.0, "layer": 1, "fingerprint": "print", "run_id": "run"}
    rows = [
        {**same, "utterance_id": f"{index}", "embedding": None if value is None else [value, 0.5]}
        for index, value in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, schema=embeddings_schema(2))


def failures(*names: str) -> pa.Table:
    same = {"uri": "u", "stage": "read", "error": "empty", "message": "0 bytes", "bytes": 0, "attempts": 1}
    return pa.Table.from_pylist([{**same, "utterance_id": name, "run_id": "run"} for name in names], schema=FAILURES)


def ledger_of(output: str | Path) -> Ledger:
    return Ledger(str(output), "embeddings", "print")


def commit(output: str | Path, rows: pa.Table, failed: pa.Table | None = None, name: str = "s1") -> Marker:
    tables = {"embeddings": ("embeddings/backbone=b", rows)}
    if failed is not None:
        tables["failures"] = ("failures/run_date=2026-11-23", failed)
    return ledger_of(output).commit(name, "s3://a/0.tar", tables, {"run_id": "run"})


def files(output: str | Path) -> dict[str, bytes]:
    found = storage.listing(str(output)) or []
    return {each.uri.removeprefix(f"{output}/"): storage.read_bytes(each.uri) for each in found}


def test_a_commit_is_one_object_a_table_and_a_marker_that_reads_back(root: str) -> None:
    rows, failed = embeddings(0.25, None), failures("x")

    marker = commit(root, rows, failed)

    assert list(files(root)) == [MARKER, OBJECT, "failures/run_date=2026-11-23/print-s1.parquet"]
    table = ledger_of(root)
    assert table.done() == {"s1"}
    assert table.markers(["s1"]) == [marker]
    assert (marker.uri, marker.rows, marker.detail) == (
        "s3://a/0.tar",
        {"embeddings": 2, "failures": 1},
        {"run_id": "run"},
    )
    for name, expected in (("embeddings", rows), ("failures", failed)):
        read = table.read(marker, name)
        assert read is not None
        assert read.equals(expected)


def test_a_marker_tells_the_objects_and_their_rows_from_others(tmp_path: Path) -> None:
    rows, failed = embeddings(0.25), failures("x")

    marker = commit(tmp_path, rows, failed)

    assert marker.sha256["embeddings"] == hashlib.sha256((tmp_path / OBJECT).read_bytes()).hexdigest()
    assert marker.digest == add([rows_digest("embeddings", rows), rows_digest("failures", failed)])


def test_a_table_without_rows_is_no_object(tmp_path: Path) -> None:
    marker = commit(tmp_path, embeddings(), failures())

    assert list(files(tmp_path)) == [MARKER]
    assert marker.rows == {"embeddings": 0, "failures": 0}
    assert ledger_of(tmp_path).read(marker, "embeddings") is None


def test_a_commit_that_stops_halfway_is_none(tmp_path: Path) -> None:
    (tmp_path / "failures").touch()  # a file where the second table's folder should be

    with pytest.raises(StorageError):
        commit(tmp_path, embeddings(0.25), failures("x"))

    assert OBJECT in files(tmp_path)
    assert ledger_of(tmp_path).done() == set()


def test_a_shard_done_again_is_the_same_bytes_at_the_same_names(tmp_path: Path) -> None:
    commit(tmp_path, embeddings(0.25, None), failures("x"))
    before = files(tmp_path)

    commit(tmp_path, embeddings(0.25, None), failures("x"))

    assert files(tmp_path) == before


def test_all_rows_of_a_table_are_read_shard_by_shard(tmp_path: Path) -> None:
    markers = [commit(tmp_path, embeddings(*[0.5] * count), name=f"s{count}") for count in (0, 1, 2)]

    found, tables = ledger_of(tmp_path).read_all("embeddings")

    assert found == markers
    assert [len(rows) for rows in tables] == [1, 2]


def test_an_output_that_does_not_exist_has_nothing_done(root: str) -> None:
    assert ledger_of(root).done() == set()
    assert ledger.keys(root, "embeddings") == []
    assert ledger.known_shards(root) == {}


def test_a_glob_over_the_output_finds_nothing_but_tables(tmp_path: Path) -> None:
    commit(tmp_path, embeddings(0.25), failures("x"))
    ledger.remember(str(tmp_path), [Shard("tar", (Stored("s3://a/0.tar", 1, "e"),))])

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("**/*.parquet")) == [
        OBJECT,
        "failures/run_date=2026-11-23/print-s1.parquet",
    ]


def test_duckdb_reads_vectors_and_their_gaps_of_many_shards(tmp_path: Path) -> None:
    commit(tmp_path, embeddings(0.25, None), name="s1")
    commit(tmp_path, embeddings(None), name="s2")
    commit(tmp_path, embeddings(-1.5), name="s3")

    rows = (
        duckdb.connect()
        .execute(
            "SELECT utterance_id, embedding, embedding[1] * 2, seconds, native_rate, member, backbone "
            f"FROM read_parquet('{tmp_path}/**/*.parquet') ORDER BY 1, 3 NULLS LAST"
        )
        .fetchall()
    )

    same = (1.0, 8_000, None, "b")
    assert rows == [
        ("0", [-1.5, 0.5], -3.0, *same),
        ("0", [0.25, 0.5], 0.5, *same),
        ("0", None, None, *same),
        ("1", None, None, *same),
    ]


def test_long_tables_have_row_groups_of_bounded_size() -> None:
    content = parquet_bytes(embeddings(*[0.25] * (ROW_GROUP_ROWS + 1)))

    metadata = pq.ParquetFile(pa.BufferReader(content)).metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS, 1]


def test_the_same_rows_are_the_same_bytes_however_they_were_put_together() -> None:
    rows = embeddings(0.25, None, 0.75)

    apart = pa.concat_tables([rows.slice(0, 1), rows.slice(1)])
    assert parquet_bytes(apart) == parquet_bytes(embeddings(0.25, None, 0.75)) == parquet_bytes(rows)
    assert parquet_bytes(rows.take([2, 1, 0])) != parquet_bytes(rows)


def test_one_table_is_found_and_two_want_a_key(tmp_path: Path) -> None:
    output = str(tmp_path)
    with pytest.raises(ConfigError, match=r"0 tables of embeddings here \(none\)"):
        ledger.only(output, "embeddings", None, "--fingerprint")
    commit(output, embeddings(0.25))
    Ledger(output, "scores", "head").commit("s1", "u", {})
    assert ledger.only(output, "embeddings", None, "--fingerprint").done() == {"s1"}

    Ledger(output, "embeddings", "other").commit("s2", "u", {})

    with pytest.raises(ConfigError, match=r"2 tables of embeddings here \(other, print\).*--fingerprint"):
        ledger.only(output, "embeddings", None, "--fingerprint")
    assert ledger.only(output, "embeddings", "other", "--fingerprint").done() == {"s2"}
    assert ledger.keys(output, "scores") == ["head"]


def test_planned_shards_are_remembered_over_many_plans(root: str) -> None:
    first = Shard("files", (Stored("a", 1, "e"), Stored("b", 2, "f")), (("a", "a"), ("b", "日本")))
    second = Shard("tar", (Stored("s3://a/0.tar", 3, "g"),))

    ledger.remember(root, [first])
    ledger.remember(root, [second, first])

    assert ledger.known_shards(root) == {first.shard_id: first, second.shard_id: second}


def test_a_plan_without_new_shards_writes_nothing(tmp_path: Path) -> None:
    ledger.remember(str(tmp_path), [])

    assert files(tmp_path) == {}
