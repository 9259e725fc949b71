"""Source counts: how many recordings of each source were scored, rejected, flagged or failed, and their histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from detector.logistic import Bools, Indices
from detector.metrics import Floats
from detector.schema import SPOOF
from detector.shift import Counts, Reference
from jobs.inputs.sources import source_of
from jobs.reports.review.queue import float_column

SHOWN_SOURCES = 20
DEAREST_SOURCES = 10
MAX_SOURCES = 1_000  # counted apart; all further ones are counted as one, so memory is bounded
OTHER_SOURCES = "(all others)"


@dataclass
class SourceCounts:
    """Counts of one source's rows; ``histograms`` holds rows by bin for each quantity of the drift."""

    scored: int = 0
    rejected: int = 0
    flagged: int = 0
    failed: int = 0
    seconds: float = 0.0
    failed_seconds: float = 0.0  # decoded of recordings that failed
    histograms: Counts = field(default_factory=dict)

    def add(self, rejected: Bools, flagged: Bools, seconds: Floats, histograms: Counts) -> None:
        """Count rows of `scores`."""
        self.scored += len(rejected)
        self.rejected += int(np.count_nonzero(rejected))
        self.flagged += int(np.count_nonzero(flagged))
        self.seconds += float(seconds.sum())
        self.histograms = sum_histograms([self.histograms, histograms])

    @property
    def totals(self) -> dict[str, Any]:
        """The counts by name, without histograms."""
        return {name: getattr(self, name) for name in ("scored", "rejected", "flagged", "failed", "seconds")}


class SourceCounter:
    """Counts rows by source.

    Parameters
    ----------
    roots : tuple of str
        As :func:`jobs.inputs.sources.archive_roots` returns them.
    reference : Reference or None
        The head's calibration rows; None if the head does not hold them, and then there are no histograms.
    """

    def __init__(self, roots: tuple[str, ...], reference: Reference | None) -> None:
        self._roots, self._reference = roots, reference
        self.by_source: dict[str, SourceCounts] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Count rows of `scores`."""
        rejected = batch["reject"].to_numpy(zero_copy_only=False)
        flagged = flagged_rows(batch)
        seconds = float_column(batch, "seconds")
        values = {name: float_column(batch, name) for name in ("score", "entropy_bits", "ood")} | {"seconds": seconds}
        scored = np.isfinite(values["score"])  # rows without a score do not count, as when the head was fitted
        for counts, rows in self._by_source(batch):
            kept = rows[scored[rows]]
            histograms = (
                self._reference.counted({name: each[kept] for name, each in values.items()}) if self._reference else {}
            )
            counts.add(rejected[rows], flagged[rows], seconds[rows], histograms)

    def add_failures(self, batch: pa.RecordBatch) -> None:
        """Count rows of `failures`."""
        for counts, rows in self._by_source(batch):
            counts.failed += len(rows)
            if "seconds" in batch.schema.names:  # rows of earlier versions have none
                counts.failed_seconds += float(np.nansum(float_column(batch, "seconds")[rows]))

    def _by_source(self, batch: pa.RecordBatch) -> Iterator[tuple[SourceCounts, Indices]]:
        """Yield the counts of each source in a batch, with the places of its rows."""
        places: dict[str, list[int]] = {}
        pairs = zip(batch["uri"].to_pylist(), batch["member"].to_pylist(), strict=True)
        for place, (uri, member) in enumerate(pairs):
            places.setdefault(source_of(uri, member, self._roots), []).append(place)
        for name, rows in places.items():
            is_apart = name in self.by_source or len(self.by_source) < MAX_SOURCES
            yield self.by_source.setdefault(name if is_apart else OTHER_SOURCES, SourceCounts()), np.array(rows)


def flagged_rows(batch: pa.RecordBatch) -> Bools:
    """Return a mask of the rows that are accepted as spoof."""
    is_spoof = np.array([label == SPOOF for label in batch["label"].to_pylist()], dtype=bool)
    return np.asarray(is_spoof & ~batch["reject"].to_numpy(zero_copy_only=False))


def largest_sources(by_source: dict[str, SourceCounts]) -> list[dict[str, Any]]:
    """Return the counts of the largest sources, and those of all others in one row."""
    ordered = sorted(by_source.items(), key=lambda item: (-item[1].scored - item[1].failed, item[0]))
    rows = [{"name": name, **counts.totals} for name, counts in ordered[:SHOWN_SOURCES]]
    others = [counts.totals for _, counts in ordered[SHOWN_SOURCES:]]
    if others:
        rows.append({"name": f"{len(others)} more", **{name: sum(each[name] for each in others) for name in others[0]}})
    return rows


def dearest_sources(by_source: dict[str, SourceCounts]) -> list[dict[str, Any]]:
    """Return the sources of which most audio was decoded, that of failed recordings included."""
    seconds = {name: counts.seconds + counts.failed_seconds for name, counts in by_source.items()}
    total = sum(seconds.values()) or 1.0
    return [
        {
            "name": name,
            "recordings": by_source[name].scored + by_source[name].failed,
            "seconds": seconds[name],
            "share": seconds[name] / total,
        }
        for name in sorted(seconds, key=lambda name: (-seconds[name], name))[:DEAREST_SOURCES]
    ]


def sum_histograms(histograms: Iterable[Counts]) -> Counts:
    """Add histograms, quantity by quantity; empty ones are skipped."""
    total: Counts = {}
    for each in histograms:
        total = {name: total.get(name, 0) + array for name, array in each.items()} if each else total
    return total
