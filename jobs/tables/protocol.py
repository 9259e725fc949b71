"""The protocol: how runs that know nothing of each other plan, commit and collect garbage under one output.

Every step is a generator: it yields a request to the store and is sent the store's answer. Nothing in this module reads
or writes. :mod:`jobs.tables.ledger` carries the steps out on a real store; tests/drills/simulation.py does so on one in
memory that crashes, delays, repeats and loses replies between any two requests.

```
 plan      _plans/<ledger>/000001.json             created by a run that has read all earlier plans
 work      embeddings/…/<key>-<slot>.parquet       one PUT for each table; replaces only rows that the run has read
 commit    _commits/<ledger>/<slot>-000001.json    created last: the shard is complete
```

The protocol relies on conditional PUTs (`If-None-Match: *`, `If-Match: <etag>`): one happens completely or not at all,
and every later read sees it. Then, whichever run is killed, stopped or repeated between any two requests:

- A shard belongs to one plan, which fixes its run's id, its date and so every byte of its rows.
- The name of its object never changes. Another state of the source replaces the rows before it in one PUT, so a glob
  never shows both.
- The rows of a plan's shard are written once. Another run that comes later, even by hours, finds them and keeps them.
- A shard whose source is gone before it was read is dropped: a later plan has a tombstone for its slot, which is
  committed like any other state. Its rows are those that were committed before, or none, so no source is read, and a
  run that still works on the dropped state is refused like one whose source was replaced.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from jobs.storage import ABSENT, Found
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.format import FORMAT, NEW_OUTPUT, check_format
from jobs.tables.requests import Get, List, Put
from jobs.tables.table_part import TablePart

PLAN_NAME = re.compile(r"/\d{6}\.json$")
DROPPED = "dropped"  # in the work of a tombstone

Answer = TypeVar("Answer")
Steps = Generator[Put | Get | List, Any, Answer]


@dataclass(frozen=True)
class Entry:
    """A shard that a plan lists.

    Parameters
    ----------
    slot : str
        Determines the names of its objects; it depends on the names of its sources alone.
    state : str
        State of the sources: it changes with the size or ETag of any of them.
    work : JSON value
        What the worker needs to know.
    """

    slot: str
    state: str
    work: Any = None

    @property
    def is_dropped(self) -> bool:
        """True for a tombstone: the slot keeps the rows that were committed before, and none of its sources is read."""
        return isinstance(self.work, dict) and DROPPED in self.work

    @property
    def has_sources(self) -> bool:
        """True if the work names sources; scores have none, nor has the tombstone of what was never committed."""
        return isinstance(self.work, dict) and "sources" in self.work

    @property
    def source_uris(self) -> list[str]:
        """URIs of the sources that the work names."""
        return [uri for uri, *_ in self.work["sources"]] if self.has_sources else []


@dataclass(frozen=True)
class Plan:
    """What one run fixed before it began to work: new shards, and new states of old ones."""

    run_id: str
    run_date: str
    entries: tuple[Entry, ...]
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the plan as it is stored."""
        shards = [[each.slot, each.state, each.work] for each in self.entries]
        content = {"run_id": self.run_id, "run_date": self.run_date, "detail": self.detail, "shards": shards}
        return dump_checksummed({"format": FORMAT, **content})

    @classmethod
    def from_json(cls, text: bytes | None, name: str) -> Plan:
        """Return the plan that :meth:`to_json` stored; SchemaError if it is damaged, or of another format."""
        content = load_checksummed(text, name)
        check_format(content, name, NEW_OUTPUT)
        entries = tuple(Entry(*each) for each in content["shards"])
        return cls(content["run_id"], content["run_date"], entries, content["detail"])


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
        return f"{self.entry.slot}-{self.number:06d}"


