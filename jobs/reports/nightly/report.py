"""A night: what one run of `nightly` found, from its record, the records before it, and its tables.

All of it follows from what is stored, so a page that was lost can be made again. Of the tables some columns are read,
some thousand rows at a time; what is held are counts by source, and the rows of the queue.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from detector.drift import Drift
from detector.head import Head
from detector.logistic import Bools
from detector.metrics import Floats
from detector.schema import REJECT_REASONS, SPOOF
from detector.shift import QUANTITIES, Counts, Reference, Shift, quantile
from jobs import storage
from jobs.reports.review.queue import COLUMNS, ReviewQueueBuilder, TopK, numbers
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.ledger import READERS, Ledger
from jobs.tables.protocol import Marker, PlanHistory

N_BEFORE = 30  # runs
SHOWN_SOURCES = 20
SHOWN_FLAGGED = 20
MAX_SOURCES = 1_000  # that are told apart; of an archive with more top folders the rest are one
REST = "(all others)"

Record = dict[str, Any]


@dataclass
class Tally:
    """What is counted of a source's rows."""

    scored: int = 0
    rejected: int = 0
    flagged: int = 0
    failed: int = 0
    seconds: float = 0.0
    counts: Counts = field(default_factory=dict)

    def add(self, rejected: Bools, flagged: Bools, seconds: Floats, counts: Counts) -> None:
        """Count more rows of `scores`."""
        self.scored += len(rejected)
        self.rejected += int(np.count_nonzero(rejected))
        self.flagged += int(np.count_nonzero(flagged))
        self.seconds += float(seconds.sum())
        self.counts = _sum([self.counts, counts])


def nightly_report(
    table: Ledger, source: Ledger, history: PlanHistory, head: Head, record: Record, before: list[Record]
) -> dict[str, Any]:
    """What a run found, as plain values.

    Parameters
    ----------
    table, source : Ledger
        The scores, and the embeddings that they were made of.
    history : PlanHistory
        Plans of the scores.
    head : Head
    record : dict
        Of the run.
    before : list of dict
        Records of the runs before it, the oldest first.
    """
    shards = shards_of(table, source, history, record["plan"])
    reference = Reference.from_dict(head.training.get("calibration_rows"))
    sources = _Sources(roots_of(record["settings"].get("input", ())), reference)
    doubtful, flagged = ReviewQueueBuilder(head), TopK(SHOWN_FLAGGED, _most_spoof)
    for number, (scores, embedded) in enumerate(shards):
        for batch in table.batches(scores, "scores", list(COLUMNS)):
            sources.add(batch)
            doubtful.add(batch, number)
            flagged.add(batch, number)
        for batch in source.batches(embedded, "failures", ["uri", "member"]):
            sources.add_failures(batch)
    queue = doubtful.queue(source, [embedded for _, embedded in shards])
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
        "warnings": _warnings(record),
        "shards": len(shards),
        "seconds": sum(each.seconds for each in sources.tallies.values()),
        "runs": [_summary(each) for each in (*before, record)],
        "usual": _usual(before),
        "sources": _by_size(sources.tallies),
        "drift": None if reference is None else _drift(sources.tallies, reference, head.prior == record["prior"]),
        "queue": asdict(queue),
        "flagged": [row for _, row in flagged.rows()],
    }


def shards_of(table: Ledger, source: Ledger, history: PlanHistory, number: int) -> list[tuple[Marker, Marker]]:
    """What is current of a plan: for each shard the markers of its scores and of the embeddings that these judge."""
    planned = sorted(history.of_plan(number), key=lambda shard: shard.name)
    states = [shard.entry.state for shard in planned]
    embedded = {marker.name: marker for marker in source.markers(states)}
    scores = table.markers(shard.name for shard in planned)
    return [(marker, embedded[state]) for marker, state in zip(scores, states, strict=True)]


def records_before(output: str, history: PlanHistory, number: int) -> list[Record]:
    """Records of the last runs of a head before a plan, the oldest first; of runs that were completed."""
    ids = [plan.run_id for plan in history.plans[max(number - 1 - N_BEFORE, 0) : number - 1]]
    with ThreadPoolExecutor(READERS) as pool:
        return [found for found in pool.map(lambda run_id: read_record(output, run_id), ids) if found is not None]


def read_record(output: str, run_id: str) -> Record | None:
    """The record of a run; None where there is none, because it is not complete."""
    uri = storage.join(output, "runs", f"{run_id}.json")
    try:
        return dict(load_checksummed(storage.read_bytes(uri), uri))
    except storage.NotFoundError:
        return None


