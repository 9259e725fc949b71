"""Unjudged windows: those that earlier runs embedded, and that a head was not asked to judge.

The table `segments` holds rows of each head that ran with `--segments`, and the view of that name shows those of the
active one. So a night of another head without the flag would leave the view empty without a word.
"""

from __future__ import annotations

from typing import Any

from jobs.tables.plan import SEGMENTS, without_segments
from jobs.tables.plan_history import Shards
from jobs.tables.protocol import PlanHistory

UNJUDGED = "unjudged_windows"
"""Key of a run's record where there are such shards: `shards`, their number, and `segments`, as the flag has it."""


def unjudged_windows(shards: Shards, scored: PlanHistory) -> dict[str, Any]:
    """Return the field of a run's record for shards that have windows, and no segments by this head; empty if none do.

    Parameters
    ----------
    shards : Shards
        Of embeddings.
    scored : PlanHistory
        Of the head's scores.
    """
    n_shards = len(without_segments(shards, scored))
    if not n_shards:
        return {}
    asked = [plan.detail[SEGMENTS] for plan in shards.history.plans if SEGMENTS in plan.detail]
    return {UNJUDGED: {"shards": n_shards, "segments": asked[-1]}}


def warning_of(found: dict[str, Any]) -> str:
    """Return what people are told of the field.

    Examples
    --------
    >>> print(warning_of({"shards": 3, "segments": "4:2"}))  # doctest: +ELLIPSIS
    3 shard(s) have windows that this head has not judged, because the run was without --segments: ...
    """
    return (
        f"{found['shards']} shard(s) have windows that this head has not judged, because the run was without "
        f"--segments: the view `segments` has no rows of them while this head is the active one. The same command with "
        f"--segments {found['segments']} judges what is stored, and embeds nothing again."
    )
