"""Totals of a scoring run: what a record says of the markers of its plan."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from detector.drift import Drift, drift
from detector.head import Head
from jobs.embedding.totals import code_of
from jobs.tables.plan import SEGMENTS
from jobs.tables.protocol import Marker
from jobs.tables.removal import PRUNED_ROWS, REMOVED_ROWS
from jobs.tables.totals import Totals


class ScoringTotals(Totals):
    """The totals of markers of `scores`.

    Parameters
    ----------
    head : Head
    max_failures : float
        Share of the inputs that may fail.
    """

    def __init__(self, head: Head, max_failures: float) -> None:
        super().__init__()
        self._head = head
        self._max_failures = max_failures
        self._scores: Counter[str] = Counter()
        self._whole: Counter[str] = Counter()
        self._changes: Counter[str] = Counter()
        self._failed_by: Counter[str] = Counter()
        self._segments: Counter[str] = Counter()
        self._histogram: np.ndarray | None = None

    def add(self, marker: Marker) -> None:
        """Add what a marker says; those of earlier versions say less."""
        super().add(marker)
        detail = marker.detail
        self._scores.update(detail["counts"])
        self._whole.update(detail.get("whole", detail["counts"]))
        self._changes.update(detail.get("changes", {}))
        self._failed_by.update(detail.get("failed_by", {}))
        self._segments.update(detail.get(SEGMENTS, {}))
        if "histogram" in detail:
            counts = np.array(detail["histogram"], dtype=np.int64)
            self._histogram = counts if self._histogram is None else self._histogram + counts

    def record(self) -> dict[str, Any]:
        """Return what the run's record says of the markers."""
        whole, moved = self._whole, self._drift()
        return {
            "scores": self._scores,
            "whole": {name: whole[name] for name in ("rows", "failed")},
            "changes": self._changes,
            **{name: self.numbers[name] for name in (REMOVED_ROWS, PRUNED_ROWS)},
            "failed_by": self._failed_by,
            "passed_over_members": self.passed_over.to_content(),
            **self.repeated.record(),
            "exit_code": code_of(whole["failed"], whole["rows"], self._max_failures, self),
            **({"segment_rows": self._segments} if self._segments else {}),
            **({} if moved is None else {"drift": asdict(moved)}),
        }

    def _drift(self) -> Drift | None:
        """Compare the scores of the archive with those of the calibration rows, if the head knows these."""
        if self._histogram is None:
            return None
        return drift(
            self._histogram,
            self._scores["far_out"],
            self._head.training.get("score_histograms") or {},
            n_accepted=self._scores["accepted_bonafide"] + self._scores["accepted_spoof"],
            cllr=(self._head.training.get("held_out") or {}).get("cllr"),
        )
