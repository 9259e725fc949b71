"""Plan history: all plans of a ledger, in order, and the shard that each slot holds according to them."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from jobs.inputs.shards import Shard
from jobs.tables.entries import Entry, packed
from jobs.tables.frozen_plan import Plan
from jobs.tables.names import Names, Packed, as_names, place_of

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PlannedShard:
    """A shard with what it takes from its plan: everything that its rows and names depend on.

    Parameters
    ----------
    entry : Entry
    number : int
        Number of the plan, from 1.
    run_id : str
        Id of the plan's run; every row has it.
    run_date : str
        Date on which the slot was first planned. Its rows stay in that partition, so that new ones replace them.
    replaces : bool
        True if an earlier plan has another state of the slot.
    planned_on : str
        Date of the plan's run, of what it finds new, changed or removed.
    """

    entry: Entry
    number: int
    run_id: str
    run_date: str
    replaces: bool
    planned_on: str = ""

    @property
    def slot(self) -> str:
        """Slot of the entry."""
        return self.entry.slot

    @property
    def shard(self) -> Shard:
        """The shard that a plan of embeddings lists, with tags as :mod:`jobs.storage.tags` compares them."""
        return Shard.from_content(self.entry.work).dated(self.planned_on or self.run_date)

    @property
    def name(self) -> str:
        """Unique name of this shard in this state under this plan."""
        return name_of(self.entry.slot, self.number)


@dataclass(frozen=True)
class PlanHistory:
    """All plans of a ledger, in order. Shards are made of them when they are asked for: there may be millions."""

    plans: tuple[Plan, ...] = ()

    @cached_property
    def current(self) -> Shards:
        """The shard that each slot holds, or is to hold, according to the last plan that lists it."""
        return Shards(self, self._last(np.arange(len(self.slots))))

    @cached_property
    def by_name(self) -> ByName:
        """All shards that plans list, also those of states that were replaced since."""
        return ByName(self)

    def last_committed(self, done: Iterable[str]) -> Shards:
        """Return, for each slot, the last shard of it whose name is among those that are committed."""
        return Shards(self, self._last(np.flatnonzero(as_names(done).holds(self.row_names))))

    def of_plan(self, number: int) -> Shards:
        """Return the shards of one plan that no later plan has replaced."""
        rows = self.current.rows
        return Shards(self, rows[self.numbers[rows] == number])

    def of_slot(self, slot: str) -> list[PlannedShard]:
        """Return the shard of a slot in each plan that lists it."""
        value = np.bytes_(slot.encode())
        start, end = (int(np.searchsorted(self.slots, value, side, self._by_slot)) for side in ("left", "right"))
        return list(self.at(self._by_slot[start:end]))

    @cached_property
    def names(self) -> Names:
        """Names of all current shards; a marker of any other name is of a state that was replaced."""
        return self.current.names

    def names_of(self, number: int) -> Names:
        """Return the names of all shards of one plan."""
        return Names.of(self.row_names[self.numbers == number])

    def names_after(self, done: Names) -> Names:
        """Return the names of shards that may be committed later than these: of each slot, those of later plans."""
        last = self._last_by_first(np.flatnonzero(done.holds(self.row_names)))
        return Names.of(self.row_names[np.arange(len(last)) > last[self.firsts]])

    # rows: the entries of all plans, in order

    @cached_property
    def slots(self) -> Packed:
        """Slot of each row."""
        return np.concatenate([packed(()), *(plan.packed.slots for plan in self.plans)])

    @cached_property
    def states(self) -> Packed:
        """State of each row."""
        return np.concatenate([packed(()), *(plan.packed.states for plan in self.plans)])

    @cached_property
    def is_dropped(self) -> npt.NDArray[np.bool_]:
        """Whether each row is a tombstone."""
        return np.concatenate([np.zeros(0, bool), *(plan.packed.is_dropped for plan in self.plans)])

    @cached_property
    def numbers(self) -> Rows:
        """Number of the plan of each row, from 1."""
        return np.repeat(np.arange(1, len(self.plans) + 1), [len(plan.entries) for plan in self.plans])

    @cached_property
    def row_names(self) -> Packed:
        """Name of each row's shard."""
        slots = enumerate((plan.packed.slots for plan in self.plans), 1)
        named = [np.char.add(each, name_of("", number).encode()) for number, each in slots]
        return np.concatenate([packed(()), *named])

    @cached_property
    def firsts(self) -> Rows:
        """The row in which each row's slot was first planned."""
        order = self._by_slot
        slots = self.slots[order]
        is_first = np.ones(len(slots), bool)
        is_first[1:] = slots[1:] != slots[:-1]
        firsts = np.empty_like(order)
        firsts[order] = order[is_first][np.cumsum(is_first) - 1]
        return firsts

    @cached_property
    def _by_slot(self) -> Rows:
        """Rows in the order of their slots, and of their plans within one."""
        return np.argsort(self.slots, kind="stable")

    @cached_property
    def _starts(self) -> Rows:
        return np.cumsum([0, *(len(plan.entries) for plan in self.plans)])

    def row(self, row: int) -> PlannedShard:
        """Return the shard of a row."""
        return next(self.at(np.array([row])))

    def at(self, rows: Rows) -> Iterator[PlannedShard]:
        """Yield the shards of some rows, each made anew."""
        firsts = self.firsts[rows]
        plans = zip(self.numbers[rows].tolist(), self.numbers[firsts].tolist(), (rows != firsts).tolist(), strict=True)
        for entry, (number, first, replaces) in zip(self.entries(rows), plans, strict=True):
            plan, date = self.plans[number - 1], self.plans[first - 1].run_date
            yield PlannedShard(entry, number, plan.run_id, date, replaces, plan.run_date)

    def entries(self, rows: Rows) -> Iterator[Entry]:
        """Yield the entries of some rows, each made anew."""
        numbers = self.numbers[rows]
        ends = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        for start, end in pairwise([0, *ends.tolist(), len(rows)] if len(rows) else ()):
            number = int(numbers[start])  # one plan has all of them
            yield from self.plans[number - 1].packed.at((rows[start:end] - self._starts[number - 1]).tolist())

    def _last(self, rows: Rows) -> Rows:
        """Return the last of these rows of each slot, in the order in which slots were first planned."""
        last = self._last_by_first(rows)
        return last[last >= 0]

    def _last_by_first(self, rows: Rows) -> Rows:
        """Return, for the row in which each slot was first planned, the last of these rows of it; -1 for any other."""
        last = np.full(len(self.slots), -1)
        last[self.firsts[rows]] = rows  # rows are in order, and of those of one slot the last one stays
        return last


