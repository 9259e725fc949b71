"""Shards that were planned and never read are dropped: nothing is left to do, and committed rows stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import storage
from jobs.tables.dropping import abandon, finish_drops, waiting
from jobs.tables.plan import tombstones
from jobs.tables.protocol import Plan, PlanHistory
from jobs.tables.verification import verify_tables
from tests.support.tables import SLOTS, commit, place, plan, table
from tests.unit.jobs.erasure.outputs import rows

Run = Callable[..., tuple[int, str, str]]


def drop(output: str, *names: str) -> PlanHistory:
    """Plan tombstones, as `embed` does for sources that are gone; a run that is killed then commits none of them."""

    def propose(history: PlanHistory) -> Plan:
        return Plan("run-d", "2026-01-02", tombstones(history, table(output).done(), [SLOTS[name] for name in names]))

    return table(output).freeze(propose)


def test_a_killed_run_is_given_up_by_its_name_and_its_rows_stay(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1", b="1").current[SLOTS["a"]], 2)
    assert "1 planned and not done yet by run 2026-01-01-00000001" in bonafide("verify", root)[1]

    code, out, _ = bonafide("gc", root, "--abandon", "2026-01-01-00000001")

    assert code == 0
    assert "gave up 1 shards that run 2026-01-01-00000001 planned" in out
    assert "planned and not done" not in bonafide("verify", root)[1]
    assert list(rows(root, "embeddings")) == ["a1#0", "a1#1"]
    (record,) = (each.uri for each in storage.listing(f"{root}/runs") or [])
    assert json.loads(storage.read_bytes(record))["abandoned"] == {
        "run_id": "2026-01-01-00000001",
        "slots": [SLOTS["b"]],
    }
    assert bonafide("erase", "a1#0", "--output", root)[0] == 0
    assert "left no shard" in bonafide("gc", root, "--abandon", "2026-01-01-00000001")[1]


def test_a_run_that_nobody_knows_is_not_given_up(root: str, bonafide: Run) -> None:
    plan(root, a="1")

    code, _, err = bonafide("gc", root, "--abandon", "2026-01-01-00000007")

    assert code == 65
    assert (
        "no run 2026-01-01-00000007 here. Runs with shards that are planned and not done: 2026-01-01-00000001." in err
    )


def test_a_tombstone_that_a_killed_run_left_is_committed_by_erase(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1", b="1").current[SLOTS["a"]], 2)
    history = drop(root, "b")
    assert history.names - table(root).done() == {f"{SLOTS['b']}-000002"}

    assert bonafide("erase", "a1#0", "--output", root)[0] == 0

    assert history.names == table(root).done()


def test_a_run_that_still_works_on_a_dropped_shard_is_refused_and_its_rows_never_stand(root: str) -> None:
    late = plan(root, a="1", b="1").current[SLOTS["b"]]
    commit(root, plan(root, a="1", b="1").current[SLOTS["a"]], 1)
    finish_drops(table(root), drop(root, "b"))

    assert commit(root, late, 3) is None

    assert list(rows(root, "embeddings")) == ["a1#0"]
    assert verify_tables(root) == []


def test_rows_of_a_killed_attempt_are_taken_out(root: str) -> None:
    planned = plan(root, b="1").current[SLOTS["b"]]
    commit(root, planned, 3, n_failures=2)
    storage.remove(f"{root}/_commits/{table(root).name}/{planned.name}.json")  # it was killed before its marker

    finish_drops(table(root), drop(root, "b"))

    assert rows(root, "embeddings") == rows(root, "failures") == {}


@pytest.mark.parametrize("n_failures", [0, 2])
def test_a_dropped_replacement_leaves_the_rows_that_were_committed_before(root: str, n_failures: int) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2, n_failures)
    plan(root, a="2")
    before = rows(root, "embeddings")

    finish_drops(table(root), drop(root, "a"))

    assert rows(root, "embeddings") == before
    assert verify_tables(root) == []
    (marker,) = table(root).committed()
    assert marker.rows == {"embeddings": 2, "failures": n_failures}


def test_a_failure_of_a_replacement_that_was_never_committed_does_not_stay(root: str) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2, 1)
    late = plan(root, a="2").current[SLOTS["a"]]
    commit(root, late, 2, 3)
    storage.remove(f"{root}/_commits/{table(root).name}/{late.name}.json")

    finish_drops(table(root), drop(root, "a"))

    assert rows(root, "embeddings") == rows(root, "failures") == {}


def test_giving_up_leaves_nothing_waiting_and_a_second_plan_can_follow(tmp_path: Path) -> None:
    root = str(tmp_path)
    plan(root, a="1", b="1")

    (found,) = abandon(root, "2026-01-01-00000001")

    assert found.n_shards == 2
    assert waiting(table(root).history(), table(root).done()) == []
    again = plan(root, b="1").current[SLOTS["b"]]
    assert commit(root, again, 2) is not None
    assert place(root, "b") in {each.uri for each in storage.listing(root) or []}
