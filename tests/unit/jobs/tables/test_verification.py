"""verify passes tables that are as they were committed, and names any object that is not."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from jobs import storage
from jobs.tables import run_records
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.totals import Totals
from tests.support.tables import SLOTS, commit, place, plan, table

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def output(root: str) -> str:
    """Two shards of one plan, committed, with their record; a third that is planned only."""
    history = plan(root, a="1", b="1")
    for name, n_rows, n_failures in (("a", 2, 1), ("b", 3, 0)):
        commit(root, history.current[SLOTS[name]], n_rows, n_failures)
    run_records.write_records(
        table(root), history, SLOTS.values() & history.current.keys(), "embed", _now(), {}, Totals
    )
    plan(root, c="1")
    return root


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def test_committed_tables_pass_and_unfinished_work_is_reported(output: str, bonafide: Run) -> None:
    code, out, _ = bonafide("verify", output)

    assert code == 0
    assert "2 shards, 5 embeddings, 1 failures, digest " in out
    assert "1 planned and not done yet" in out


def test_rows_that_no_run_wrote_are_named(output: str, bonafide: Run) -> None:
    uri = place(output, "b")
    stray = f"{uri.rpartition('/')[0]}/copy.parquet"
    storage.write_bytes(stray, storage.read_bytes(uri))

    code, _, err = bonafide("verify", output)

    assert code == 65
    assert f"{stray}: was not written by a run, and readers see its rows; remove it" in err


def test_one_flipped_byte_is_found_and_its_object_named(output: str, bonafide: Run) -> None:
    uri = place(output, "b")
    content = bytearray(storage.read_bytes(uri))
    content[len(content) // 3] ^= 1
    storage.write_bytes(uri, bytes(content))

    code, out, err = bonafide("verify", output)

    assert code == 65
    assert uri in err.splitlines()[-1]
    assert out.count("SHA-256") == 1
    assert place(output, "a") not in err


def test_changed_rows_are_distinguished_from_changed_bytes_of_the_same_rows(output: str, bonafide: Run) -> None:
    uri = place(output, "b")
    rows = pq.read_table(io.BytesIO(storage.read_bytes(uri)), partitioning=None)

    said = {}
    for name, changed in (("same", rows), ("other", rows.slice(1))):
        file = io.BytesIO()
        pq.write_table(changed, file)
        storage.write_bytes(uri, file.getvalue())
        said[name] = bonafide("verify", output)

    assert [code for code, _, _ in said.values()] == [65, 65]
    assert "its rows differ" in said["other"][1]
    assert "its rows differ" not in said["same"][1]


def test_an_object_that_is_gone_is_named_with_what_it_held(output: str, bonafide: Run) -> None:
    storage.remove(place(output, "a", "failures/run_date=2026-01-01"))

    code, out, _ = bonafide("verify", output)

    assert code == 65
    assert f"{place(output, 'a', 'failures/run_date=2026-01-01')}: is gone; it was committed with 1 rows" in out


def test_rows_that_stand_beside_what_was_committed_are_named(output: str, bonafide: Run) -> None:
    stray = place(output, "b", "failures/run_date=2026-01-01")  # b was committed without failures
    storage.write_bytes(stray, storage.read_bytes(place(output, "a", "failures/run_date=2026-01-01")))

    code, out, _ = bonafide("verify", output)

    assert code == 65
    assert f"{stray}: exists, but was not committed" in out


def test_a_record_whose_sum_is_another_is_named(output: str, bonafide: Run) -> None:
    (stored,) = storage.listing(f"{output}/runs") or []
    record = load_checksummed(storage.read_bytes(stored.uri), stored.uri)
    storage.write_bytes(stored.uri, dump_checksummed(record | {"digest": "00"}))

    code, out, _ = bonafide("verify", output)

    assert code == 65
    assert f"{stored.uri}: its digest is 00" in out


def test_a_record_of_shards_that_were_replaced_since_is_no_fault(output: str, bonafide: Run) -> None:
    history = plan(output, b="2")
    commit(output, history.current[SLOTS["b"]], 4)

    code, out, _ = bonafide("verify", output)

    assert code == 0
    assert "6 embeddings" in out


def test_an_output_without_tables_is_refused(root: str, bonafide: Run) -> None:
    code, _, err = bonafide("verify", root)

    assert code == 65
    assert "no tables of ours here" in err


def test_the_digest_of_a_table_is_that_of_its_rows_alone(output: str) -> None:
    record = json.loads(storage.read_bytes((storage.listing(f"{output}/runs") or [])[0].uri))
    markers = [marker for marker in table(output).committed() if marker.uri in "ab"]

    total = sum(int(digest, 16) for marker in markers for digest in marker.digests.values())
    assert record["digest"] == f"{total % (1 << 256):064x}"
    assert record["shards"] == {"planned": 2, "committed": 2}


def test_what_is_left_out_beside_the_rows_is_named(output: str, bonafide: Run) -> None:
    (stored,) = storage.listing(f"{output}/runs") or []
    storage.write_bytes(f"{output}/heads/0123456789abcdef.json", b"")
    said = bonafide("verify", output)[1]
    assert "have no record" not in said
    assert f"{output}/heads/active.json: is not there" in said
    assert "keeps no canaries" in said
    storage.remove(stored.uri)
    storage.remove(f"{output}/heads/0123456789abcdef.json")

    code, out, _ = bonafide("verify", output)

    assert code == 0
    assert f"1 plans are done and have no record, first runs/{storage.name_of(stored.uri)}: it was removed" in out


def test_a_gap_in_the_numbers_of_canaries_is_refused(output: str, bonafide: Run) -> None:
    storage.write_bytes(f"{output}/_canaries/{table(output).name}/000002.json", b"")

    code, _, err = bonafide("verify", output)

    assert code == 65
    assert "a reference before it is gone. Restore 000001.json from a copy" in err
