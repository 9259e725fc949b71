"""Totals: what the markers of many shards say together; each is added and forgotten, as a plan may have a million."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

from jobs.inputs.passed_over import PassedOver
from jobs.tables.protocol import Marker
from jobs.tables.repeated_ids import RepeatedIds
from jobs.tables.row_digest import add


class Totals:
    """The totals of markers that are added one by one.

    Attributes
    ----------
    n_shards : int
    digest : str
        Of all rows.
    rows : Counter
        By table.
    numbers : Counter
        The whole numbers among the details, by name.
    alarms : list of str
        URIs of shards of which the same work gave two results.
    repeated : RepeatedIds
    passed_over : PassedOver

    Examples
    --------
    >>> totals = Totals.of([Marker("a-1", "a.tar", {}, {}, {"scores": 2}, {"scores": "0a"}, {"removed_rows": 1})] * 2)
    >>> totals.n_shards, totals.rows["scores"], totals.numbers["removed_rows"], totals.digest[-2:]
    (2, 4, 2, '14')
    """

    def __init__(self) -> None:
        self.n_shards = 0
        self.digest = add(())
        self.rows: Counter[str] = Counter()
        self.numbers: Counter[str] = Counter()
        self.alarms: list[str] = []
        self.repeated = RepeatedIds()
        self.passed_over = PassedOver()

    @classmethod
    def of(cls, markers: Iterable[Marker]) -> Self:
        """Return the totals of some markers."""
        totals = cls()
        for marker in markers:
            totals.add(marker)
        return totals

    def add(self, marker: Marker) -> None:
        """Add what a marker says."""
        self.n_shards += 1
        self.digest = add((self.digest, *marker.digests.values()))
        self.rows.update(marker.rows)
        self.numbers.update({name: n for name, n in marker.detail.items() if isinstance(n, int)})
        self.alarms += [marker.uri] if marker.alarms else []
        self.repeated.add(marker)
        self.passed_over.merge(marker.detail.get("passed_over", {}))

    def record(self) -> dict[str, Any]:
        """Return what a run's record says of the markers, beside what the records of all verbs say."""
        return {}
