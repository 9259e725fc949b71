"""The nightly report: the findings of one run, from its record, the records before it, and its tables.

Everything is computed from what is stored, so a lost page can be written again. Tables are read in batches of a few
columns; memory holds only counts by source and the candidates of the queue, and as many recordings of unknown systems
as :mod:`jobs.reports.voices` reads.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from detector.attribution import UNKNOWN_SYSTEM, Attribution
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
from jobs.reports.review.context import audio_hashes, with_context
from jobs.reports.review.queue import COLUMNS, ReviewQueueBuilder, TopK, float_column, lowest_windows
from jobs.reports.runs import Record, StoredMarkers, batches_of_run, failure_batches_of_run, scored_shards
from jobs.reports.voices import find_voices
from jobs.scoring.unjudged_windows import UNJUDGED, warning_of
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PlanHistory
from jobs.tables.repeated_ids import UNHEARD

Shards = tuple[StoredMarkers, StoredMarkers]
"""Markers of the scores and of the embeddings of each shard."""

SHOWN_FLAGGED = 20
SHOWN_CLUSTERS, SHOWN_EXAMPLES = 10, 3


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
    found = _Found.of_rows(table, source, shards, head, record, reference)
    by_source = found.sources.by_source
    same_prior = head.prior == record["prior"]
    return {
        **_about(record, head, table),
        "run_date": history.plans[record["plan"] - 1].run_date,
        "warnings": _warnings(record),
        "shards": len(shards[0]),
        "seconds": sum(each.seconds for each in by_source.values()),
        "is_first": record["plan"] == 1,
        "runs": [summarise(each) for each in (*previous, record)],
        "previous": previous_ranges(previous),
        "sources": largest_sources(by_source),
        "dearest": dearest_sources(by_source),
        "drift": None if reference is None else drift_report(by_source, reference, same_prior=same_prior),
        **_shown(table, source, shards, found, record),
        "systems": None if head.systems is None else _by_system(found.systems, head.systems),
        "voices": None if head.systems is None else _voices(table, source, history, head, record),
    }


@dataclass(frozen=True)
class _Found:
    """What one reading of a run's rows counts, and keeps of them to be shown."""

    sources: SourceCounter
    queue: ReviewQueueBuilder
    flagged: TopK
    systems: Counter[str]

    @classmethod
    def of_rows(
        cls, table: Ledger, source: Ledger, shards: Shards, head: Head, record: Record, reference: Reference | None
    ) -> _Found:
        """Read the rows of shards, a batch at a time."""
        sources = SourceCounter(archive_roots(record["settings"].get("input", ())), reference)
        queue, flagged = ReviewQueueBuilder(head, record["prior"]), TopK(SHOWN_FLAGGED, _rank_flagged)
        systems: Counter[str] = Counter()
        for number, (scores, embedded) in enumerate(zip(*shards, strict=True)):
            lowest = lowest_windows(head, table, scores)
            for batch in batches_of_run(table, scores, COLUMNS):
                sources.add(batch)
                queue.add(batch, number, lowest)
                flagged.add(batch, number)
                systems.update(batch.filter(pa.array(flagged_rows(batch)))["nearest_system"].drop_null().to_pylist())
            for batch in failure_batches_of_run(source, scores, embedded, ("uri", "member", "seconds")):
                sources.add_failures(batch)
        return cls(sources, queue, flagged, systems)


def _about(record: Record, head: Head, table: Ledger) -> dict[str, Any]:
    """Return what the report takes from the record and the head as it is."""
    return {
        "run_id": record["run_id"],
        "head_id": head.head_id,
        "model": head.model,
        "prior": record["prior"],
        "reject_band_nats": record["reject_band_nats"],
        "output": table.output,
        "input": list(record["settings"].get("input", ())) or [record["settings"].get("manifest")],
        "versions": record["versions"],
        "confinement": record.get("confinement"),
        "changes": record.get("changes"),
        "pruned": record.get("pruned", 0),
        "unheard": record.get(UNHEARD),
        "cost": record.get("cost"),
        "passed_over": {
            "below the archive's folders": record.get("passed_over", {}),
            "in the containers of this run": record.get("passed_over_members", {}),
        },
    }


def _shown(table: Ledger, source: Ledger, shards: Shards, found: _Found, record: Record) -> dict[str, Any]:
    """Return the rows that are shown one by one, the review queue and those that are flagged; and what these heard."""
    (scored, embedded), flagged = shards, found.flagged.rows()
    queue = found.queue.queue(source, embedded)
    shards_of_flagged = {row["utterance_id"]: number for number, row in flagged}
    may_hold = record["settings"]["players"] == "embed"
    return {
        "audio_sha256": audio_hashes(source, embedded, found.queue.shards | shards_of_flagged) if may_hold else {},
        "queue": asdict(queue) | {"rows": with_context(table, scored, queue.rows, found.queue.shards)},
        "flagged": with_context(table, scored, [row for _, row in flagged], shards_of_flagged),
    }


def _by_system(counts: Counter[str], known: Attribution) -> dict[str, Any]:
    """Return the flagged rows by nearest system, the most frequent first, and what the names promise."""
    named = {name: counts[name] for name in known.systems if counts[name]}
    return {
        "counts": dict(sorted(named.items(), key=lambda item: (-item[1], item[0]))),
        UNKNOWN_SYSTEM: counts[UNKNOWN_SYSTEM],
        "known": len(known.systems),
        "false_attribution": known.false_attribution,
    }


def _voices(table: Ledger, source: Ledger, history: PlanHistory, head: Head, record: Record) -> dict[str, Any]:
    """Return the largest clusters of recordings that share a voice machine, with a few examples of each."""
    found = find_voices(table, source, history, head, record["plan"])
    several = [rows for rows in found.clusters if len(rows) > 1]
    return {
        "clusters": [
            {
                "name": rows[0]["cluster"],
                "recordings": len(rows),
                "new": sum(row["run_id"] == record["run_id"] for row in rows),
                "first_seen": rows[0]["first_seen"],
                "examples": [row["utterance_id"] for row in rows[:SHOWN_EXAMPLES]],
            }
            for rows in several[:SHOWN_CLUSTERS]
        ],
        "several": len(several),
        "alone": len(found.clusters) - len(several),
        "rows": found.n_rows,
        "runs": found.n_runs,
        "of_runs": found.of_runs,
        "is_cut": found.is_cut,
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
    if UNJUDGED in record:
        warnings.append(warning_of(record[UNJUDGED]))
    warnings += [
        f"{uri}: computed twice, with different results; check the machines for a fault." for uri in record["alarms"]
    ]
    return warnings
