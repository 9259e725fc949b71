"""Items: the shards that are to be scored, as the texts that their tasks get; each is made when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from jobs.tables import ledger
from jobs.tables.ledger import Ledger
from jobs.tables.names import Names, Packed, texts
from jobs.tables.plan_history import PlanHistory, PlannedShard, Shards
from jobs.tables.protocol import Entry


@dataclass(frozen=True)
class Item:
    """A shard to score, and what its task has to know of other tables.

    Parameters
    ----------
    shard : PlannedShard
    by_other : str
        The last state of it that another head has scored; empty if none has.
    embedded_since : list of str or None
        Runs that embedded it since the head scored it last, as another head may have been on; None if it never has.

    Examples
    --------
    >>> item = Item(PlannedShard(Entry("a", "a-000001"), 1, "run", "2026-11-23", False), embedded_since=["run-2"])
    >>> Item.from_json(item.to_json()) == item
    True
    """

    shard: PlannedShard
    by_other: str = ""
    embedded_since: list[str] | None = None

    def to_json(self) -> str:
        """Return the item as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Item:
        """Return the item that :meth:`to_json` wrote."""
        content = json.loads(text)
        shard = content.pop("shard")
        return cls(PlannedShard(**{**shard, "entry": Entry(**shard["entry"])}), **content)


class Items(Sequence[str]):
    """The shards that a head is to score, as texts; a night may have a million.

    Parameters
    ----------
    shards : Shards
        In the order of their slots.
    by_other : array of bytes
        The last state of each that another head has scored; empty if none has.
    scored : array of bytes
        The last state of each that the head has scored; empty if it never has.
    embedded : PlanHistory
        Of the table of embeddings.
    """

    def __init__(self, shards: Shards, by_other: Packed, scored: Packed, embedded: PlanHistory) -> None:
        self._shards, self._by_other, self._scored, self._embedded = shards, by_other, scored, embedded

    @classmethod
    def of(cls, shards: Shards, table: Ledger, done: Names, embedded: PlanHistory) -> Items:
        """Return shards of a table of scores of which these are committed."""
        slots = shards.packed_slots
        scored = shards.history.last_committed(done).states_of(slots)
        return cls(shards, _by_other_heads(table, slots), scored, embedded)

    @property
    def packed_names(self) -> Packed:
        """Names of the shards."""
        return self._shards.packed_names

    def where(self, mask: npt.NDArray[np.bool_]) -> Items:
        """Return those of a mask."""
        return Items(self._shards.where(mask), self._by_other[mask], self._scored[mask], self._embedded)

    def __len__(self) -> int:
        return len(self._shards)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        mask = np.zeros(len(self), bool)
        mask[index] = True
        found = list(self.where(mask))
        return found if isinstance(index, slice) else found[0]

    def __iter__(self) -> Iterator[str]:
        beside = zip(self._shards.shards(), texts(self._by_other), texts(self._scored), strict=True)
        return (Item(shard, other, self._since(shard.slot, scored)).to_json() for shard, other, scored in beside)

    def _since(self, slot: str, scored: str) -> list[str] | None:
        """Return the runs that embedded a shard after the state that the head has scored, if that state is known."""
        states = self._embedded.of_slot(slot) if scored else []
        numbers = [each.number for each in states if each.name == scored]
        return [each.run_id for each in states if each.number > numbers[0]] if numbers else None


def _by_other_heads(table: Ledger, slots: Packed) -> Packed:
    """Return the last state of each of these slots that another head has scored; empty if none has."""
    last: Packed = np.zeros(len(slots), "S1")
    for other in (Ledger(table.output, "scores", key) for key in ledger.keys(table.output, "scores")):
        if other.key != table.key:
            history = other.history()
            states = history.last_committed(other.done(history)).states_of(slots)
            last = np.where(states > last, states, last)
    return last
