"""What compact refuses, what a dry run prints, and columns of earlier versions."""

from __future__ import annotations

import io
import re
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from jobs import storage
from jobs.tables.row_digest import COLUMNS
from tests.support import ROOT
from tests.support.compaction import (
    Run,
    etags,
    held,
    in_a_folder,
    objects,
)
from tests.support.tables import SLOTS, commit, place, plan, table


@in_a_folder
def test_a_dry_run_says_what_is_new_and_writes_nothing(output: str, copy: str, bonafide: Run) -> None:
    code, out, _ = bonafide("compact", output, "--to", copy, "--dry-run")

    assert code == 0
    assert "4 shards with 48 rows are new in scores/run_date=2026-11-22" in out
    assert storage.listing(copy) is None

    bonafide("compact", output, "--to", copy)
    assert bonafide("compact", output, "--to", copy, "--dry-run")[1].count("nothing new") == 2


@in_a_folder
def test_gc_leaves_a_copy_alone(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    before = etags(copy)

    assert "removed 0 objects" in bonafide("gc", copy, "--grace-hours", 0)[1]

    after = etags(copy)
    assert {uri: after[uri] for uri in before} == before


def test_a_link_leads_no_copy_into_the_output(tmp_path: Any, bonafide: Run) -> None:
    output = f"{tmp_path}/tables"
    commit(output, plan(output, a="1").current[SLOTS["a"]], 2)
    (tmp_path / "link").symlink_to(f"{output}/embeddings")

    code, _, err = bonafide("compact", output, "--to", tmp_path / "link" / "copy")

    assert code == 65
    assert "A copy needs a place of its own" in err.splitlines()[-1]


def test_an_output_with_the_folder_of_a_copy_is_an_output(tmp_path: Any, bonafide: Run) -> None:
    output = f"{tmp_path}/tables"
    commit(output, plan(output, a="1").current[SLOTS["a"]], 2)
    storage.write_bytes(f"{output}/_compacted/x.json", b"{}")

    assert bonafide("verify", output)[0] == 0


@pytest.mark.parametrize("other", ["{output}", "{output}/copy", "{output}/", "{output}/.."])
def test_a_copy_within_the_output_or_around_it_is_refused(tmp_path: Any, bonafide: Run, other: str) -> None:
    output = f"{tmp_path}/tables"
    commit(output, plan(output, a="1").current[SLOTS["a"]], 2)

    code, _, err = bonafide("compact", output, "--to", other.format(output=output))

    assert code == 65
    assert "A copy needs a place of its own" in err.splitlines()[-1]


def test_a_place_that_holds_something_else_is_refused(root: str, bonafide: Run) -> None:
    for name in ("one", "two"):
        commit(f"{root}/{name}", plan(f"{root}/{name}", a="1").current[SLOTS["a"]], 2)
    assert bonafide("compact", f"{root}/one", "--to", f"{root}/copy")[0] == 0
    before = etags(root)

    said = {
        "is the output of a run": ("compact", f"{root}/one", "--to", f"{root}/two"),
        f"is a copy of {root}/one, not of {root}/two": ("compact", f"{root}/two", "--to", f"{root}/copy"),
        "no tables of ours here": ("compact", f"{root}/copy", "--to", f"{root}/other"),
        "object_mib 0.0": ("compact", f"{root}/one", "--to", f"{root}/copy", "--object-mib", "0"),
    }
    for cause, command in said.items():
        code, _, err = bonafide(*command)
        assert code == 65
        assert cause in err.splitlines()[-1]
    assert etags(root) == before


@in_a_folder
def test_columns_that_an_earlier_version_did_not_write_are_null(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    planned = plan(output, a="1").current[SLOTS["a"]]
    commit(f"{root}/now", planned, 3)
    rows = pq.read_table(io.BytesIO(storage.read_bytes(place(f"{root}/now", "a"))), partitioning=None)
    fewer = rows.replace_schema_metadata().drop_columns(["speech_share", "clipped_share"])
    table(output).commit(planned, "a", {"embeddings": ("embeddings/backbone=b", fewer)})

    assert bonafide("compact", output, "--to", copy)[0] == 0

    found = held(copy)["embeddings"]
    assert found["speech_share"].null_count == 3
    assert found.select(fewer.schema.names) == fewer


@in_a_folder
@pytest.mark.parametrize("unlike", ["a column more", "another size"])
def test_a_later_shard_with_columns_unlike_the_first_is_refused(
    root: str, copy: str, bonafide: Run, unlike: str
) -> None:
    output = f"{root}/tables"
    first, second = plan(output, a="1", b="1").current.values()
    commit(output, first, 3)
    rows = pq.read_table(io.BytesIO(storage.read_bytes(place(output, "a"))), partitioning=None)
    if unlike == "a column more":
        rows = rows.append_column("mood", pa.array(["sad"] * 3))
    else:
        larger = pa.array([[0.5, 0.5]] * 3, pa.list_(pa.float32(), 2))
        rows = rows.set_column(rows.schema.get_field_index("embedding"), "embedding", larger)
    table(output).commit(second, "b", {"embeddings": ("embeddings/backbone=b", rows.replace_schema_metadata())})

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    said = {"a column more": "column mood of string", "another size": f"shard {second.name} has embeddings of another"}
    assert said[unlike] in err.splitlines()[-1]
    assert objects(copy) == {}


def test_the_data_contract_names_the_columns_that_digests_prove() -> None:
    contract = (ROOT / "docs/data-contract.md").read_text()
    named = contract.partition("Digests are of what was found:")[2].partition(".")[0]

    for columns, part in zip(COLUMNS.values(), named.split(";"), strict=True):
        assert re.findall(r"`(\w+)`", part) == [*columns]
