"""Whatever handles the tables of an output one by one handles every table that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.schema import TABLES as COLUMNS
from jobs import storage
from jobs.erasure.own_objects import Nameless, below_own_folders, read_own
from jobs.reports.sql.views import STORED
from jobs.storage.permissions import OUTPUTS
from jobs.tables import garbage, iceberg, row_digest
from jobs.tables.compaction.writer import current_schema
from jobs.tables.ledger import PARTITIONED_BY, TABLES
from tests.support import ROOT

VALUES = {"run_date": "2026-11-30", "backbone": "starter-v1"}
KEYS = [f"{number:016x}" for number in (1, 2)]


def object_of(table: str, column: str) -> str:
    return f"{table}/{column}={VALUES[column]}/{'-'.join(KEYS)}.parquet"


@pytest.mark.parametrize(("table", "column"), PARTITIONED_BY.items())
def test_a_list_of_garbage_in_any_table_is_ours_to_an_erasure(tmp_path: Path, table: str, column: str) -> None:
    output, name = str(tmp_path), object_of(table, column)
    storage.write_bytes(storage.join(output, name), b"left by an attempt that ended")

    found = garbage.find_garbage(output)
    garbage.mark(output, found, 9e9)

    assert list(found) == [storage.join(output, name)]
    (listed,) = tmp_path.glob("_garbage/*.json")
    assert isinstance(read_own(f"_garbage/{listed.name}", listed.read_bytes()), Nameless)
    # folders are ours, and whoever calls a recording like one of them is not mentioned by it
    assert below_own_folders(name) == name.rpartition("/")[2]


def test_every_table_has_its_columns_its_view_and_its_place_in_each_list() -> None:
    tables = set(TABLES)

    assert tables <= set(COLUMNS)
    assert tables == set(row_digest.COLUMNS)
    assert tables == set(iceberg.SCHEMAS)
    assert {folder: partition for folder, _, partition in STORED.values()} == PARTITIONED_BY
    assert tables <= set(OUTPUTS)
    assert all(current_schema(name, schema) == schema for name, schema in iceberg.SCHEMAS.items())


@pytest.mark.parametrize("role", ["writer", "collector", "compactor", "eraser", "verifier"])
def test_roles_that_work_on_all_tables_may_do_so(role: str) -> None:
    policy = (ROOT / "cluster" / "iam" / f"{role}.json").read_text()

    assert len({policy.count(f":::TABLES/tables/{table}/*") for table in TABLES}) == 1
