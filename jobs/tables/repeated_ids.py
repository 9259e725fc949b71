"""Repeated ids: recordings of one container that have one id, and are refused while all else is done.

Objects that would have one id are told of by :mod:`jobs.tables.shared_ids`, in every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detector.errors import SchemaError
from jobs.tables.protocol import Marker

REPEATED = "repeated_ids"
"""Of markers and of records: how many ids are refused, and the first of them."""

UNHEARD = "unheard"
"""Of records: how many sources of the archive are not heard for their id, and the first of them."""


class RepeatedIdError(SchemaError):
    """Recordings of one container have one id: they are failures, and all else of the run is done."""


def in_shard(refused: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a marker says of the failures that stand for ids which a shard refused; empty if there are none."""
    if not refused:
        return {}
    first = {name: refused[0][name] for name in ("utterance_id", "message")}
    return {REPEATED: {"count": len(refused), "first": first}}


@dataclass
class RepeatedIds:
    """The ids that shards refused.

    Attributes
    ----------
    n_ids, n_shards : int
    first : dict
        The first id of the shard with the least URI.
    """

    n_ids: int = 0
    n_shards: int = 0
    first: Mapping[str, Any] | None = None

    def add(self, marker: Marker) -> None:
        """Add those that a marker counts."""
        found = marker.detail.get(REPEATED)
        if not found:
            return
        self.n_ids += found["count"]
        self.n_shards += 1
        if self.first is None or marker.uri < self.first["uri"]:
            self.first = {"uri": marker.uri, **found["first"]}

    def record(self) -> dict[str, Any]:
        """Return what a run's record says of them; empty if there are none."""
        return {REPEATED: {"count": self.n_ids, "shards": self.n_shards, "first": self.first}} if self.n_ids else {}


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