def roots_of(inputs: Iterable[str]) -> tuple[str, ...]:
    """The folders that an archive was named by, each with a slash behind it, the longest first.

    Examples
    --------
    >>> roots_of(["s3://archive/2026/", "s3://archive/*/calls/*.flac"])
    ('s3://archive/2026/', 's3://archive/')
    """
    roots = set()
    for each in inputs:
        whole = storage.normal(each)
        fixed = whole[: min((whole.find(sign) for sign in "*?[" if sign in whole), default=len(whole))]
        roots.add(f"{whole.rstrip('/')}/" if fixed == whole else fixed[: fixed.rfind("/") + 1])
    return tuple(sorted(roots, key=len, reverse=True))


def source_of(uri: str, member: str | None, roots: tuple[str, ...]) -> str:
    """Where a recording comes from, by its place: what the labels' `source` is compared with.

    The first folder below the archive that was named; without one, the first folder inside the container; without that,
    the folder that the object lies in.

    Examples
    --------
    >>> roots = ("s3://archive/2026/",)
    >>> source_of("s3://archive/2026/radio/0001.tar", "x/a.flac", roots)
    'radio'
    >>> source_of("s3://archive/2026/0001.tar", "calls/a.flac", roots)
    'calls'
    >>> source_of("s3://archive/2026/a.flac", None, roots)
    '2026'
    """
    root = next((root for root in roots if uri.startswith(root)), None)
    folders = [] if root is None else [name for name in uri[len(root) :].split("/")[:-1] if name]
    inside = [name for name in (member or "").split("/")[:-1] if name not in ("", ".", "..")]
    return (folders or inside or [storage.name_of(uri.rpartition("/")[0]) or "/"])[0]


class _Sources:
    """Counts rows by source."""

    def __init__(self, roots: tuple[str, ...], reference: Reference | None) -> None:
        self._roots, self._reference = roots, reference
        self.tallies: dict[str, Tally] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Count rows of `scores`."""
        rejected = batch["reject"].to_numpy(zero_copy_only=False)
        flagged = _flagged(batch)
        seconds = numbers(batch, "seconds")
        values = {name: numbers(batch, name) for name in ("score", "entropy_bits", "ood")} | {"seconds": seconds}
        # as when the head was fitted: rows without a score count for nothing
        scored = np.isfinite(values["score"])
        for tally, rows in self._rows(batch):
            kept = rows[scored[rows]]
            counts = (
                self._reference.counted({name: each[kept] for name, each in values.items()}) if self._reference else {}
            )
            tally.add(rejected[rows], flagged[rows], seconds[rows], counts)

    def add_failures(self, batch: pa.RecordBatch) -> None:
        """Count rows of `failures`."""
        for tally, rows in self._rows(batch):
            tally.failed += len(rows)

    def _rows(self, batch: pa.RecordBatch) -> Iterator[tuple[Tally, Any]]:
        """Each source of a batch, and which rows are of it."""
        places: dict[str, list[int]] = {}
        pairs = zip(batch["uri"].to_pylist(), batch["member"].to_pylist(), strict=True)
        for place, (uri, member) in enumerate(pairs):
            places.setdefault(source_of(uri, member, self._roots), []).append(place)
        for name, rows in places.items():
            known = name in self.tallies or len(self.tallies) < MAX_SOURCES
            yield self.tallies.setdefault(name if known else REST, Tally()), np.array(rows)


def _flagged(batch: pa.RecordBatch) -> Bools:
    called = np.array([label == SPOOF for label in batch["label"].to_pylist()], dtype=bool)
    return np.asarray(called & ~batch["reject"].to_numpy(zero_copy_only=False))


def _most_spoof(batch: pa.RecordBatch) -> tuple[Bools, Floats]:
    """Accepted as spoof, the lowest score first."""
    return _flagged(batch), np.nan_to_num(numbers(batch, "score"))


def _summary(record: Record) -> dict[str, Any]:
    """A run in a line."""
    counts, moved = record["scores"], record.get("drift", {})
    return {
        "run_id": record["run_id"],
        "recordings": counts["rows"] + counts["failed"],
        "bonafide": counts["accepted_bonafide"],
        "spoof": counts["accepted_spoof"],
        "rejected": counts["rejected"],
        "rejected_by": {reason: counts.get(reason, 0) for reason in REJECT_REASONS},
        "failed": counts["failed"],
        "failed_by": record.get("failed_by", {}),
        "estimated_prior": moved.get("estimated_prior"),
        "distance": moved.get("distance"),
    }


def shares(run: dict[str, Any]) -> dict[str, float]:
    """Of a run's recordings, the share of everything that is counted; by reason as well."""
    counts = {name: run[name] for name in ("bonafide", "spoof", "rejected", "failed")}
    counts |= {f"rejected {reason}": n for reason, n in run["rejected_by"].items()}
    counts |= {f"failed {reason}": n for reason, n in run["failed_by"].items()}
    return {name: n / run["recordings"] for name, n in counts.items() if run["recordings"]}