class Shards(Mapping[str, PlannedShard]):
    """Shards by slot, in the order in which their slots were first planned; each is made when it is asked for.

    Parameters
    ----------
    history : PlanHistory
    rows : array of int
        A row of the history for each slot.
    """

    def __init__(self, history: PlanHistory, rows: Rows) -> None:
        self._history, self.rows = history, rows

    @property
    def history(self) -> PlanHistory:
        """The plans that they are of."""
        return self._history

    def __getitem__(self, slot: str) -> PlannedShard:
        return self._history.row(int(self.rows[place_of(slot, self.packed_slots, self._order)]))

    def __contains__(self, slot: object) -> bool:
        try:
            return isinstance(slot, str) and place_of(slot, self.packed_slots, self._order) >= 0
        except KeyError:
            return False

    def __iter__(self) -> Iterator[str]:
        return (bytes(slot).decode() for slot in self.packed_slots)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def plans(self) -> set[int]:
        """Numbers of the plans that the shards are of."""
        return set(np.unique(self._history.numbers[self.rows]).tolist())

    @property
    def names(self) -> Names:
        """Names of the shards."""
        return Names.of(self.packed_names)

    def values(self) -> ValuesView[PlannedShard]:
        """Return the shards."""
        return _Values(self)

    def items(self) -> ItemsView[str, PlannedShard]:
        """Return slots and shards."""
        return _Items(self)

    def shards(self) -> Iterator[PlannedShard]:
        """Yield the shards, each made anew."""
        return self._history.at(self.rows)

    def entries(self) -> Iterator[Entry]:
        """Yield their entries, each made anew."""
        return self._history.entries(self.rows)

    def ordered(self) -> Shards:
        """Return them in the order of their slots."""
        return Shards(self._history, self.rows[self._order])

    def __or__(self, others: Shards) -> Shards:
        """Return these and others of the same history, in the order of their slots."""
        return Shards(self._history, np.union1d(self.rows, others.rows)).ordered()

    @property
    def slots(self) -> Names:
        """Slots of the shards."""
        return Names.of(self.packed_slots)

    @cached_property
    def packed_slots(self) -> Packed:
        """Slot of each."""
        return np.asarray(self._history.slots[self.rows])

    @property
    def packed_names(self) -> Packed:
        """Name of each."""
        return np.asarray(self._history.row_names[self.rows])

    def states_of(self, slots: Packed) -> Packed:
        """Return the state that is planned of each of these slots; an empty one of any other."""
        states = np.zeros(len(slots), self._history.states.dtype)
        if len(self.rows):
            places = self._order[np.searchsorted(self.packed_slots, slots, sorter=self._order).clip(max=len(self) - 1)]
            is_here = self.packed_slots[places] == slots
            states[is_here] = self._history.states[self.rows[places[is_here]]]
        return states

    @property
    def replaces(self) -> npt.NDArray[np.bool_]:
        """Whether each is planned again: an earlier plan has another state of its slot."""
        return np.asarray(self.rows != self._history.firsts[self.rows])

    @property
    def is_dropped(self) -> npt.NDArray[np.bool_]:
        """Whether each is a tombstone."""
        return np.asarray(self._history.is_dropped[self.rows])

    def last(self, n: int) -> Shards:
        """Return those of the last plans, as many as are asked for."""
        return Shards(self._history, np.sort(self.rows)[-n:])

    def having(self, slots: Iterable[str]) -> Shards:
        """Return those of these slots."""
        return self.where(as_names(slots).holds(self.packed_slots))

    def committed(self, done: Iterable[str]) -> Shards:
        """Return the shards that are committed."""
        return self.where(as_names(done).holds(self.packed_names))

    def lacking(self, done: Iterable[str]) -> Shards:
        """Return the shards that are not committed."""
        return self.where(~as_names(done).holds(self.packed_names))

    def where(self, mask: npt.NDArray[np.bool_]) -> Shards:
        """Return those of a mask."""
        return Shards(self._history, self.rows[mask])

    @cached_property
    def _order(self) -> Rows:
        return np.argsort(self.packed_slots)


class _Values(ValuesView[PlannedShard]):
    _mapping: Shards

    def __iter__(self) -> Iterator[PlannedShard]:
        return self._mapping.shards()


class _Items(ItemsView[str, PlannedShard]):
    _mapping: Shards

    def __iter__(self) -> Iterator[tuple[str, PlannedShard]]:
        return ((shard.slot, shard) for shard in self._mapping.shards())


class ByName(Mapping[str, PlannedShard]):
    """All shards of a history by name."""

    def __init__(self, history: PlanHistory) -> None:
        self._history = history

    def __getitem__(self, name: str) -> PlannedShard:
        return self._history.row(place_of(name, self._history.row_names, self._order))

    def __iter__(self) -> Iterator[str]:
        return (bytes(name).decode() for name in self._history.row_names)

    def __len__(self) -> int:
        return len(self._history.row_names)

    @cached_property
    def _order(self) -> Rows:
        return np.argsort(self._history.row_names)


def name_of(slot: str, number: int) -> str:
    """Return the :attr:`PlannedShard.name` of a slot in a plan.

    Examples
    --------
    >>> name_of("0123456789abcdef", 2)
    '0123456789abcdef-000002'
    """
    return f"{slot}-{number:06d}"
