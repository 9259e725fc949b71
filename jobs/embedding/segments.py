"""Segments: what an output lacks of the windows that a run asks for, because earlier runs asked for none, or others."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector.errors import ConfigError
from detector.windows import Windows
from jobs.tables.ledger import Ledger
from jobs.tables.plan import SEGMENTS
from jobs.tables.protocol import PlanHistory, PlannedShard
from jobs.tables.row_history import is_here

WITHOUT_SEGMENTS = "without_segments"
"""In the detail of a marker and in a record: recordings that have an embedding, and none of the windows asked for."""

log = logging.getLogger(__name__)


def n_without(rows: pa.Table, windows: Windows) -> int:
    """Return the number of rows of `embeddings` that have an embedding, and not these windows.

    Rows of recordings that are gone do not count: nothing can embed those again.
    """
    same = pc.and_(
        pc.equal(rows["window_seconds"], windows.window_seconds), pc.equal(rows["hop_seconds"], windows.hop_seconds)
    )
    lacking = pc.and_(pc.and_(rows["embedding"].is_valid(), is_here(rows)), pc.invert(pc.fill_null(same, False)))
    return int(pc.sum(lacking).as_py() or 0)


def n_shards_without(history: PlanHistory, windows: Windows | None) -> int:
    """Return the number of shards whose last plan asked for no windows, or, if some are given, for others.

    Dropped ones, which no run can read again, do not count.
    """
    asked = [plan.detail.get(SEGMENTS) for plan in history.plans]
    wanted = {str(windows)} if windows else set(asked) - {None}
    others = [number for number, each in enumerate(asked, start=1) if each not in wanted]
    read = history.current.where(~history.current.is_dropped)
    return int(np.isin(history.numbers[read.rows], others).sum())


def shards_without(
    table: Ledger, history: PlanHistory, committed: Iterable[PlannedShard], windows: Windows
) -> set[str]:
    """Return the names of committed shards with recordings that lack these windows, as plans and markers say."""
    committed = list(committed)
    asked = {each.name for each in committed if history.plans[each.number - 1].detail.get(SEGMENTS) == str(windows)}
    partly = {marker.name for marker in table.markers(asked) if marker.detail.get(WITHOUT_SEGMENTS)}
    return {each.name for each in committed} - asked | partly


def warn_of_missing(history: PlanHistory, windows: Windows | None = None) -> None:
    """Say how many shards earlier runs have embedded without these windows, or without any."""
    if n_shards := n_shards_without(history, windows):
        log.warning(
            "%d of %d shards were embedded without windows%s, so their recordings have none%s; embed --segments%s "
            "--redo %s embeds them again",
            n_shards,
            len(history.current),
            *((f" of {windows}", " of these", f" {windows}") if windows else ("", "", "")),
            SEGMENTS,
        )


def refuse_other_windows(history: PlanHistory, windows: Windows) -> None:
    """Refuse to judge stored windows where all of them are others than are asked for.

    Raises
    ------
    ConfigError
    """
    read = history.current.where(~history.current.is_dropped)
    stored = {history.plans[number - 1].detail.get(SEGMENTS) for number in read.plans} - {None}
    if stored and str(windows) not in stored:
        lengths = " and ".join(sorted(map(str, stored)))
        raise ConfigError(
            f"--segments {windows}: the embeddings have windows of {lengths}, and those are what is judged. Give "
            f"--segments {lengths.split()[0]}, or embed these windows first: embed --segments {windows} --redo "
            f"{SEGMENTS}."
        )
