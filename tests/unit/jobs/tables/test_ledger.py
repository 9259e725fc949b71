"""Objects first, the marker last, one set of rows whoever writes it; and tables that SQL reads."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError, SchemaError
from detector.schema import FAILURES, embeddings_schema
from jobs import storage
from jobs.errors import RunAgain
from jobs.tables import ledger
from jobs.tables.ledger import Ledger
from jobs.tables.parquet import ROW_GROUP_ROWS, parquet_bytes
from jobs.tables.protocol import Entry, Marker, Plan, PlanHistory, PlannedShard
from jobs.tables.row_digest import rows_digest

OBJECT = "embeddings/backbone=b/print-s1.parquet"
FAILED = "failures/run_date=2026-11-23/print-s1.parquet"
MARKER = "_commits/embeddings-print/s1-000001.json"


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


def planned(slot: str = "s1", number: int = 1, state: str = "e") -> PlannedShard:
    return PlannedShard(Entry(slot, state), number, "run", "2026-11-23", number > 1)


def commit(
    output: str | Path, rows: pa.Table, failed: pa.Table | None = None, shard: PlannedShard | None = None
) -> Marker | None:
    tables = {
        "failures": ("failures/run_date=2026-11-23", FAILURES.empty_table() if failed is None else failed),
        "embeddings": ("embeddings/backbone=b", rows),
    }
    return ledger_of(output).commit(shard or planned(), "s3://a/0.tar", tables, {"run_id": "run"})


def freeze(output: str | Path, *entries: Entry, table: Ledger | None = None) -> PlanHistory:
    """Plan what of the entries no plan has."""

    def propose(history: PlanHistory) -> Plan | None:
        have = {(slot, each.entry.state) for slot, each in history.current.items()}
        new = tuple(entry for entry in entries if (entry.slot, entry.state) not in have)
        return Plan(f"run {len(history.plans) + 1}", "2026-11-23", new) if new else None

    return (table or ledger_of(output)).freeze(propose)


def files(output: str | Path) -> dict[str, bytes]:
    found = storage.listing(str(output)) or []
    return {each.uri.removeprefix(f"{output}/"): storage.read_bytes(each.uri) for each in found}


def test_a_commit_is_one_object_a_table_and_a_marker_that_reads_back(root: str) -> None:
    rows, failed = embeddings(0.25, None), failures("x")

    marker = commit(root, rows, failed)

    assert marker is not None
    assert sorted(files(root)) == [MARKER, OBJECT, FAILED]
    table = ledger_of(root)
    assert table.done() == {"s1-000001"}
    assert table.marker("s1-000001") == marker
    assert (marker.uri, marker.rows, marker.detail, marker.alarms) == (
        "s3://a/0.tar",
        {"embeddings": 2, "failures": 1},
        {"run_id": "run"},
        (),
    )
    for name, expected in (("embeddings", rows), ("failures", failed)):
        read = table.read(marker, name)
        assert read is not None
        assert read.equals(expected)


def test_a_marker_identifies_its_objects_and_their_rows(tmp_path: Path) -> None:
    rows, failed = embeddings(0.25), failures("x")

    marker = commit(tmp_path, rows, failed)

    assert marker is not None
    assert marker.sha256["embeddings"] == hashlib.sha256((tmp_path / OBJECT).read_bytes()).hexdigest()
    assert marker.digests == {
        "embeddings": rows_digest("embeddings", rows),
        "failures": rows_digest("failures", failed),
    }


def test_a_table_without_rows_is_no_object(tmp_path: Path) -> None:
    marker = commit(tmp_path, embeddings(), failures())

    assert marker is not None
    assert list(files(tmp_path)) == [MARKER]
    assert marker.rows == {"embeddings": 0, "failures": 0}
    assert ledger_of(tmp_path).read(marker, "embeddings") is None


def test_a_commit_that_stops_halfway_is_none(tmp_path: Path) -> None:
    (tmp_path / "embeddings").touch()  # a file where the second table's folder should be

    with pytest.raises(storage.NotFolderError):
        commit(tmp_path, embeddings(0.25), failures("x"))

    assert FAILED in files(tmp_path)
    assert ledger_of(tmp_path).done() == set()


def test_a_shard_done_again_leaves_the_objects_as_they_were(root: str) -> None:
    commit(root, embeddings(0.25, None), failures("x"))
    before = files(root)
    etags = {stored.uri: stored.etag for stored in storage.listing(root) or []}

    commit(root, embeddings(0.25, None), failures("x"))

    assert files(root) == before
    assert {stored.uri: stored.etag for stored in storage.listing(root) or []} == etags


def test_rows_that_differ_from_those_that_stand_raise_an_alarm_and_do_not_replace_them(root: str) -> None:
    first = commit(root, embeddings(0.25))
    assert first is not None
    storage.remove(f"{root}/{MARKER}")  # killed before it

    second = commit(root, embeddings(0.5))

    assert second == dataclasses.replace(first, alarms=("embeddings",))
    read = ledger_of(root).read(second, "embeddings")
    assert read is not None
    assert read.equals(embeddings(0.25))


def test_another_state_takes_the_place_of_the_rows_under_the_same_name(root: str) -> None:
    freeze(root, Entry("s1", "old"))
    commit(root, embeddings(0.25), failures("x"))
    history = freeze(root, Entry("s1", "new"))

    marker = commit(root, embeddings(0.5, 0.75), failures(), history.current["s1"])

    assert marker is not None
    table = ledger_of(root)
    assert list(table.committed()) == [marker]
    read = table.read(marker, "embeddings")
    assert read is not None
    assert read.equals(embeddings(0.5, 0.75))
    stands = files(root)[FAILED]
    assert pq.read_table(pa.BufferReader(stands)).num_rows == 0  # an empty table: the old rows are gone
    assert len([name for name in files(root) if name.endswith(".parquet")]) == 2


def test_a_late_commit_of_an_old_state_leaves_the_new_rows_alone(root: str) -> None:
    old = freeze(root, Entry("s1", "old")).current["s1"]
    new = freeze(root, Entry("s1", "new")).current["s1"]
    commit(root, embeddings(0.5), shard=new)
    before = files(root)

    assert commit(root, embeddings(0.25), shard=old) is None

    assert files(root) == before


def test_rows_of_another_state_are_not_read_as_these(root: str) -> None:
    old = commit(root, embeddings(0.25))
    assert old is not None
    freeze(root, Entry("s1", "old"))
    history = freeze(root, Entry("s1", "new"))
    commit(root, embeddings(0.5), shard=history.current["s1"])

    with pytest.raises(RunAgain, match="replaced after the run began"):
        ledger_of(root).read(old, "embeddings")
    storage.remove(f"{root}/{MARKER}")
    with pytest.raises(RunAgain, match="replaced after the run began"):
        ledger_of(root).marker(old.name)


@pytest.mark.parametrize("length", [0, 100])
def test_an_object_of_which_the_end_is_gone_is_damaged_and_not_replaced(root: str, length: int) -> None:
    marker = commit(root, embeddings(0.25))
    assert marker is not None
    uri = f"{root}/{marker.objects['embeddings']}"
    storage.write_bytes(uri, storage.read_bytes(uri)[:length])

    with pytest.raises(SchemaError, match=re.escape(f"{uri}: is damaged. `verify` says more.")):
        ledger_of(root).read(marker, "embeddings")


def test_plans_stand_in_one_order_and_are_not_written_again(root: str) -> None:
    first = freeze(root, Entry("a", "1", {"uri": "日本"}), Entry("b", "1"))
    before = files(root)

    again = freeze(root, Entry("b", "1"), Entry("a", "1"))
    assert again == first == ledger_of(root).history()
    assert files(root) == before

    second = freeze(root, Entry("b", "2"), Entry("c", "1"))
    assert [plan.run_id for plan in second.plans] == ["run 1", "run 2"]
    assert second.names == {"a-000001", "b-000002", "c-000002"}
    assert [each.name for each in second.of_plan(1).values()] == ["a-000001"]


def test_of_runs_that_plan_at_once_each_shard_is_in_one_plan(root: str) -> None:
    n_runs = 6
    start = threading.Barrier(n_runs)
    table = ledger_of(root)

    def run(number: int) -> None:
        start.wait()
        freeze(root, Entry("shared", "1"), Entry(f"own {number}", "1"), table=table)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(n_runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    entries = [entry.slot for plan in table.history().plans for entry in plan.entries]
    assert sorted(entries) == sorted(["shared", *(f"own {number}" for number in range(n_runs))])


def test_a_run_that_loses_the_race_for_a_plan_looks_at_the_sources_again(root: str) -> None:
    # a source is replaced between its two looks: what it saw first must not be planned after the winner's plan
    states = iter(["as it was", "as it is"])
    looks: list[int] = []

    def propose(history: PlanHistory) -> Plan:
        looks.append(len(history.plans))
        if not history.plans:
            freeze(root, Entry("s1", "of the winner"))
        return Plan(f"run {len(looks) + 1}", "2026-11-23", (Entry("s1", next(states)),))

    history = ledger_of(root).freeze(propose)

    assert looks == [0, 1]
    assert [entry.state for plan in history.plans for entry in plan.entries] == ["of the winner", "as it is"]


def test_a_stray_object_among_the_plans_is_no_plan(tmp_path: Path) -> None:
    history = freeze(tmp_path, Entry("a", "1"))
    (tmp_path / "_plans" / "embeddings-print" / ".DS_Store").touch()

    assert ledger_of(tmp_path).history() == history


def test_all_rows_of_a_table_are_read_shard_by_shard(tmp_path: Path) -> None:
    slots = [f"s{count}" for count in (0, 1, 2)]
    history = freeze(tmp_path, *(Entry(slot, "e") for slot in slots))
    markers = [
        commit(tmp_path, embeddings(*[0.5] * count), shard=history.current[slot]) for count, slot in enumerate(slots)
    ]

    found, tables = ledger_of(tmp_path).read_all("embeddings")

    assert found == markers
    assert [len(rows) for rows in tables] == [1, 2]


def test_an_output_that_does_not_exist_has_nothing_done(root: str) -> None:
    assert ledger_of(root).done() == set()
    assert ledger.keys(root, "embeddings") == []
    assert ledger_of(root).history() == PlanHistory()


def test_a_glob_over_the_output_finds_nothing_but_tables(tmp_path: Path) -> None:
    freeze(tmp_path, Entry("s1", "e"))
    commit(tmp_path, embeddings(0.25), failures("x"))

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("**/*.parquet")) == [OBJECT, FAILED]


def test_duckdb_reads_vectors_and_their_gaps_of_many_shards(tmp_path: Path) -> None:
    commit(tmp_path, embeddings(0.25, None), shard=planned("s1"))
    commit(tmp_path, embeddings(None), shard=planned("s2"))
    commit(tmp_path, embeddings(-1.5), shard=planned("s3"))

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
    freeze(output, Entry("s1", "e"))
    freeze(output, Entry("s1", "e"), table=Ledger(output, "scores", "head"))
    assert ledger.only(output, "embeddings", None, "--fingerprint").name == "embeddings-print"

    freeze(output, Entry("s2", "e"), table=Ledger(output, "embeddings", "other"))

    with pytest.raises(ConfigError, match=r"2 tables of embeddings here \(other, print\).*--fingerprint"):
        ledger.only(output, "embeddings", None, "--fingerprint")
    assert ledger.only(output, "embeddings", "other", "--fingerprint").name == "embeddings-other"
    assert ledger.keys(output, "scores") == ["head"]
