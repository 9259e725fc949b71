"""Score committed shards: one task a shard reads its embeddings, judges them, and commits its scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector.attribution import UNKNOWN_SYSTEM
from detector.drift import FAR, histogram
from detector.errors import ConfigError
from detector.head import Head
from detector.schema import FAILURES, SCORES, SPOOF
from detector.schema import SEGMENTS as SEGMENT_ROWS
from detector.segments import count_segments, judge_windows
from jobs import storage
from jobs.config import RunConfig
from jobs.errors import RunAgain, WorkersLostError
from jobs.execution.retries import retry
from jobs.execution.runner import Runner
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.inputs.shards import CHANGED
from jobs.scoring.changes import CHANGES, FAILED_RUNS, count_changes, count_pruned
from jobs.scoring.items import Item, Items
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
from jobs.tables.protocol import Plan, PlanHistory
from jobs.tables.removal import PRUNED_ROWS, REMOVED_ROWS
from jobs.tables.repeated_ids import REPEATED
from jobs.tables.row_history import is_here, of_runs, with_runs
from jobs.telemetry import logs, metrics
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

    def propose(history: PlanHistory) -> Plan | None:
        _refuse_other_prior(history, prior)
        _refuse_other_channels(history, head, source.key)
        new = propose_scores(shards, history, without_segments(shards, history) if segments else Names())
        if not new:
            return None
        run_id = run_records.run_id_of(config, plan_id_of(new, len(history.plans)), head.head_id)
        name = introduce(table.output, head, file, config.run_date)
        detail = {"prior": prior, "fingerprint": source.key, "head": name}
        if roots := id_roots(embedded.plans) - id_roots(history.plans):
            detail[ID_ROOTS] = sorted(roots)
        if segments:
            detail[SEGMENTS] = True
        return Plan(run_id, config.run_date, new, detail)

    history = table.freeze(propose, scored)
    if history.plans:
        logs.bind(run_id=history.plans[-1].run_id)
    run = ScoringRun(head, prior, table, history, shards.slots)
    done = table.done(history)
    missing = history.current.having(run.slots).lacking(done).ordered()
    if len(missing):
        items = Items.of(missing, table, done, embedded)
        task = ScoreShard(source, table, head, prior, _names(history), runs_with_segments(history))
        watchdog = Watchdog(config.stall_seconds)
        with progress("score", len(missing)) as shown, StopRequest() as stop:
            stream = partial(runner.map_items, task, watchdog=watchdog, stop=stop)
            for n_rows in retry(ScoringAttempts(items, stream)):
                watchdog.note_progress()
                shown.shard(n_rows)
    return run


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
        shard, since = item.shard, item.embedded_since
        embedded = self.source.marker(shard.entry.state)
        rows, embedded_by = self.source.read(embedded, "embeddings"), embedded.detail.get("run_id", "")
        folder = f"scores/run_date={shard.run_date}"
        stands = self.table.standing("scores", folder, shard.slot) if shard.replaces else None
        recipe = embedded.detail.get("recipe")
        judged = self._judged(rows, shard.run_id, recipe)
        if stands is not None:
            judged = with_runs(judged, stands.rows)
        failures = self.source.read(embedded, "failures")
        failures = FAILURES.empty_table() if failures is None else failures
        note = _note(item, judged, stands, failures, embedded_by)
        changes, n_pruned = {name: note.get(name, 0) for name in CHANGES}, note.get(PRUNED_ROWS, 0)
        tables = {"scores": (folder, with_note(judged, note))}
        if self.source.output != self.table.output:
            tables = {"failures": (f"failures/run_date={shard.run_date}", failures)} | tables
        asked = shard.run_id in self.runs_with_segments
        segments = SEGMENT_ROWS.empty_table()
        if asked and rows is not None:
            segments = judge_windows(self.head, rows, judged, self.prior, recipe)
        if asked or (shard.replaces and self.runs_with_segments):  # windows of another state may stand there
            tables["segments"] = (f"segments/run_date={shard.run_date}", segments)
        here = judged.filter(is_here(judged))
        tonight = here.filter(pc.equal(here["run_id"], shard.run_id))
        failed = failures if since is None else of_runs(failures, since)
        detail = {
            "run_id": shard.run_id,
            "counts": _counts(tonight) | {"failed": len(failed)},
            "whole": {"rows": len(here), "failed": len(failures)},
            "changes": changes,
            "failed_by": Counter(failed["error"].to_pylist()),
            "histogram": histogram(tonight["score"].drop_null().to_numpy()).tolist(),
            "passed_over": embedded.detail.get("passed_over", {}),
        }
        if repeated := embedded.detail.get(REPEATED):
            detail[REPEATED] = repeated
        if n_changed := embedded.detail.get(CHANGED):
            detail[CHANGED] = n_changed
        if asked:
            detail[SEGMENTS] = count_segments(segments, judged)
        if since is not None:
            detail[FAILED_RUNS] = since
        if len(here) < len(judged):
            detail[REMOVED_ROWS] = len(judged) - len(here)
        if n_pruned:
            detail[PRUNED_ROWS] = n_pruned
        if n_unknown := _n_unknown(here):
            detail[UNKNOWN_SYSTEM] = n_unknown
        marker = self.table.commit(shard, embedded.uri, tables, detail, {"scores": stands.sha256} if stands else None)
        metrics.count("bonafide_alarms_total", len(marker.alarms) if marker else 0)
        done = {"rows": len(judged), "outcomes": _outcomes(tonight), "changes": changes}
        return {"name": shard.name, "committed": marker is not None, **done}

    def _judged(self, rows: pa.Table | None, run_id: str, recipe: dict[str, Any] | None) -> pa.Table:
        if rows is None:
            return SCORES.empty_table()
        judged = self.head.judge(rows, self.prior, run_id, recipe)
        name = pa.array([self.names.get(run_id)] * len(judged), pa.string())
        return judged.set_column(judged.column_names.index("head"), "head", name)


def _note(
    item: Item, judged: pa.Table, stands: Standing | None, failures: pa.Table, embedded_by: str
) -> dict[str, int]:
    """Count what the run changes and prunes, or take it from rows that an earlier attempt left uncommitted."""
    if stands is not None and stands.name == item.shard.name and stands.note is not None:
        return {name: int(n) for name, n in stands.note.items()}

    def is_known(first_run_id: str) -> bool:
        """Return True if another head has scored a recording: this state of its shard, or one that had it already."""
        return bool(item.by_other) and (item.by_other >= item.shard.entry.state or first_run_id != embedded_by)

    former = None if stands is None else stands.rows
    failed = failures["utterance_id"].to_pylist()
    changes = count_changes(judged, former, failed, item.shard.run_id, is_known)
    n_pruned = count_pruned(judged, former, failed)
    return {**changes, **({PRUNED_ROWS: n_pruned} if n_pruned else {})}


def _n_unknown(judged: pa.Table) -> int:
    """Count rows that are accepted as spoof of a system that the head has not heard: reports read no other shard."""
    accepted = judged.filter(pc.invert(judged["reject"]))
    return pc.sum(pc.equal(accepted["nearest_system"], UNKNOWN_SYSTEM)).as_py() or 0


def _outcomes(judged: pa.Table) -> dict[str, int]:
    """Count rows by reject reason, and rows that are not rejected by label."""
    return dict(Counter(pc.coalesce(judged["reject_reason"], judged["label"]).to_pylist()))


def _counts(judged: pa.Table) -> dict[str, int]:
    """Count all rows, accepted rows by label, and rejected rows in total and by reason."""
    accepted = judged.filter(pc.invert(judged["reject"]))["label"].to_pylist()
    reasons = judged["reject_reason"].drop_null().to_pylist()
    return {
        "rows": len(judged),
        "accepted_spoof": accepted.count(SPOOF),
        "accepted_bonafide": len(accepted) - accepted.count(SPOOF),
        "rejected": len(reasons),
        "far_out": pc.sum(pc.greater(judged["ood"], FAR)).as_py() or 0,
        **Counter(reasons),
    }
