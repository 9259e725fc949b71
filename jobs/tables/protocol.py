"""The protocol: how runs that know nothing of one another plan, commit and collect under one output.

Every step is a generator: it yields what it wants of the store and is sent the store's answer. Nothing here reads
or writes. :mod:`jobs.tables.ledger` carries the steps out on a real store; tests/drills/simulation.py on one in memory
that crashes, delays, repeats and loses replies between any two of them.

```
 plan      _plans/<ledger>/000001.json             created, changed by `erase` alone: n + 1 only by who has seen 1 … n
 work      embeddings/…/<key>-<slot>.parquet       one PUT a table; over another state's rows only by who saw them
 commit    _commits/<ledger>/<slot>-000001.json    created last: the shard is whole
```

What it rests on: a conditional PUT (`If-None-Match: *`, `If-Match: <etag>`) either happens whole or not at all, and
whoever reads afterwards sees it. What follows, whoever is killed, stopped or repeated between any two requests:

- A shard belongs to one plan, which fixes its run's id, its date and so every byte of its rows.
- Its rows stand under one name for ever: another state of the source takes the place of the rows before it in one
  PUT, and a glob never shows both.
- The rows of a plan's shard are written once; whoever comes later, even hours later, finds them and leaves them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from jobs.storage import ABSENT, Found
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed

PLAN_NAME = re.compile(r"/\d{6}\.json$")

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Put:
    """Write an object where ``expected`` stands. Answer: None, or the :class:`Found` that stands there instead."""

    name: str
    content: bytes
    expected: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read a small object. Answer: its bytes, or None where it is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class List:
    """List a folder. Answer: names below it."""

    folder: str


Steps = Generator[Put | Get | List, Any, Answer]


@dataclass(frozen=True)
class Entry:
    """A shard to do.

    Parameters
    ----------
    slot : str
        Where its rows stand: follows from the names of its sources alone.
    state : str
        Which state of the sources: changes with any size or tag among them.
    work : JSON value
        Whatever the work needs to know.
    """

    slot: str
    state: str
    work: Any = None


@dataclass(frozen=True)
class Plan:
    """What one run froze before it did any of it: new shards, and new states of old ones."""

    run_id: str
    run_date: str
    entries: tuple[Entry, ...]
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """As it is stored."""
        shards = [[each.slot, each.state, each.work] for each in self.entries]
        return dump_checksummed(
            {"run_id": self.run_id, "run_date": self.run_date, "detail": self.detail, "shards": shards}
        )

    @classmethod
    def from_json(cls, text: bytes | None, name: str) -> Plan:
        """The plan that :meth:`to_json` wrote; SchemaError where it is damaged."""
        content = load_checksummed(text, name)
        entries = tuple(Entry(*each) for each in content["shards"])
        return cls(content["run_id"], content["run_date"], entries, content["detail"])


@dataclass(frozen=True)
class PlannedShard:
    """A shard in its plan: all that its rows and names depend on.

    Parameters
    ----------
    number : int
        Of the plan, from 1.
    run_id : str
        Of the plan: stands in every row.
    run_date : str
        When the slot was first planned: its rows stay in that partition, so that new ones take their place.
    replaces : bool
        Whether an earlier plan has another state of the slot.
    """

    entry: Entry
    number: int
    run_id: str
    run_date: str
    replaces: bool

    @property
    def slot(self) -> str:
        """Of the entry."""
        return self.entry.slot

    @property
    def name(self) -> str:
        """The one name of this shard in this state under this plan."""
        return f"{self.entry.slot}-{self.number:06d}"


@dataclass(frozen=True)
class PlanHistory:
    """All plans of a ledger, in their order."""

    plans: tuple[Plan, ...] = ()

    @cached_property
    def current(self) -> dict[str, PlannedShard]:
        """What stands, or is to stand, in each slot: its last plan's word."""
        found: dict[str, PlannedShard] = {}
        for number, plan in enumerate(self.plans, start=1):
            for entry in plan.entries:
                before = found.get(entry.slot)
                date = plan.run_date if before is None else before.run_date
                found[entry.slot] = PlannedShard(entry, number, plan.run_id, date, before is not None)
        return found

    def of_plan(self, number: int) -> list[PlannedShard]:
        """What is still current of one plan."""
        return [each for each in self.current.values() if each.number == number]

    @property
    def names(self) -> set[str]:
        """Names of everything current: markers of any other name are of states that were replaced."""
        return {each.name for each in self.current.values()}


@dataclass(frozen=True)
class TablePart:
    """A table's rows of one shard.

    Parameters
    ----------
    name : str
        Of the object.
    content : bytes
        The object.
    rows : int
    digest : str
        Order-free digest of the rows: :mod:`jobs.tables.row_digest`.
    of : str
        :attr:`PlannedShard.name`.
    """

    name: str
    content: bytes
    rows: int
    digest: str
    of: str


