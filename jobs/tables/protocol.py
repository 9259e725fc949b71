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
import random
import re
from collections.abc import Callable, Collection, Generator, Iterable
from typing import Any, TypeVar

from detector.errors import SchemaError
from jobs.storage import ABSENT, Found
from jobs.tables import folding
from jobs.tables.entries import DROPPED, Entry
from jobs.tables.folding import Checkpoint
from jobs.tables.frozen_plan import Plan
from jobs.tables.marker import Marker
from jobs.tables.names import Names, texts
from jobs.tables.others import newest
from jobs.tables.plan_history import PlanHistory, PlannedShard
from jobs.tables.requests import Exist, Fetch, Get, List, Put
from jobs.tables.table_part import TablePart

PLAN_NAME = re.compile(r"/\d{6}\.json$")

__all__ = ["DROPPED", "Entry", "Marker", "Plan", "PlanHistory", "PlannedShard"]

Answer = TypeVar("Answer")
Steps = Generator[Put | Get | Fetch | List | Exist, Any, Answer]

PLANS_AT_ONCE = 8  # that are read; each may have tens of megabytes
FOLD_FROM = 1_000
MAX_CHECKPOINTS = 3  # that a run tries; gc leaves one
MAX_ASKED = 64  # markers that are asked for one by one, however few there are
FETCHED_AT_ONCE = 1_000  # markers, for the garbage: few enough to be held
LISTED_AT_ONCE = 1_000  # names in an answer of a store

REMEDY = (
    "Copy `_plans` once more; if the original is lost, `gc --lost-plans` removes this, and the next run does the work "
    "again"
)


