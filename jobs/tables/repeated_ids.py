"""Repeated ids: recordings of one container that have one id, and are refused while all else is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detector.errors import SchemaError
from jobs.tables.protocol import Marker

REPEATED = "repeated_ids"
"""Of markers and of records: how many ids are refused, and the first of them."""


class RepeatedIdError(SchemaError):
    """Recordings of one container have one id: they are failures, and all else of the run is done."""


def in_shard(refused: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a marker says of the failures that stand for ids which a shard refused; empty if there are none."""
    if not refused:
        return {}
    first = {name: refused[0][name] for name in ("utterance_id", "message")}
    return {REPEATED: {"count": len(refused), "first": first}}


def in_markers(markers: Iterable[Marker]) -> dict[str, Any]:
    """Return what a run's record says of the ids that its shards refused; empty if they refused none."""
    refused = [(marker.uri, found) for marker in markers if (found := marker.detail.get(REPEATED))]
    if not refused:
        return {}
    uri, first = min(refused, key=lambda each: each[0])
    count = sum(each["count"] for _, each in refused)
    return {REPEATED: {"count": count, "shards": len(refused), "first": {"uri": uri, **first["first"]}}}


def raise_repeated(records: Iterable[dict[str, Any]]) -> None:
    """Raise :class:`RepeatedIdError` for the first id that the runs of these records refused, if there is one."""
    for record in records:
        if (found := record.get(REPEATED)) is not None:
            first, n_others = found["first"], found["count"] - 1
            others = f" So are {n_others} more ids, in {found['shards']} shard(s)." if n_others else ""
            raise RepeatedIdError(
                f"{first['uri']}: utterance id {first['utterance_id']!r} {first['message']}.{others} All other "
                f"recordings are done."
            )