@dataclass(frozen=True)
class PlanHistory:
    """All plans of a ledger, in order."""

    plans: tuple[Plan, ...] = ()

    @cached_property
    def current(self) -> dict[str, PlannedShard]:
        """The shard that each slot holds, or is to hold, according to the last plan that lists it."""
        return {shard.slot: shard for shard in self._shards()}

    @cached_property
    def by_name(self) -> dict[str, PlannedShard]:
        """All shards that plans list, also those of states that were replaced since."""
        return {shard.name: shard for shard in self._shards()}

    def last_committed(self, done: Collection[str]) -> dict[str, PlannedShard]:
        """Return, for each slot, the last shard of it whose name is among those that are committed."""
        return {shard.slot: shard for shard in self._shards() if shard.name in done}

    def _shards(self) -> Iterator[PlannedShard]:
        """Yield the shards of all plans, in order."""
        dates: dict[str, str] = {}
        for number, plan in enumerate(self.plans, start=1):
            for entry in plan.entries:
                replaces, date = entry.slot in dates, dates.setdefault(entry.slot, plan.run_date)
                yield PlannedShard(entry, number, plan.run_id, date, replaces, plan.run_date)

    def of_plan(self, number: int) -> list[PlannedShard]:
        """Return the shards of one plan that no later plan has replaced."""
        return [each for each in self.current.values() if each.number == number]

    @property
    def names(self) -> set[str]:
        """Names of all current shards; a marker of any other name is of a state that was replaced."""
        return {each.name for each in self.current.values()}


