"""A judged shard: the rows that a head gives it, and what its marker says of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from detector.attribution import UNKNOWN_SYSTEM
from detector.drift import FAR, histogram
from detector.schema import SPOOF
from detector.segments import count_segments
from jobs.inputs.shards import CHANGED
from jobs.scoring.changes import CHANGES, FAILED_RUNS, count_changes, count_pruned
from jobs.scoring.items import Item
from jobs.tables.ledger import Standing
from jobs.tables.plan import SEGMENTS
from jobs.tables.protocol import Marker
from jobs.tables.removal import PRUNED_ROWS, REMOVED_ROWS
from jobs.tables.repeated_ids import REPEATED
from jobs.tables.row_history import is_here, of_runs


@dataclass(frozen=True)
class JudgedShard:
    """Rows of a shard, as they will be committed.

    Parameters
    ----------
    item : Item
    embedded : Marker
        Of the embeddings that were judged.
    rows : Table
        With :data:`detector.schema.SCORES`: also of recordings that are gone, or that another run judged.
    failures : Table
        With :data:`detector.schema.FAILURES`.
    segments : Table or None
        With :data:`detector.schema.SEGMENTS`; None if the run did not ask for any.
    stands : Standing or None
        Rows that these replace.
    """

    item: Item
    embedded: Marker
    rows: pa.Table
    failures: pa.Table
    segments: pa.Table | None
    stands: Standing | None

    @cached_property
    def here(self) -> pa.Table:
        """Rows of recordings that are in the archive."""
        return self.rows.filter(is_here(self.rows))

    @cached_property
    def tonight(self) -> pa.Table:
        """Those of them that this run judged."""
        return self.here.filter(pc.equal(self.here["run_id"], self.item.shard.run_id))

    @cached_property
    def note(self) -> dict[str, int]:
        """What the run changes and prunes, counted, or taken from rows that an earlier attempt left uncommitted."""
        item, stands = self.item, self.stands
        if stands is not None and stands.name == item.shard.name and stands.note is not None:
            return {name: int(n) for name, n in stands.note.items()}
        embedded_by = self.embedded.detail.get("run_id", "")

        def is_known(first_run_id: str) -> bool:
            """Return True if another head has scored a recording: this state of its shard, or one that had it."""
            return bool(item.by_other) and (item.by_other >= item.shard.entry.state or first_run_id != embedded_by)

        former = None if stands is None else stands.rows
        failed = self.failures["utterance_id"].to_pylist()
        changes = count_changes(self.rows, former, failed, item.shard.run_id, is_known)
        n_pruned = count_pruned(self.rows, former, failed)
        return {**changes, **({PRUNED_ROWS: n_pruned} if n_pruned else {})}

    @property
    def changes(self) -> dict[str, int]:
        """Recordings that are new, judged again, gone or back."""
        return {name: self.note.get(name, 0) for name in CHANGES}

    def outcomes(self) -> dict[str, int]:
        """Count rows of this run by reject reason, and those that are not rejected by label."""
        return dict(Counter(pc.coalesce(self.tonight["reject_reason"], self.tonight["label"]).to_pylist()))

    def detail(self) -> dict[str, Any]:
        """Return what the marker says, so that reports read no rows."""
        since, embedded = self.item.embedded_since, self.embedded.detail
        failed = self.failures if since is None else of_runs(self.failures, since)
        scores = self.tonight["score"].drop_null().to_numpy()
        known = {
            REPEATED: embedded.get(REPEATED),
            CHANGED: embedded.get(CHANGED),
            SEGMENTS: None if self.segments is None else count_segments(self.segments, self.rows),
            REMOVED_ROWS: len(self.rows) - len(self.here),
            PRUNED_ROWS: self.note.get(PRUNED_ROWS),
            UNKNOWN_SYSTEM: _n_unknown(self.here),
        }
        return {
            "run_id": self.item.shard.run_id,
            "counts": _counts(self.tonight) | {"failed": len(failed)},
            "whole": {"rows": len(self.here), "failed": len(self.failures)},
            "changes": self.changes,
            "failed_by": Counter(failed["error"].to_pylist()),
            "histogram": histogram(scores).tolist(),
            "passed_over": embedded.get("passed_over", {}),
            **({} if since is None else {FAILED_RUNS: since}),
            **{name: value for name, value in known.items() if value},
        }


def _n_unknown(judged: pa.Table) -> int:
    """Count rows that are accepted as spoof of a system that the head has not heard: reports read no other shard."""
    accepted = judged.filter(pc.invert(judged["reject"]))
    return pc.sum(pc.equal(accepted["nearest_system"], UNKNOWN_SYSTEM)).as_py() or 0


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
