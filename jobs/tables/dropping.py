"""Dropping: takes planned shards out of the work that were never read, and whose sources are gone or given up.

A tombstone in a later plan does it. It is committed like a state of the source, but from what the output holds: rows
that were committed before, or none. So any command can finish it, and a run that still works on the dropped state
finds that a later plan has replaced it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from detector.schema import FAILURES, SCORES, SEGMENTS, embeddings_schema
from jobs import storage
from jobs.tables.ledger import Ledger, ledgers
from jobs.tables.names import Names
from jobs.tables.plan import plan_id_of, runs_with_segments, tombstones
from jobs.tables.protocol import DROPPED, Plan, PlanHistory, PlannedShard
from jobs.tables.repeated_ids import REPEATED
from jobs.tables.run_records import write_record
from jobs.tables.steps import READERS


def waiting(history: PlanHistory, done: Iterable[str]) -> list[PlannedShard]:
    """Return the shards that are planned and not committed, but for tombstones, which any command can finish."""
    lacking = history.current.lacking(done)
    return list(lacking.where(~lacking.is_dropped).values())


def describe_waiting(history: PlanHistory, done: Iterable[str]) -> str:
    """Say how many shards are planned and not committed, and by which runs; return an empty text if there are none."""
    shards = waiting(history, done)
    return f"{len(shards)} planned and not done yet by run {', '.join(_runs(shards))}" if shards else ""


def _runs(shards: Iterable[PlannedShard]) -> list[str]:
    return sorted({each.run_id for each in shards})


def finish_drops(table: Ledger, history: PlanHistory | None = None, done: Names | None = None) -> int:
    """Commit the tombstones that are not committed yet; return how many there were."""
    history = history or table.history()
    done = table.done(history) if done is None else done
    lacking = history.current.lacking(done)
    pending = list(lacking.where(lacking.is_dropped).values())
    if not pending:
        return 0
    before = history.last_committed(done)

    def commit(shard: PlannedShard) -> None:
        last = before.get(shard.slot)
        tables = _empty_tables(table, history, shard)
        table.commit_dropped(shard, last.name if last else None, tables, _detail(table, history.plans[0], shard))

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(commit, pending))
    return len(pending)


def _empty_tables(table: Ledger, history: PlanHistory, shard: PlannedShard) -> dict[str, tuple[str, pa.Table]]:
    """Return, for each table of a ledger, the folder of a shard's rows and no rows."""
    date = f"run_date={shard.run_date}"
    failures = {"failures": (f"failures/{date}", FAILURES.empty_table())}
    if not table.is_scores:
        folder = f"embeddings/backbone={_recipe_of(history.plans[0].detail).slug}"
        return failures | {"embeddings": (folder, embeddings_schema(1).empty_table())}
    scores = failures | {"scores": (f"scores/{date}", SCORES.empty_table())}
    return scores | ({"segments": (f"segments/{date}", SEGMENTS.empty_table())} if runs_with_segments(history) else {})


def _recipe_of(detail: dict[str, Any]) -> Recipe:
    """Return the recipe that a plan of embeddings describes, as far as it names the folder of the table."""
    about = detail["recipe"]
    names = [field.name for field in fields(EmbedConfig) if field.name in about]
    return Recipe(EmbedConfig(**{name: about[name] for name in names}), detail["model"], about["weights"])


def _detail(table: Ledger, first: Plan, shard: PlannedShard) -> dict[str, Any]:
    """Return the detail of a tombstone's marker. It counts nothing, as no recording was read."""
    common = {"run_id": shard.run_id, DROPPED: True, "passed_over": {}, REPEATED: {}}
    if table.is_scores:
        return {**common, "counts": {}, "failed_by": {}}
    return {**common, "audio_seconds": 0.0, "recipe": first.detail["recipe"], "model": first.detail["model"]}


@dataclass(frozen=True)
class Abandoned:
    """What was given up of one ledger: the run, the number of its shards, and the record that says so."""

    table: str
    n_shards: int
    record: str


def abandon(output: str, run_id: str) -> list[Abandoned]:
    """Give up the shards that a run planned and never committed, and write a record of it for each ledger.

    The run's own plan and record stay. A later run over an archive that still has the sources plans them again.

    Raises
    ------
    ConfigError
        If no plan of the output has this run id.
    """
    tables = ledgers(output)
    known = {table.name: {plan.run_id for plan in table.history().plans} for table in tables}
    if run_id not in set().union(*known.values()):
        unfinished = sorted({run for table in tables for run in _runs(waiting(table.history(), table.done()))})
        raise ConfigError(
            f"{output}: no run {run_id} here. Runs with shards that are planned and not done: "
            f"{', '.join(unfinished) or 'none'}."
        )
    return [found for table in tables if run_id in known[table.name] and (found := _abandon(table, run_id))]


def _abandon(table: Ledger, run_id: str) -> Abandoned | None:
    slots: list[str] = []
    date = datetime.datetime.now(datetime.UTC).date().isoformat()

    def propose(history: PlanHistory) -> Plan | None:
        nonlocal slots
        done = table.done()
        slots = sorted(each.slot for each in waiting(history, done) if each.run_id == run_id)
        if not slots:
            return None
        entries = tombstones(history, done, slots)
        return Plan(f"{date}-{plan_id_of(entries, len(history.plans))}", date, entries, {"abandoned": run_id})

    history = table.freeze(propose)
    finish_drops(table, history)
    if not slots:
        return None
    uri = storage.join(table.output, "runs", f"{history.plans[-1].run_id}.json")
    record = {
        "run_id": history.plans[-1].run_id,
        "verb": "gc",
        "table": table.name,
        "plan": len(history.plans),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "abandoned": {"run_id": run_id, "slots": slots},
        "shards": {"planned": len(slots), "committed": len(slots)},
        "digest": Ledger.digest(table.markers(history.of_plan(len(history.plans)).names)),
    }
    write_record(uri, record)
    return Abandoned(table.name, len(slots), uri)