@dataclass(frozen=True)
class Marker:
    """A committed shard: its objects, their digests, and details that the run stored for later ones.

    `alarms` names tables whose rows existed already and differed from ours: the same work gave two results.
    """

    name: str
    uri: str
    objects: dict[str, str]
    sha256: dict[str, str]
    rows: dict[str, int]
    digests: dict[str, str]
    detail: dict[str, Any] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Return the marker as it is stored."""
        return dump_checksummed({"format": FORMAT, **vars(self)})

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Marker:
        """Return the marker that :meth:`to_json` stored; SchemaError if it is damaged, or of another format."""
        content = load_checksummed(text, name)
        check_format(content, name, NEW_OUTPUT)
        del content["format"]
        return cls(**{**content, "alarms": tuple(content["alarms"])})


class Protocol:
    """The steps of one ledger.

    Parameters
    ----------
    ledger : str
        `embeddings-<fingerprint>` or `scores-<head_id>`.
    identify : callable
        Returns the :class:`TablePart` of an object, given its name and bytes; None if we did not write it.
    output : str
        URI of the output, for the names in error messages.
    """

    def __init__(self, ledger: str, identify: Callable[[str, bytes], TablePart | None], output: str = "") -> None:
        self._output = output
        self.plans_folder = f"_plans/{ledger}"
        self.commits_folder = f"_commits/{ledger}"
        self._identify = identify

    def read(self, earlier: PlanHistory | None = None) -> Steps[PlanHistory]:
        """Read the plans; those of ``earlier`` are not read again."""
        plans = list(earlier.plans if earlier else ())
        names: list[str] = yield List(self.plans_folder)
        n_plans = sum(PLAN_NAME.search(name) is not None for name in names)  # the folder may hold other files
        for number in range(len(plans) + 1, n_plans + 1):
            name = self._plan_name(number)
            plans.append(Plan.from_json((yield Get(name)), f"{self._output}/{name}"))
        return PlanHistory(tuple(plans))

    def freeze(self, propose: Callable[[PlanHistory], Plan | None]) -> Steps[PlanHistory]:
        """Plan what is new: ``propose`` returns it, given the earlier plans, or None if there is nothing.

        If another run is faster, its plan stands, and ``propose`` is called again. It must look at the sources itself,
        after the plans were read: so no plan is based on an older look at them than the plan before it.
        """
        history = yield from self.read()
        while (plan := propose(history)) is not None:
            taken = yield Put(self._plan_name(len(history.plans) + 1), plan.to_json(), ABSENT)
            if taken is None:
                return PlanHistory((*history.plans, plan))
            history = yield from self.read(history)
        return history

    def done(self) -> Steps[set[str]]:
        """Return the names of all committed shards, also of states that were replaced since."""
        names: list[str] = yield List(self.commits_folder)
        return {name.rsplit("/", 1)[-1].removesuffix(".json") for name in names if name.endswith(".json")}

    def commit(
        self, shard: PlannedShard, uri: str, tables: dict[str, TablePart], detail: dict[str, Any]
    ) -> Steps[Marker | None]:
        """Write a shard's objects, then its marker; return None if a later plan has replaced the shard meanwhile.

        So it does if the rows that it follows were replaced or erased.

        Parameters
        ----------
        tables : dict
            By table. A part without rows writes no object, unless rows of another state may stand there.
        """
        standing = {}
        for table, part in tables.items():
            if part.rows or shard.replaces:
                stands = yield from self._place(shard, part)
                if stands is None:
                    return None
                standing[table] = stands
        marker = Marker(
            name=shard.name,
            uri=uri,
            objects={table: part.name for table, part in standing.items()},
            sha256={table: hashlib.sha256(part.content).hexdigest() for table, part in standing.items()},
            rows={table: part.rows for table, part in (tables | standing).items()},
            digests={table: part.digest for table, part in standing.items()},
            detail=detail,
            alarms=tuple(table for table, part in standing.items() if part.digest != tables[table].digest),
        )
        # the marker goes last: if it exists, the shard is complete
        name = self.marker_name(shard.name)
        found: Found | None = yield Put(name, marker.to_json(), ABSENT)
        if found is None or found.content is None:
            return marker
        return Marker.from_json(found.content, f"{self._output}/{name}")

    def commit_dropped(
        self,
        shard: PlannedShard,
        before: str | None,
        empty: dict[str, TablePart],
        relabel: Callable[[str, TablePart], TablePart],
        detail: dict[str, Any],
    ) -> Steps[Marker | None]:
        """Commit a tombstone: the rows that the slot's last committed shard has, under the name of the tombstone.

        Parameters
        ----------
        before : str or None
            Name of the last committed shard.
        empty : dict
            By table: its object without rows. It also stands where an attempt that was never committed has replaced the
            rows before it, so that no row stays that no marker counts.
        relabel : callable
            Returns the object of a table and a part with the same rows, as one of this shard.
        """
        parts, uri = dict(empty), DROPPED
        text: bytes | None = (yield Get(self.marker_name(before))) if before else None
        if text is not None:
            marker = Marker.from_json(text, f"{self._output}/{self.marker_name(shard.name)}")
            uri, detail = marker.uri, marker.detail | detail
            for table, name in marker.objects.items():
                content: bytes | None = yield Get(name)
                stands = None if content is None else self._identify(name, content)
                if stands is not None and stands.shard in (marker.name, shard.name):
                    parts[table] = relabel(table, stands)
        return (yield from self.commit(shard, uri, parts, detail))

    def _place(self, shard: PlannedShard, part: TablePart) -> Steps[TablePart | None]:
        """Write one object; return what is then there: ours, or the one that another run made of the same shard."""
        expected = ABSENT
        while (found := (yield Put(part.name, part.content, expected))) is not None:
            expected = found.etag
            if found.content is None:
                continue
            stands = self._identify(part.name, found.content)
            if stands is not None and stands.shard == shard.name:
                return stands
            # rows of another state: ours replace them, unless a later plan has replaced our state
            history = yield from self.read()
            if history.current[shard.slot].name != shard.name:
                return None
            if part.follows and hashlib.sha256(found.content).hexdigest() != part.follows:
                return None
        return part

    def garbage(
        self, objects: Iterable[str], markers: Iterable[str], slot_of: Callable[[str], str]
    ) -> Steps[list[str]]:
        """Return which of these names, listed before, are garbage.

        Garbage is every object that no plan knows or that its shard's marker leaves out, and every marker of a replaced
        state, once another is committed. The plans are read last: a plan is older than anything that is made for it, so
        nothing that belongs to a run at work is ever garbage.
        """
        history = yield from self.read()
        last = {shard.name for shard in history.last_committed({*map(_stem, markers)}).values()}
        replaced = [name for name in markers if _stem(name) not in last]
        committed: dict[str, set[str]] = {}
        for name in sorted(set(markers) - set(replaced)):
            text: bytes | None = yield Get(name)
            if text is not None:
                marker = Marker.from_json(text, f"{self._output}/{name}")
                committed[marker.name] = set(marker.objects.values())
        lost = []
        for name in objects:
            shard = history.current.get(slot_of(name))
            if shard is None or name not in committed.get(shard.name, {name}):
                lost.append(name)
        return sorted(lost + replaced)

    def marker_name(self, name: str) -> str:
        """Return the name of the marker of a :attr:`PlannedShard.name`."""
        return f"{self.commits_folder}/{name}.json"

    def _plan_name(self, number: int) -> str:
        return f"{self.plans_folder}/{number:06d}.json"


def slot_of_shard(name: str) -> str:
    """Return the slot in a :attr:`PlannedShard.name`.

    Examples
    --------
    >>> slot_of_shard("0123456789abcdef-000002")
    '0123456789abcdef'
    """
    return name.rpartition("-")[0]


def _stem(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".json")
