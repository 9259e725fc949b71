"""Totals of an embedding run: what a record says of the markers of its plan, and the exit code that follows."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

from jobs.embedding.permission import NO_PERMISSION
from jobs.inputs.shards import CHANGED
from jobs.tables.protocol import Marker
from jobs.tables.removal import PRUNED_ROWS, REMOVED_ROWS
from jobs.tables.totals import Totals


class EmbeddingTotals(Totals):
    """The totals of markers of `embeddings`.

    Parameters
    ----------
    max_failures : float
        Share of the inputs that may fail.
    """

    def __init__(self, max_failures: float) -> None:
        super().__init__()
        self._max_failures = max_failures
        self._audio_seconds = Fraction()  # exact: a sum of a million floats depends on their order

    def add(self, marker: Marker) -> None:
        """Add what a marker says."""
        super().add(marker)
        self._audio_seconds += Fraction(marker.detail["audio_seconds"])

    def record(self) -> dict[str, Any]:
        """Return what the run's record says of the markers; members that were passed over are logged, too."""
        rows, failed = self.rows["embeddings"], self.rows["failures"]
        self.passed_over.report("members of containers")
        return {
            "embeddings": rows,
            "failures": failed,
            **{name: self.numbers[name] for name in (REMOVED_ROWS, PRUNED_ROWS, CHANGED, NO_PERMISSION)},
            **self.repeated.record(),
            "exit_code": code_of(failed, rows, self._max_failures, self),
            "audio_seconds": round(float(self._audio_seconds), 3),
            "passed_over_members": self.passed_over.to_content(),
        }


def code_of(failed: int, rows: int, max_failures: float, totals: Totals | None = None) -> int:
    """Return what a run ends with once its markers are written.

    65 if ids were refused, 3 if too large a share of the inputs failed, else 0.
    """
    if totals is not None and totals.repeated.n_ids:
        return os.EX_DATAERR
    return 0 if failed <= max_failures * (failed + rows) else 3
