"""Score committed shards: one task a shard reads its embeddings, judges them, and commits its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from detector.errors import ConfigError
from detector.head import Head
from detector.schema import FAILURES, SCORES
from detector.schema import SEGMENTS as SEGMENT_ROWS
from detector.segments import judge_windows
from jobs import storage
from jobs.config import RunConfig
from jobs.errors import RunAgain, WorkersLostError
from jobs.execution.retries import retry
from jobs.execution.runner import Runner
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.scoring.items import Item, Items
from jobs.scoring.judged_shard import JudgedShard
from jobs.scoring.result import ScoringRun
from jobs.tables import run_records
from jobs.tables.copies import refuse_lost_plans
from jobs.tables.dropping import finish_drops
from jobs.tables.heads import introduce
from jobs.tables.id_rule import ID_ROOTS, id_roots
from jobs.tables.ledger import Ledger, Standing
from jobs.tables.names import Names, place_of
from jobs.tables.parquet import with_note
from jobs.tables.plan import (
    SEGMENTS,
    left_behind,
    plan_id_of,
    propose_scores,
    runs_with_segments,
    without_segments,
)
from jobs.tables.plan_history import Shards
from jobs.tables.protocol import Marker, Plan, PlanHistory, PlannedShard
from jobs.tables.row_history import with_runs
from jobs.telemetry import alarms, logs, metrics
from jobs.telemetry.progress import progress


def score_shards(
    runner: Runner,
    source: Ledger,
    shards: Shards,
    head: Head,
    prior: float | None,
    output: str,
    config: RunConfig,
    file: str,
    *,
    segments: bool = False,
) -> ScoringRun:
    """Score the committed shards of an embedding table that have no scores of this head yet, or older ones.

    Parameters
    ----------
    source : Ledger
        The table of embeddings.
    shards : Shards
        Its committed shards. Those that an earlier run planned to score are scored, too, though the archive may be
        without their sources by now.
    prior : float or None
        Share of spoof to assume; None takes the head's.
    file : str
        Where the head was read from; it takes its name from there.
    segments : bool
        If True, windows that are stored with the embeddings are judged, too, also of shards that are scored already.
    """
    prior = head.prior if prior is None else prior
    storage.check_folder(output)
    table = Ledger(storage.normal(output), "scores", head.head_id)
    embedded, scored = shards.history, table.history()
    done = table.done(scored)
    refuse_lost_plans(table, scored, done)
    finish_drops(table, scored, done)
    shards |= _left_behind(source, embedded, table, scored, shards)

    planner = _Planner(table, source, shards, head, prior, config, file, segments)
    history = table.freeze(planner, scored)
    if history.plans:
        logs.bind(run_id=history.plans[-1].run_id)
    run = ScoringRun(head, prior, table, history, shards.slots)
    done = table.done(history)
    missing = history.current.having(run.slots).lacking(done).ordered()
    if len(missing):
        task = ScoreShard(source, table, head, prior, _names(history), runs_with_segments(history))
        _score(runner, task, Items.of(missing, table, done, embedded), config.stall_seconds)
    return run


@dataclass(frozen=True)
class _Planner:
    """Proposes to score what the earlier plans of a table of scores have not."""

    table: Ledger
    source: Ledger
    shards: Shards
    head: Head
    prior: float
    config: RunConfig
    file: str
    segments: bool

    def __call__(self, history: PlanHistory) -> Plan | None:
        _refuse_other_prior(history, self.prior)
        _refuse_other_channels(history, self.head, self.source.key)
        again = without_segments(self.shards, history) if self.segments else Names()
        new = propose_scores(self.shards, history, again)
        if not new:
            return None
        run_id = run_records.run_id_of(self.config, plan_id_of(new, len(history.plans)), self.head.head_id)
        return Plan(run_id, self.config.run_date, new, self._detail(history))

    def _detail(self, history: PlanHistory) -> dict[str, Any]:
        name = introduce(self.table.output, self.head, self.file, self.config.run_date)
        detail: dict[str, Any] = {"prior": self.prior, "fingerprint": self.source.key, "head": name}
        if roots := id_roots(self.shards.history.plans) - id_roots(history.plans):
            detail[ID_ROOTS] = sorted(roots)
        return detail | ({SEGMENTS: True} if self.segments else {})


def _score(runner: Runner, task: ScoreShard, items: Items, stall_seconds: float) -> None:
    """Score shards, and commit each."""
    watchdog = Watchdog(stall_seconds)
    with progress("score", len(items)) as shown, StopRequest() as stop:
        stream = partial(runner.map_items, task, watchdog=watchdog, stop=stop)
        for n_rows in retry(ScoringAttempts(items, stream)):
            watchdog.note_progress()
            shown.shard(n_rows)


def _names(history: PlanHistory) -> dict[str, str]:
    """Return what the head was called, by the run that planned rows of it: it may have been renamed since."""
    return {plan.run_id: plan.detail["head"] for plan in history.plans if "head" in plan.detail}


def _left_behind(source: Ledger, embedded: PlanHistory, table: Ledger, scored: PlanHistory, shards: Shards) -> Shards:
    """Return the committed shards of :func:`jobs.tables.plan.left_behind`; for most runs there are none."""
    found = left_behind(embedded, scored, table.done(scored), shards.slots)
    return found.committed(source.done(embedded)) if len(found) else found


class ScoringAttempts:
    """Shards to score, as :class:`jobs.execution.retries.Attempts` whose results are numbers of rows.

    A shard is the smallest unit of this work: it is scored as a whole, or it is missing.

    Parameters
    ----------
    items : Items
    stream : callable
        Yields what :class:`ScoreShard` returns for items, in no order, without those that were lost.
    """

    verb = "score"

    def __init__(self, items: Items, stream: Callable[[Items], Iterator[dict[str, Any]]]) -> None:
        self._items = items
        self._names = items.packed_names
        self._order = np.argsort(self._names)
        self._is_missing = np.ones(len(items), bool)
        self._stream = stream
        self._cause = "its workers were lost"
        self._replaced: list[str] = []

    @property
    def is_done(self) -> bool:
        """True if every shard is scored."""
        return not self._is_missing.any()

    def attempt(self, _number: int) -> Iterator[int]:
        """Score the missing shards; yield the number of rows of each, once."""
        for result in self._stream(self._items.where(self._is_missing)):
            place = place_of(result["name"], self._names, self._order)
            if not self._is_missing[place]:
                continue  # a task that was retried returned it twice
            self._is_missing[place] = False
            if not result["committed"]:
                self._replaced.append(result["name"])
            for uri, tables in result.get("alarms", {}).items():
                alarms.sound(uri, tables)
            for outcome, n_rows in result["outcomes"].items():
                metrics.count("bonafide_rows_total", n_rows, verb=self.verb, outcome=outcome)
            for change, n_rows in result["changes"].items():
                metrics.count("bonafide_changes_total", n_rows, change=change)
            yield result["rows"]

    def end_pass(self, lost: WorkersLostError | None) -> None:
        """Keep the cause of a pass that ended early."""
        self._cause = str(lost or self._cause)

    def describe_missing(self) -> str:
        """Return the number of shards that are not scored, the first of them, and the cause."""
        missing = list(Names.of(self._names[self._is_missing]))
        return f"{len(missing)} shard(s) not scored, first {missing[0]}: {self._cause}"

    def finish(self) -> Iterator[int]:
        """Yield nothing: a shard that was lost in every pass stays missing.

        Raises
        ------
        RunAgain
            If a shard was planned in another state while it was scored; all other shards are done.
        """
        if self.is_done and self._replaced:
            raise RunAgain(
                f"{len(self._replaced)} shard(s) were replaced while they were scored, first {self._replaced[0]}."
            )
        return iter(())


def _refuse_other_prior(history: PlanHistory, prior: float) -> None:
    """Refuse another prior: a recording would have two rows of the same head."""
    before = history.plans[0].detail["prior"] if history.plans else prior
    if before != prior:
        raise ConfigError(
            f"prior {prior:g}: this output holds scores of the head at a prior of {before:g}, and has one "
            f"row per recording and head. Use another --output; `score` itself does not depend on the prior."
        )


def _refuse_other_channels(history: PlanHistory, head: Head, fingerprint: str) -> None:
    """Refuse embeddings of other channels: their shards have the same slots, so their scores would replace others."""
    before = history.plans[0].detail.get("fingerprint", head.fingerprint) if history.plans else fingerprint
    if before != fingerprint:
        raise ConfigError(
            f"embeddings of fingerprint {fingerprint}: this output holds the head's scores of {before}, that is of "
            f"other --channels. Use another --output."
        )


@dataclass(frozen=True)
class ScoreShard:
    """Score one committed shard and commit its scores; runs on a worker."""

    source: Ledger
    table: Ledger
    head: Head
    prior: float
    names: dict[str, str]
    runs_with_segments: frozenset[str] = frozenset()

    @property
    def __name__(self) -> str:
        return "score"

    def __call__(self, text: str) -> dict[str, Any]:
        """Score the shard of an :class:`~jobs.scoring.items.Item`; return its name, counts, and if it was committed."""
        item = Item.from_json(text)
        shard = item.shard
        embedded = self.source.marker(shard.entry.state)
        stands = self.table.standing("scores", _folder("scores", shard), shard.slot) if shard.replaces else None
        judged = self._judged(item, embedded, stands)
        expected = {"scores": stands.sha256} if stands else None
        marker = self.table.commit(shard, embedded.uri, self._tables(judged), judged.detail(), expected)
        done = {"rows": len(judged.rows), "outcomes": judged.outcomes(), "changes": judged.changes}
        if marker is not None and marker.alarms:
            done["alarms"] = {marker.uri: marker.alarms}
        return {"name": shard.name, "committed": marker is not None, **done}

    def _judged(self, item: Item, embedded: Marker, stands: Standing | None) -> JudgedShard:
        vectors, recipe = self.source.read(embedded, "embeddings"), embedded.detail.get("recipe")
        failures = self.source.read(embedded, "failures")
        run_id, rows, segments = item.shard.run_id, SCORES.empty_table(), None
        if vectors is not None:
            rows = self.head.judge(vectors, self.prior, run_id, recipe)
            name = pa.array([self.names.get(run_id)] * len(rows), pa.string())
            rows = rows.set_column(rows.column_names.index("head"), "head", name)
        if stands is not None:
            rows = with_runs(rows, stands.rows)
        if run_id in self.runs_with_segments:
            segments = SEGMENT_ROWS.empty_table()
            if vectors is not None:
                segments = judge_windows(self.head, vectors, rows, self.prior, recipe)
        return JudgedShard(
            item, embedded, rows, FAILURES.empty_table() if failures is None else failures, segments, stands
        )

    def _tables(self, judged: JudgedShard) -> dict[str, tuple[str, pa.Table]]:
        """Return what is committed, by table: its folder and its rows."""
        shard = judged.item.shard
        tables = {"scores": with_note(judged.rows, judged.note)}
        if self.source.output != self.table.output:
            tables = {"failures": judged.failures} | tables
        if judged.segments is not None:
            tables["segments"] = judged.segments
        elif shard.replaces and self.runs_with_segments:  # windows of another state may stand there
            tables["segments"] = SEGMENT_ROWS.empty_table()
        return {name: (_folder(name, shard), rows) for name, rows in tables.items()}


def _folder(table: str, shard: PlannedShard) -> str:
    return f"{table}/run_date={shard.run_date}"