class Protocol:
    """The steps of one ledger.

    Parameters
    ----------
    ledger : str
        `embeddings-<fingerprint>` or `scores-<head_id>`.
    identify : callable
        Returns the :class:`TablePart` of an object, given its name and bytes; None if we did not write it.
    output : str
        URI of the output, for the names in error messages, and for checkpoints.
    fold_from : int
        Commits that no checkpoint knows, from which on one is written.
    """

    def __init__(
        self,
        ledger: str,
        identify: Callable[[str, bytes], TablePart | None],
        output: str = "",
        *,
        fold_from: int = FOLD_FROM,
    ) -> None:
        self._output = output
        self.plans_folder = f"_plans/{ledger}"
        self.commits_folder = f"_commits/{ledger}"
        self.checkpoints_folder = f"_commits/{folding.FOLDER}{ledger}"
        self._ledger = ledger
        self._fold_from = fold_from
        self._has_believed = False
        self._known: dict[str, Checkpoint] = {}  # the last that was read: one is never changed
        self._identify = identify

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_known": {}}  # a worker needs no checkpoint

    def read(self, earlier: PlanHistory | None = None) -> Steps[PlanHistory]:
        """Read the plans; those of ``earlier`` are not read again."""
        plans = list(earlier.plans if earlier else ())
        listed: Iterable[str] = yield List(self.plans_folder)
        n_plans = sum(PLAN_NAME.search(name) is not None for name in listed)  # the folder may hold other files
        if earlier is not None and n_plans <= len(plans):
            return earlier
        for first in range(len(plans) + 1, n_plans + 1, PLANS_AT_ONCE):
            names = [self._plan_name(number) for number in range(first, min(first + PLANS_AT_ONCE, n_plans + 1))]
            found: list[bytes | None] = yield Fetch(names)
            plans += newest([Plan.from_json(found.pop(0), f"{self._output}/{name}") for name in names])
        return PlanHistory(newest(plans))

    def freeze(
        self, propose: Callable[[PlanHistory], Plan | None], earlier: PlanHistory | None = None
    ) -> Steps[PlanHistory]:
        """Plan what is new: ``propose`` returns it, given the earlier plans, or None if there is nothing.

        Plans that are known are not read again.

        If another run is faster, its plan stands, and ``propose`` is called again. It must look at the sources itself,
        after the plans were read: so no plan is based on an older look at them than the plan before it.
        """
        history = yield from self.read(earlier)
        while (plan := propose(history)) is not None:
            committed = yield from self._earlier(history, plan)
            if committed is None:
                taken = yield Put(self._plan_name(len(history.plans) + 1), plan.to_json(), ABSENT)
                if taken is None:
                    return PlanHistory((*history.plans, plan))
            n_before = len(history.plans)
            history = yield from self.read(history)
            if committed is not None and len(history.plans) == n_before:
                marker = f"{self._output}/{self.marker_name(committed)}"
                raise SchemaError(f"{marker}: is committed, and its plan is not in {self.plans_folder}. {REMEDY}.")
        return history

    def _earlier(self, history: PlanHistory, plan: Plan) -> Steps[str | None]:
        """Return a shard of a new plan that is committed already, under a plan of the same number that is not here.

        So it is where another run was faster, and in a copy of an output that lost its last plans. Without a checkpoint
        all markers were listed before the plan was made: :func:`jobs.tables.copies.refuse_lost_plans`.
        """
        if not self._has_believed:
            return None
        names = PlanHistory((*history.plans, plan)).names_of(len(history.plans) + 1)
        found: Names = yield from self._committed_of(names, len(history.current))
        return next(iter(found & names), None)

    def done(self, history: PlanHistory | None = None) -> Steps[Names]:
        """Return the names of all committed shards, also of states that were replaced since.

        With a history, those that a checkpoint knows are not looked for again, and of a slot only the last one that is
        committed is sure to be there.
        """
        folded = None if history is None else (yield from self._folded(history))
        if history is None or folded is None:
            return (yield from self._listed())
        return folded | (yield from self._committed_of(history.names_after(folded), len(folded)))

    def fold(self, history: PlanHistory, done: Names) -> Steps[str | None]:
        """Write a checkpoint if enough is committed that the last one does not know; return its name.

        Parameters
        ----------
        done : Names
            What :meth:`done` returned.
        """
        names = history.last_committed(done).names
        folded = (yield from self._folded(history)) or Names()
        if len(names - folded) < self._fold_from:
            return None
        checkpoint = Checkpoint(self._output, self._ledger, tuple(plan.seal for plan in history.plans), names)
        content = checkpoint.to_json()
        name = folding.name_of(self.checkpoints_folder, checkpoint, content)
        yield Put(name, content, ABSENT)
        return name

    def _listed(self) -> Steps[Names]:
        names: Iterable[str] = yield List(self.commits_folder)
        return Names(_stem(name) for name in names if name.endswith(".json"))

    def _folded(self, history: PlanHistory) -> Steps[Names | None]:
        """Return what the newest checkpoint knows that is one of these plans; None if there is none.

        A few of its markers are looked for: an output of which the markers were lost, or are those of another time,
        has none of them.
        """
        names: Iterable[str] = yield List(self.checkpoints_folder)
        for name in folding.newest_first(names)[:MAX_CHECKPOINTS]:
            checkpoint = self._known.get(name) or (yield from self._checkpoint(name, history))
            if checkpoint is None or not checkpoint.is_of(self._output, self._ledger, history):
                continue
            self._known = {name: checkpoint}
            sure = (checkpoint.names & history.names).values  # gc removes none of them
            probed = list(texts(sure[sorted(random.sample(range(len(sure)), min(folding.PROBES, len(sure))))]))
            found: Names = yield from self._exist(probed)
            if len(found) == len(probed):
                self._has_believed = True
                return checkpoint.names
        return None

    def _checkpoint(self, name: str, history: PlanHistory) -> Steps[Checkpoint | None]:
        """Read a checkpoint; None if it is gone, torn, or was not folded here and from these plans."""
        text: bytes | None = yield Get(name)
        try:
            checkpoint = None if text is None else Checkpoint.from_json(text, f"{self._output}/{name}")
        except SchemaError:
            return None
        return checkpoint if checkpoint and checkpoint.is_of(self._output, self._ledger, history) else None

    def _committed_of(self, names: Collection[str], n_others: int) -> Steps[Names]:
        """Return which of these shards are committed, in as few requests as it takes beside so many other markers."""
        if len(names) > MAX_ASKED + (len(names) + n_others) // LISTED_AT_ONCE:
            return (yield from self._listed())
        return (yield from self._exist(names))

    def _exist(self, names: Collection[str]) -> Steps[Names]:
        found: Collection[str] = (yield Exist([self.marker_name(name) for name in names])) if names else ()
        return Names(map(_stem, found))

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
        self, objects: Iterable[str], markers: Collection[str], slot_of: Callable[[str], str]
    ) -> Steps[list[str]]:
        """Return which of these names, listed before, are garbage.

        Garbage is every object that no plan knows or that its shard's marker leaves out, and every marker of a replaced
        state, once another is committed. The plans are read last: a plan is older than anything that is made for it, so
        nothing that belongs to a run at work is ever garbage.
        """
        history = yield from self.read()
        done = Names(map(_stem, markers))
        last = history.last_committed(done).names
        replaced = [name for name in markers if _stem(name) not in last]
        committed: dict[str, set[str]] = {}
        current = sorted(set(markers) - set(replaced))
        for first in range(0, len(current), FETCHED_AT_ONCE):
            names = current[first : first + FETCHED_AT_ONCE]
            found: list[bytes | None] = yield Fetch(names)
            for name, text in zip(names, found, strict=True):
                if text is not None:
                    marker = Marker.from_json(text, f"{self._output}/{name}")
                    committed[marker.name] = set(marker.objects.values())
        lost = []
        for name in objects:
            shard = history.current.get(slot_of(name))
            if shard is None or name not in committed.get(shard.name, {name}):
                lost.append(name)
        return sorted(lost + replaced + (yield from self.false_checkpoints(history, done)))

    def false_checkpoints(self, history: PlanHistory, done: Names) -> Steps[list[str]]:
        """Return the names of all checkpoints but the newest one that says nothing that the markers do not say.

        Parameters
        ----------
        done : Names
            All markers, as they were listed. One that is folded meanwhile may be taken for false; it costs a listing.
        """
        names: Iterable[str] = yield List(self.checkpoints_folder)
        found = folding.newest_first(names)
        for name in found:
            checkpoint = yield from self._checkpoint(name, history)
            if checkpoint is not None and not (checkpoint.names & history.names) - done:
                return [each for each in found if each != name]
        return found

    def lying(self, history: PlanHistory) -> Steps[list[str]]:
        """Return the names of checkpoints that a run would believe, and that name a shard which is not committed."""
        names: Iterable[str] = yield List(self.checkpoints_folder)
        found = []
        for name in folding.newest_first(names)[:MAX_CHECKPOINTS]:
            checkpoint = yield from self._checkpoint(name, history)
            if checkpoint is not None and (checkpoint.names & history.names) - (yield from self._listed()):
                found.append(name)
        return found

    def marker_name(self, name: str) -> str:
        """Return the name of the marker of a :attr:`PlannedShard.name`."""
        return f"{self.commits_folder}/{name}.json"

    def _plan_name(self, number: int) -> str:
        return f"{self.plans_folder}/{number:06d}.json"


def _stem(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".json")


def slot_of_shard(name: str) -> str:
    """Return the slot in a :attr:`PlannedShard.name`.

    Examples
    --------
    >>> slot_of_shard("0123456789abcdef-000002")
    '0123456789abcdef'
    """
    return name.rpartition("-")[0]