@dataclass(frozen=True)
class Marker:
    """A committed shard: its objects, their digests, and what the run wants to find again.

    `alarms` names tables whose rows stood already and were others than ours: computing twice gave two results.
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
        """As it is stored."""
        return dump_checksummed(vars(self))

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Marker:
        """The marker that :meth:`to_json` wrote; SchemaError where it is damaged."""
        content = load_checksummed(text, name)
        return cls(**{**content, "alarms": tuple(content["alarms"])})


class Protocol:
    """The steps of one ledger.

    Parameters
    ----------
    ledger : str
        `embeddings-<fingerprint>` or `scores-<head_id>`.
    identify : callable
        The :class:`Part` that an object's bytes hold, by its name; None where they are none of ours.
    """

    def __init__(self, ledger: str, identify: Callable[[str, bytes], TablePart | None]) -> None:
        self.plans_folder = f"_plans/{ledger}"
        self.commits_folder = f"_commits/{ledger}"
        self._identify = identify

    def read(self, known: PlanHistory | None = None) -> Steps[PlanHistory]:
        """Read the plans; those of ``known`` need not be read again."""
        have = known.plans if known else ()
        names: list[str] = yield List(self.plans_folder)
        n_plans = sum(PLAN_NAME.search(name) is not None for name in names)  # whatever else somebody put there
        plans = list(have)
        for number in range(len(have) + 1, n_plans + 1):
            name = self._plan_name(number)
            plans.append(Plan.from_json((yield Get(name)), name))
        return PlanHistory(tuple(plans))

    def freeze(self, propose: Callable[[PlanHistory], Plan | None]) -> Steps[PlanHistory]:
        """Plan what is new: ``propose`` says what, from what is planned already; None where there is nothing.

        Where another run is faster, its plan counts, and ours is proposed anew. ``propose`` looks at the sources
        itself, after the plans were read: so no plan is of an older look than the plan before it.
        """
        history = yield from self.read()
        while (plan := propose(history)) is not None:
            taken = yield Put(self._plan_name(len(history.plans) + 1), plan.to_json(), ABSENT)
            if taken is None:
                return PlanHistory((*history.plans, plan))
            history = yield from self.read(history)
        return history

    def done(self) -> Steps[set[str]]:
        """Names of what is committed, also of states that were replaced since."""
        names: list[str] = yield List(self.commits_folder)
        return {name.rsplit("/", 1)[-1].removesuffix(".json") for name in names if name.endswith(".json")}

    def commit(
        self, shard: PlannedShard, uri: str, tables: dict[str, TablePart], detail: dict[str, Any]
    ) -> Steps[Marker | None]:
        """Write a shard's objects, then its marker. None where a later plan has replaced the shard meanwhile.

        Parameters
        ----------
        tables : dict
            By table. One without rows writes no object, unless rows of another state may stand there.
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
        # the marker goes last: where it exists, the shard is whole
        name = self.marker_name(shard.name)
        found: Found | None = yield Put(name, marker.to_json(), ABSENT)
        return marker if found is None or found.content is None else Marker.from_json(found.content, name)

    def _place(self, shard: PlannedShard, part: TablePart) -> Steps[TablePart | None]:
        """Write one object; return what stands in the end: ours, or what another run made of the same shard."""
        expected = ABSENT
        while (found := (yield Put(part.name, part.content, expected))) is not None:
            expected = found.etag
            if found.content is None:
                continue
            stands = self._identify(part.name, found.content)
            if stands is not None and stands.of == shard.name:
                return stands
            # rows of another state: ours take their place, unless it is ours that are out of date
            history = yield from self.read()
            if history.current[shard.slot].name != shard.name:
                return None
        return part

    def garbage(
        self, objects: Iterable[str], markers: Iterable[str], slot_of: Callable[[str], str]
    ) -> Steps[list[str]]:
        """Of names that were listed before this: what no plan knows, what a marker leaves out, and replaced markers.

        The plans are read last: a plan is older than anything that is made for it, so nothing of a run that
        works right now is among the answers.
        """
        history = yield from self.read()
        old = [name for name in markers if _stem(name) not in history.names]
        committed: dict[str, set[str]] = {}
        for name in sorted(set(markers) - set(old)):
            text: bytes | None = yield Get(name)
            if text is not None:
                marker = Marker.from_json(text, name)
                committed[marker.name] = set(marker.objects.values())
        lost = []
        for name in objects:
            shard = history.current.get(slot_of(name))
            if shard is None or name not in committed.get(shard.name, {name}):
                lost.append(name)
        return sorted(lost + old)

    def marker_name(self, name: str) -> str:
        """Where the marker of a :attr:`PlannedShard.name` stands."""
        return f"{self.commits_folder}/{name}.json"

    def _plan_name(self, number: int) -> str:
        return f"{self.plans_folder}/{number:06d}.json"


def _stem(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".json")
