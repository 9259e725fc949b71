"""A copy has the output's rows in few objects, and follows what is new or replaced in it."""

from __future__ import annotations

from typing import Any

import pytest

from jobs import storage
from tests.support.compaction import (
    TINY,
    Run,
    assert_same,
    etags,
    in_a_folder,
    nights,
    objects,
    tars,
)
from tests.support.nightly_runs import night
from tests.support.tables import SLOTS, commit, plan


def test_a_copy_has_the_same_rows_in_few_objects_and_the_output_is_not_touched(
    output: str, copy: str, bonafide: Run
) -> None:
    before = etags(output)

    code, out, err = bonafide("compact", output, "--to", copy)

    assert code == 0, err
    assert_same(output, copy)
    assert etags(output) == before
    # four shards in one partition each; failures are of the first alone
    assert [line.split(",")[0] for line in out.splitlines()] == [
        "embeddings: 4 objects → 1",
        "scores: 4 objects → 1",
        "failures: 1 objects → 1",
    ]
    assert len(objects(copy)) == 3


@in_a_folder
def test_verify_says_the_same_digest_of_a_copy_as_of_its_output(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)

    (code, ours, _), (copied, theirs, _) = bonafide("verify", output), bonafide("verify", copy)

    assert (code, copied) == (0, 0)
    of_tables = [line for line in ours.splitlines() if "digest" in line]  # others say what an output lacks
    assert len(theirs.splitlines()) == len(of_tables) == 2
    for a, b in zip(of_tables, theirs.splitlines(), strict=True):
        assert b.startswith(f"copy of {output}: ")
        assert a.rpartition("digest ")[2] == b.rpartition("digest ")[2]


def test_objects_are_as_large_as_they_may_be_and_no_larger(tmp_path: Any, bonafide: Run) -> None:
    output, copy, limit = f"{tmp_path}/tables", f"{tmp_path}/copy", 60_000
    night(output, tars(*range(12), rows=100), pages=False, head_uri="head.json")

    assert bonafide("compact", output, "--to", copy, "--object-mib", limit / 2**20)[0] == 0

    assert_same(output, copy)
    for name in ("embeddings", "scores"):
        *full, last = [stored.size for stored in storage.listing(f"{copy}/{name}") or []]
        assert full
        assert all(limit / 2 < size <= limit for size in full)
        assert last <= limit


@in_a_folder
def test_nothing_new_reads_no_rows_and_writes_nothing(
    output: str, copy: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bonafide("compact", output, "--to", copy)
    before = etags(copy)
    asked: list[str] = []
    for name in ("read_bytes", "put", "write_bytes", "opened"):
        real = getattr(storage, name)
        monkeypatch.setattr(
            storage,
            name,
            lambda what, *rest, name=name, real=real, **more: (
                asked.append(f"{name} {what}") or real(what, *rest, **more)
            ),
        )

    code, out, _ = bonafide("compact", output, "--to", copy)

    assert code == 0
    assert out.count("0 written, 0 rewritten") == 3
    # a plan and its markers of either ledger, a manifest of each object, what is noted of the head in both places, and
    # for an output that notes nothing its first plan: all of them small JSON
    assert len(asked) == 2 * (1 + 4) + 3 + 4
    assert all(each.startswith("read_bytes") and each.endswith(".json") for each in asked)
    assert etags(copy) == before


@in_a_folder
def test_another_night_comes_in_objects_of_its_own_and_finished_ones_are_not_touched(
    output: str, copy: str, bonafide: Run
) -> None:
    bonafide("compact", output, "--to", copy)
    before = etags(copy)
    nights(output, "2026-11-22", "2026-11-23")

    assert bonafide("compact", output, "--to", copy)[0] == 0

    assert_same(output, copy)
    after = etags(copy)
    assert {uri: after[uri] for uri in before} == before
    assert len(objects(copy)) == 6
    assert bonafide("verify", copy)[0] == 0


@in_a_folder
def test_another_copy_elsewhere_folds_many_nights_into_one_object(output: str, root: str, bonafide: Run) -> None:
    nights(output, "2026-11-22", "2026-11-23", "2026-11-24")

    bonafide("compact", output, "--to", f"{root}/anew")

    assert len(storage.listing(f"{root}/anew/embeddings") or []) == 1
    assert_same(output, f"{root}/anew")


def test_a_replaced_shard_changes_the_one_object_that_holds_it(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    history = plan(output, a="1", b="1", c="1")
    for name, n_rows, n_failures in (("a", 3, 1), ("b", 4, 0), ("c", 5, 2)):
        commit(output, history.current[SLOTS[name]], n_rows, n_failures)
    bonafide("compact", output, "--to", copy, "--object-mib", TINY)
    before = etags(f"{copy}/embeddings")
    assert len(before) == 3
    commit(output, plan(output, b="2").current[SLOTS["b"]], 7, 1)

    code, out, err = bonafide("compact", output, "--to", copy)

    assert code == 0, err
    assert_same(output, copy)
    after = etags(f"{copy}/embeddings")
    assert [uri[-11:-8] for uri in before if before[uri] != after[uri]] == ["002"]
    assert "embeddings: 3 objects → 3" in out
    assert out.count("0 written, 1 rewritten") == 1
    assert bonafide("verify", copy)[0] == 0


@in_a_folder
def test_until_a_replaced_shard_is_done_its_old_rows_stay(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    for name, each in plan(output, a="1", b="1").current.items():
        commit(output, each, 3 if name == SLOTS["a"] else 4)
    bonafide("compact", output, "--to", copy)
    before = objects(copy)
    history = plan(output, a="2", c="1")

    code, out, _ = bonafide("compact", output, "--to", copy)
    assert code == 0
    assert "2 shards are planned and not done; they wait" in out
    assert objects(copy) == before

    for slot in (SLOTS["a"], SLOTS["c"]):
        commit(output, history.current[slot], 2)
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)
