"""Score committed shards: one task a shard reads its embeddings, judges them, and commits its scores."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from detector.drift import FAR, histogram
from detector.errors import ConfigError
from detector.head import Head
from detector.schema import FAILURES, SCORES, SPOOF
from jobs import storage
from jobs.config import RunConfig
from jobs.errors import RunAgain, WorkersLostError
from jobs.execution.cluster import Cluster
from jobs.execution.retries import PASSES
from jobs.execution.watchdog import StopRequest, Watchdog
from jobs.scoring.result import ScoringRun
from jobs.tables import run_records
from jobs.tables.ledger import Ledger
from jobs.tables.plan import plan_id_of, propose_scores
from jobs.tables.protocol import Entry, Plan, PlanHistory, PlannedShard
from jobs.telemetry import logs, metrics
from jobs.telemetry.progress import progress

log = logging.getLogger(__name__)


def score_shards(
    cluster: Cluster,
    source: Ledger,
    shards: list[PlannedShard],
    head: Head,
    prior: float | None,
    output: str,
    config: RunConfig,
) -> ScoringRun:
    """Score the committed shards of an embedding table that have no scores of this head yet, or older ones.

    Parameters
    ----------
    source : Ledger
        The table of embeddings.
    shards : list of PlannedShard
        Its committed shards.
    prior : float or None
        Share of spoof to assume; None takes the head's.
    """
    prior = head.prior if prior is None else prior
    table = Ledger(storage.normal(output), "scores", head.head_id)

    def propose(history: PlanHistory) -> Plan | None:
        _refuse_other_prior(history, prior)
        _refuse_other_channels(history, head, source.key)
        new = propose_scores(shards, history)
        if not new:
            return None
        run_id = run_records.run_id_of(config, plan_id_of(new, len(history.plans)), head.head_id)
        return Plan(run_id, config.run_date, new, {"prior": prior, "fingerprint": source.key})

    history = table.freeze(propose)
    if history.plans:
        logs.bind(run_id=history.plans[-1].run_id)
    run = ScoringRun(head, prior, table, history, frozenset(shard.slot for shard in shards))
    done = table.done()
    todo = [shard for slot in sorted(run.slots) if (shard := history.current[slot]).name not in done]
    if todo:
        task = ScoreShard(source, table, head, prior)
        watchdog = Watchdog(config.stall_seconds)
        with progress("score", len(todo)) as shown, StopRequest() as stop:
            for n_rows in run_all(partial(cluster.map_items, task, watchdog=watchdog, stop=stop), todo):
                watchdog.moved()
                shown.shard(n_rows)
    return run


def run_all(stream: Callable[[list[str]], Iterator[dict[str, Any]]], todo: list[PlannedShard]) -> Iterator[int]:
    """Score every shard, again if its worker was lost; yield the rows of each."""
    left = {shard.name: shard for shard in todo}
    replaced: list[str] = []
    notes = "its workers were lost"
    for _ in range(PASSES):
        try:
            for result in stream([json.dumps(asdict(shard)) for shard in left.values()]):
                if left.pop(result["name"], None) is not None:
                    replaced += [] if result["committed"] else [result["name"]]
                    for outcome, n_rows in result["outcomes"].items():
                        metrics.count("bonafide_rows_total", n_rows, verb="score", outcome=outcome)
                    yield result["rows"]
        except WorkersLostError as error:
            notes = str(error)
        if not left and replaced:
            raise RunAgain(f"{len(replaced)} shard(s) were replaced while they were scored, first {replaced[0]}.")
        if not left:
            return
        metrics.count("bonafide_workers_lost_total", verb="score")
        log.warning("%d shard(s) not scored, first %s: %s", len(left), min(left), notes)
    raise RunAgain(f"gave up on {len(left)} shard(s) after {PASSES} passes, first {min(left)}: {notes}. Run again.")


def _refuse_other_prior(history: PlanHistory, prior: float) -> None:
    """A row stands once for one head: the same head at two priors would make two."""
    before = history.plans[0].detail["prior"] if history.plans else prior
    if before != prior:
        raise ConfigError(
            f"prior {prior:g}: this output holds scores of the head at a prior of {before:g}, and a row stands "
            f"once for a head. Use another --output; `score` itself does not depend on the prior."
        )


def _refuse_other_channels(history: PlanHistory, head: Head, fingerprint: str) -> None:
    """Embeddings of other channels have the same slots: their scores would stand where others stand."""
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

    @property
    def __name__(self) -> str:
        return "score"

    def __call__(self, text: str) -> dict[str, Any]:
        """Score the shard that ``text`` is the JSON of; return its name, counts, and whether it was committed."""
        content = json.loads(text)
        shard = PlannedShard(**{**content, "entry": Entry(**content["entry"])})
        (embedded,) = self.source.markers([shard.entry.state])
        rows = self.source.read(embedded, "embeddings")
        judged = SCORES.empty_table() if rows is None else self.head.judge(rows, self.prior, shard.run_id)
        failures = self.source.read(embedded, "failures")
        failures = FAILURES.empty_table() if failures is None else failures
        tables = {"scores": (f"scores/run_date={shard.run_date}", judged)}
        if self.source.output != self.table.output:
            tables = {"failures": (f"failures/run_date={shard.run_date}", failures)} | tables
        counts = _counts(judged) | {"failed": embedded.rows["failures"]}
        bins = histogram(judged["score"].drop_null().to_numpy()).tolist()
        failed_by = Counter(failures["error"].to_pylist())
        detail = {"run_id": shard.run_id, "counts": counts, "failed_by": failed_by, "histogram": bins}
        marker = self.table.commit(shard, embedded.uri, tables, detail)
        metrics.count("bonafide_alarms_total", len(marker.alarms) if marker else 0)
        return {"name": shard.name, "rows": len(judged), "committed": marker is not None, "outcomes": _outcomes(judged)}


def _outcomes(judged: pa.Table) -> dict[str, int]:
    """Rows by reason where they are rejected, else by label."""
    return dict(Counter(pc.coalesce(judged["reject_reason"], judged["label"]).to_pylist()))


def _counts(judged: pa.Table) -> dict[str, int]:
    """Rows, those accepted by label, those rejected, and these by reason."""
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
