"""The nightly report: the findings of one run, from its record, the records before it, and its tables.

Everything is computed from what is stored, so a lost page can be written again. Tables are read in batches of a few
columns; memory holds only counts by source and the candidates of the queue.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from detector.drift import Drift
from detector.head import Head
from detector.logistic import Bools
from detector.metrics import Floats
from detector.shift import Reference
from jobs.decoding.confinement import described, severity
from jobs.inputs.sources import archive_roots
from jobs.reports.nightly.drift import drift_report
from jobs.reports.nightly.history import previous_ranges, summarise
from jobs.reports.nightly.source_counts import SourceCounter, dearest_sources, flagged_rows, largest_sources
from jobs.reports.review.context import with_context
from jobs.reports.review.queue import COLUMNS, ReviewQueueBuilder, TopK, float_column
from jobs.reports.runs import Record, batches_of_run, failure_batches_of_run, scored_shards
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PlanHistory

SHOWN_FLAGGED = 20


def nightly_report(
    table: Ledger, source: Ledger, history: PlanHistory, head: Head, record: Record, previous: list[Record]
) -> dict[str, Any]:
    """Return the report of a run as plain values.

    Parameters
    ----------
    table, source : Ledger
        The scores, and the embeddings that they were made from.
    history : PlanHistory
        Plans of the scores.
    head : Head
    record : dict
        Of the run.
    previous : list of dict
        Records of the runs before it, the oldest first.
    """
    shards = scored_shards(table, source, history, record["plan"])
    reference = Reference.from_dict(head.training.get("calibration_rows"))
    sources = SourceCounter(archive_roots(record["settings"].get("input", ())), reference)
    queue_builder, flagged = ReviewQueueBuilder(head), TopK(SHOWN_FLAGGED, _rank_flagged)
    for number, (scores, embedded) in enumerate(shards):
        for batch in batches_of_run(table, scores, COLUMNS):
            sources.add(batch)
            queue_builder.add(batch, number)
            flagged.add(batch, number)
        for batch in failure_batches_of_run(source, scores, embedded, ("uri", "member", "seconds")):
            sources.add_failures(batch)
    queue = queue_builder.queue(source, [embedded for _, embedded in shards])
    scored = [scores for scores, _ in shards]
    shown = with_context(table, scored, queue.rows, queue_builder.shards)
    shards_of_flagged = {row["utterance_id"]: number for number, row in flagged.rows()}
    flagged_shown = with_context(table, scored, [row for _, row in flagged.rows()], shards_of_flagged)
    same_prior = head.prior == record["prior"]
    return {
        "run_id": record["run_id"],
        "run_date": history.plans[record["plan"] - 1].run_date,
        "head_id": head.head_id,
        "model": head.model,
        "prior": record["prior"],
        "reject_band_nats": record["reject_band_nats"],
        "output": table.output,
        "input": list(record["settings"].get("input", ())) or [record["settings"].get("manifest")],
        "versions": record["versions"],
        "confinement": record.get("confinement"),
        "warnings": _warnings(record),
        "changes": record.get("changes"),
        "pruned": record.get("pruned", 0),
        "cost": record.get("cost"),
        "shards": len(shards),
        "seconds": sum(each.seconds for each in sources.by_source.values()),
        "runs": [summarise(each) for each in (*previous, record)],
        "previous": previous_ranges(previous),
        "sources": largest_sources(sources.by_source),
        "dearest": dearest_sources(sources.by_source),
        "passed_over": {
            "below the archive's folders": record.get("passed_over", {}),
            "in the containers of this run": record.get("passed_over_members", {}),
        },
        "drift": None if reference is None else drift_report(sources.by_source, reference, same_prior=same_prior),
        "queue": asdict(queue) | {"rows": shown},
        "flagged": flagged_shown,
    }


def _rank_flagged(batch: pa.RecordBatch) -> tuple[Bools, Floats]:
    """Rank rows that are accepted as spoof, the lowest score first."""
    return flagged_rows(batch), np.nan_to_num(float_column(batch, "score"))


def _warnings(record: Record) -> list[str]:
    warnings = Drift(**record["drift"]).warnings(record["prior"]) if "drift" in record else []
    level = record.get("confinement")
    if level is not None and severity(level, record["settings"].get("confinement")) > logging.INFO:
        warnings.append(f"{described(level)}.")
    failed, recordings = record["scores"]["failed"], record["scores"]["failed"] + record["scores"]["rows"]
    allowed = record["settings"]["max_failures"]
    if failed > allowed * recordings:
        warnings.append(f"{failed} of {recordings} recordings failed, more than the {allowed:.0%} that the run allows.")
    warnings += [
        f"{uri}: computed twice, with different results; check the machines for a fault." for uri in record["alarms"]
    ]
    return warnings
