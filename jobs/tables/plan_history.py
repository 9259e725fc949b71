"""Plan history: all plans of a ledger, in order, and the shard that each slot holds according to them."""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.tables.checksummed_json import checked_stem, seal_of, sealed
from jobs.tables.entries import Entries, Entry, packed
from jobs.tables.format import FORMAT, NEW_OUTPUT, check_format
from jobs.tables.names import Names, as_names

SHARDS = '"shards": ['  # a quote in a JSON string is escaped, so this is a key wherever it stands

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What one run fixed before it began to work: new shards, and new states of old ones."""

    run_id: str
    run_date: str
    entries: Sequence[Entry]
    detail: dict[str, Any] = field(default_factory=dict)
    known_seal: str = field(default="", compare=False, repr=False)

    def to_json(self) -> bytes:
        """Return the plan as it is stored."""
        head = json.dumps(self._head, sort_keys=True, default=str).removesuffix("}")
        entries = self.entries if isinstance(self.entries, Entries) else Entries.of(self.entries)
        return sealed(f"{head}, {SHARDS}{entries.text}]".encode())

    @classmethod
    def from_json(cls, text: bytes | None, name: str) -> Plan:
        """Return the plan that :meth:`to_json` stored; SchemaError if it is damaged, or of another format."""
        stem = str(checked_stem(text, name), "utf-8")
        content, entries = _parsed(stem)
        check_format(content, name, NEW_OUTPUT)
        return cls(content["run_id"], content["run_date"], entries, content["detail"], seal_of(text or b""))

    @property
    def seal(self) -> str:
        """The checksum that the plan is stored with: it changes with any byte of it."""
        return self.known_seal or seal_of(self.to_json())

    @property
    def slots(self) -> npt.NDArray[np.bytes_]:
        """Slots of the entries, packed."""
        return self.entries.slots if isinstance(self.entries, Entries) else packed(each.slot for each in self.entries)

    @property
    def _head(self) -> dict[str, Any]:
        return {"format": FORMAT, "run_id": self.run_id, "run_date": self.run_date, "detail": self.detail}


def _parsed(stem: str) -> tuple[dict[str, Any], Entries]:
    """Return what a plan says beside its entries, and these, without making an object of each."""
    start = stem.find(SHARDS)
    try:
        content = json.loads(stem[:start] + SHARDS + "]}")
        entries = Entries.parse(stem, start + len(SHARDS))
    except (ValueError, IndexError):
        entries = None
    if entries is None:  # other software has written it in another form
        content = json.loads(stem + "}")
        entries = Entries.of(Entry(*each) for each in content["shards"])
    return content, entries


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

    def of_plan(self, number: int) -> list[PlannedShard]:
        """Return the shards of one plan that no later plan has replaced."""
        rows = self.current.rows
        return list(Shards(self, rows[self.numbers[rows] == number]).values())

    def of_slot(self, slot: str) -> list[PlannedShard]:
        """Return the shard of a slot in each plan that lists it."""
        value = np.bytes_(slot.encode())
        start, end = (int(np.searchsorted(self.slots, value, side, self._by_slot)) for side in ("left", "right"))
        return [self.row(row) for row in self._by_slot[start:end].tolist()]

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
    def slots(self) -> npt.NDArray[np.bytes_]:
        """Slot of each row."""
        return np.concatenate([packed(()), *(plan.slots for plan in self.plans)])

    @cached_property
    def numbers(self) -> Rows:
        """Number of the plan of each row, from 1."""
        return np.repeat(np.arange(1, len(self.plans) + 1), [len(plan.entries) for plan in self.plans])

    @cached_property
    def row_names(self) -> npt.NDArray[np.bytes_]:
        """Name of each row's shard."""
        named = [np.char.add(plan.slots, name_of("", number).encode()) for number, plan in enumerate(self.plans, 1)]
        return np.concatenate([packed(()), *named])

    @cached_property
    def firsts(self) -> Rows:
        """The row in which each row's slot was first planned."""
        _, first, inverse = np.unique(self.slots, return_index=True, return_inverse=True)
        return first[inverse]

    @cached_property
    def _by_slot(self) -> Rows:
        """Rows in the order of their slots, and of their plans within one."""
        return np.argsort(self.slots, kind="stable")

    @cached_property
    def _starts(self) -> Rows:
        return np.cumsum([0, *(len(plan.entries) for plan in self.plans)])

    def row(self, row: int) -> PlannedShard:
        """Return the shard of a row."""
        number, first = int(self.numbers[row]), int(self.firsts[row])
        plan = self.plans[number - 1]
        entry = plan.entries[row - int(self._starts[number - 1])]
        date = self.plans[int(self.numbers[first]) - 1].run_date
        return PlannedShard(entry, number, plan.run_id, date, row != first, plan.run_date)

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

    def __getitem__(self, slot: str) -> PlannedShard:
        return self._history.row(int(self.rows[_place_of(slot, self._slots, self._order)]))

    def __contains__(self, slot: object) -> bool:
        try:
            return isinstance(slot, str) and _place_of(slot, self._slots, self._order) >= 0
        except KeyError:
            return False

    def __iter__(self) -> Iterator[str]:
        return (bytes(slot).decode() for slot in self._slots)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def plans(self) -> set[int]:
        """Numbers of the plans that the shards are of."""
        return set(np.unique(self._history.numbers[self.rows]).tolist())

    @property
    def names(self) -> Names:
        """Names of the shards."""
        return Names.of(self._history.row_names[self.rows])

    def values(self) -> ValuesView[PlannedShard]:
        """Return the shards."""
        return _Values(self)

    def items(self) -> ItemsView[str, PlannedShard]:
        """Return slots and shards."""
        return _Items(self)

    def shards(self) -> Iterator[PlannedShard]:
        """Yield the shards, each made anew."""
        return map(self._history.row, self.rows.tolist())

    def having(self, slots: Iterable[str]) -> Shards:
        """Return those of these slots."""
        return self._at(as_names(slots).holds(self._slots))

    def committed(self, done: Iterable[str]) -> Shards:
        """Return the shards that are committed."""
        return self._at(as_names(done).holds(self._history.row_names[self.rows]))

    def lacking(self, done: Iterable[str]) -> Shards:
        """Return the shards that are not committed."""
        return self._at(~as_names(done).holds(self._history.row_names[self.rows]))

    def _at(self, mask: npt.NDArray[np.bool_]) -> Shards:
        return Shards(self._history, self.rows[mask])

    @cached_property
    def _slots(self) -> npt.NDArray[np.bytes_]:
        return np.asarray(self._history.slots[self.rows])

    @cached_property
    def _order(self) -> Rows:
        return np.argsort(self._slots)


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
        return self._history.row(_place_of(name, self._history.row_names, self._order))

    def __iter__(self) -> Iterator[str]:
        return (bytes(name).decode() for name in self._history.row_names)

    def __len__(self) -> int:
        return len(self._history.row_names)

    @cached_property
    def _order(self) -> Rows:
        return np.argsort(self._history.row_names)


def _place_of(name: str, names: npt.NDArray[np.bytes_], order: Rows) -> int:
    """Return where a name stands in an array whose sorted order is known; KeyError if it does not."""
    value = name.encode()
    rank = int(np.searchsorted(names, np.bytes_(value), sorter=order))
    if rank == len(names) or bytes(names[order[rank]]) != value:
        raise KeyError(name)
    return int(order[rank])


def name_of(slot: str, number: int) -> str:
    """Return the :attr:`PlannedShard.name` of a slot in a plan.

    Examples
    --------
    >>> name_of("0123456789abcdef", 2)
    '0123456789abcdef-000002'
    """
    return f"{slot}-{number:06d}"