def _usual(before: list[Record]) -> dict[str, dict[str, float]]:
    """Median, least and most of each share over the runs before; and of how many recordings they were."""
    runs = [_summary(record) for record in before]
    each_run = [shares(run) for run in runs if run["recordings"]]
    names = {name for found in each_run for name in found}
    values = {name: [found.get(name, 0.0) for found in each_run] for name in sorted(names)}
    values |= {"recordings": [run["recordings"] for run in runs]} if runs else {}
    return {
        name: {"median": statistics.median(of_runs), "least": min(of_runs), "most": max(of_runs)}
        for name, of_runs in values.items()
    }


def _warnings(record: Record) -> list[str]:
    found = Drift(**record["drift"]).warnings(record["prior"]) if "drift" in record else []
    failed, recordings = record["scores"]["failed"], record["scores"]["failed"] + record["scores"]["rows"]
    allowed = record["settings"]["max_failures"]
    if failed > allowed * recordings:
        found.append(f"{failed} of {recordings} recordings failed, more than the {allowed:.0%} that the run allows.")
    found += [f"{uri}: computed twice with two results; is a machine broken?" for uri in record["alarms"]]
    return found


def _by_size(tallies: dict[str, Tally]) -> list[dict[str, Any]]:
    """The largest sources, and the rest in one."""
    ordered = sorted(tallies.items(), key=lambda item: (-item[1].scored - item[1].failed, item[0]))
    shown, rest = ordered[:SHOWN_SOURCES], ordered[SHOWN_SOURCES:]
    rows = [{"name": name, **_numbers_of(tally)} for name, tally in shown]
    if rest:
        totals = [_numbers_of(tally) for _, tally in rest]
        summed = {name: sum(each[name] for each in totals) for name in totals[0]}
        rows.append({"name": f"{len(rest)} more", **summed})
    return rows


def _numbers_of(tally: Tally) -> dict[str, Any]:
    return {name: getattr(tally, name) for name in ("scored", "rejected", "flagged", "failed", "seconds")}


def _drift(tallies: dict[str, Tally], reference: Reference, same_prior: bool) -> dict[str, Any]:
    """What differs from the calibration rows, in all and by source.

    Entropy depends on the prior: at another one than the head's it is not compared.
    """
    known = [name for name in QUANTITIES if name in reference.edges]
    names = [name for name in known if same_prior or name != "entropy_bits"]
    found = reference.counted({name: np.empty(0) for name in reference.edges})
    found = _sum([found, *(tally.counts for tally in tallies.values())])
    expected = reference.expected(found)
    largest = sorted(tallies, key=lambda name: (-tallies[name].scored, name))[:SHOWN_SOURCES]
    return {
        "quantities": names,
        "prior_differs": not same_prior,
        "has_sources": bool(reference.sources),
        "n_reference": reference.n_rows(),
        "mix": _shift(reference.mix_shift({name: tally.scored for name, tally in tallies.items()})),
        "rows": [
            _compared("all", found, reference, None, names),
            *(
                _compared(name, tallies[name].counts, reference, name, names)
                for name in largest
                if _has_scores(tallies[name]) and (len(tallies) > 1 or name in reference.sources)
            ),
        ],
        "pictures": {
            name: {
                "edges": reference.edges[name].tolist(),
                "found": (found[name] / max(found[name].sum(), 1)).tolist(),
                "expected": (expected[name] / max(expected[name].sum(), 1e-300)).tolist(),
            }
            for name in names
        },
    }


def _compared(name: str, found: Counts, reference: Reference, source: str | None, names: list[str]) -> dict[str, Any]:
    """A line of the drift table."""
    known = source in reference.sources
    shifts, expected = reference.shifts(found, source), reference.expected(found, source)
    return {
        "name": name,
        "rows": int(found[names[0]].sum()),
        "against": f"{name}, {reference.n_rows(source)} rows" if known else f"all {reference.n_rows()} rows",
        "shifts": {each: _shift(shifts[each]) for each in names},
        "medians": {
            each: [quantile(counts, reference.edges[each]) for counts in (found[each], expected[each])]
            for each in names
        },
    }


def _has_scores(tally: Tally) -> bool:
    return "score" in tally.counts and bool(tally.counts["score"].any())


def _shift(found: Shift | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found) | {"word": found.word}


def _sum(counts: Iterable[Counts]) -> Counts:
    total: Counts = {}
    for each in counts:
        total = {name: total.get(name, 0) + array for name, array in each.items()} if each else total
    return total
