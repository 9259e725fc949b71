"""A run's record is written when its plan is done, once, and not before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs import storage
from jobs.tables import run_records
from jobs.tables.protocol import PlanHistory
from jobs.tables.totals import Totals
from tests.support.tables import commit, plan, table


class Failed(Totals):
    """Totals of a run that too many recordings failed in."""

    def record(self) -> dict[str, Any]:
        return {"exit_code": 3}


def test_of_two_attempts_that_complete_a_plan_together_the_first_writes_the_record(root: str) -> None:
    history = plan(root, a="1")
    (shard,) = history.current.values()
    commit(root, shard, n_rows=2)
    first: list[dict[str, Any]] = []

    class Meanwhile(Totals):
        def record(self) -> dict[str, Any]:
            first.extend(write(root, history))
            return {"by": "the second"}

    second = write(root, history, Meanwhile)

    assert second == first
    assert "by" not in json.loads(storage.read_bytes(first[0]["uri"]))


def write(output: str, history: PlanHistory, begin: Callable[[], Totals] = Totals) -> list[dict[str, Any]]:
    slots = list(history.current)
    return run_records.write_records(table(output), history, slots, "embed", run_records.now(), {}, begin)


def test_a_plan_has_a_record_when_all_of_its_shards_are_committed_and_only_one(tmp_path: Path) -> None:
    output = str(tmp_path)
    history = plan(output, a="1", b="2")
    first, second = history.current.values()
    commit(output, first, n_rows=2)

    assert write(output, history) == []  # half done: a record would count what is not there
    assert not (tmp_path / "runs").exists()

    commit(output, second, n_rows=3)
    (record,) = write(output, history)

    assert record["shards"] == {"planned": 2, "committed": 2}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["2026-01-01-00000001.json"]
    assert write(output, history) == []


def test_the_exit_code_of_a_day_stays_what_its_record_says(tmp_path: Path) -> None:
    output = str(tmp_path)
    history = plan(output, a="1")
    assert run_records.records_of_date(output, history, "2026-01-01") == []
    assert run_records.exit_code_of([]) == 0
    (shard,) = history.current.values()
    commit(output, shard, n_rows=0, n_failures=2)
    write(output, history, Failed)

    days = ("2026-01-01", "2026-01-02")
    found = [run_records.records_of_date(output, history, day) for day in days]
    assert [run_records.exit_code_of(records) for records in found] == [3, 0]


def test_the_exit_code_of_a_day_is_the_highest_of_its_plans_unless_a_later_one_has_mended_it(tmp_path: Path) -> None:
    output = str(tmp_path)

    def completed(begin: Callable[[], Totals], **states: str) -> PlanHistory:
        history = plan(output, **states)
        for shard in history.of_plan(len(history.plans)).values():
            commit(output, shard, n_rows=1)
        write(output, history, begin)
        return history

    completed(Failed, a="1")
    history = completed(Totals, b="1")  # a second instalment of the same night
    assert run_records.exit_code_of(run_records.records_of_date(output, history, "2026-01-01")) == 3

    history = completed(Totals, a="2")
    assert run_records.exit_code_of(run_records.records_of_date(output, history, "2026-01-01")) == 0
