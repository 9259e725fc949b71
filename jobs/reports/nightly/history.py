"""History: what the runs before this one found, to compare it with."""

from __future__ import annotations

import statistics
from typing import Any

from detector.schema import REJECT_REASONS
from jobs.reports.runs import Record, read_records
from jobs.tables.protocol import PlanHistory

MAX_PREVIOUS_RUNS = 30


def previous_records(output: str, history: PlanHistory, number: int) -> list[Record]:
    """Return the records of the last complete runs of a head before a plan, the oldest first."""
    run_ids = [plan.run_id for plan in history.plans[max(number - 1 - MAX_PREVIOUS_RUNS, 0) : number - 1]]
    return read_records(output, run_ids)


def summarise(record: Record) -> dict[str, Any]:
    """Return the counts of a run, for a row of the table of runs."""
    counts, drift = record["scores"], record.get("drift", {})
    return {
        "run_id": record["run_id"],
        "recordings": counts["rows"] + counts["failed"],
        **record.get("changes", {}),
        "bonafide": counts["accepted_bonafide"],
        "spoof": counts["accepted_spoof"],
        "rejected": counts["rejected"],
        "rejected_by": {reason: counts.get(reason, 0) for reason in REJECT_REASONS},
        "failed": counts["failed"],
        "failed_by": record.get("failed_by", {}),
        "spoof_share": None if drift.get("prior_low") is None else [drift["prior_low"], drift["prior_high"]],
        "no_spoof_share": drift.get("not_estimated"),
        "distance": drift.get("distance"),
    }


def shares(run: dict[str, Any]) -> dict[str, float]:
    """Return each count of a summarised run as a share of its recordings, reasons included."""
    counts = {name: run[name] for name in ("bonafide", "spoof", "rejected", "failed")}
    counts |= {f"rejected {reason}": n for reason, n in run["rejected_by"].items()}
    counts |= {f"failed {reason}": n for reason, n in run["failed_by"].items()}
    return {name: n / run["recordings"] for name, n in counts.items() if run["recordings"]}


def previous_ranges(records: list[Record]) -> dict[str, dict[str, float]]:
    """Return the median, least and most of each share over runs, and of the number of their recordings."""
    runs = [summarise(record) for record in records]
    shares_by_run = [shares(run) for run in runs if run["recordings"]]
    names = {name for run_shares in shares_by_run for name in run_shares}
    values = {name: [run_shares.get(name, 0.0) for run_shares in shares_by_run] for name in sorted(names)}
    values |= {"recordings": [run["recordings"] for run in runs]} if runs else {}
    return {
        name: {"median": statistics.median(each), "least": min(each), "most": max(each)}
        for name, each in values.items()
    }
