"""A simulation of the protocol: jobs/tables/protocol.py over a store in memory, where everything goes wrong that can.

```
 actors: runs, their workers, gc, the world      scheduler                       store in memory
┌──────────────────────────────────────────┐    ┌────────────────────────┐      ┌────────────────────┐
│ protocol.freeze/commit/… asks for a Put, ├───►│ whose request is next, ├─────►│ conditional PUT,   │
│ a Get or a List, and waits               │    │ and what befalls it    │      │ etags, list: atomic│
└──────────────────────────────────────────┘    └────────────────────────┘      └─────────┬──────────┘
                                                                                every write is checked
```

Between any two requests an actor may be killed, put to sleep until all others are done, lose a reply and repeat its
request, or leave behind a request that arrives hours later. Meanwhile sources are replaced (also by what they were
before), added and removed, further runs begin, and garbage is collected without any grace time.

`python -m tests.drills.simulation --seed 7 --count 100000` draws schedules; a violation prints the command that
plays it again. `--exhaustive singles` and `--exhaustive pairs` do every fault, and every two faults in order, at
every request of small scenarios.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import re
import sys
import time
import zlib
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from jobs.storage import ABSENT
from jobs.tables.plan import propose_scores
from jobs.tables.protocol import (
    Entry,
    Found,
    Get,
    List,
    Marker,
    Plan,
    PlanHistory,
    PlannedShard,
    Protocol,
    Put,
    TablePart,
)
from jobs.tables.row_digest import add

EMBEDDINGS, SCORES = "embeddings-f", "scores-h"
TABLES = {EMBEDDINGS: ("failures", "embeddings"), SCORES: ("scores",)}  # in the order in which a shard is written
LEDGER_OF = {table: ledger for ledger, tables in TABLES.items() for table in tables}
DATES = ("01-31", "02-01")
OUTCOMES = ("ee", "ef", "fe", "ff", "e-", "-f", "--")  # of a shard's two utterances: embedded, failed, not there
MAX_STEPS = 5_000  # nothing that ends takes so many
IDLE = MAX_STEPS  # when nobody works any more

CRASH_BEFORE = "killed before"
CRASH_AFTER = "killed after"
LOST = "reply lost"
LATE = "arrives late"
ORPHAN = "loses its driver"
SLEEP = "sleeps"
NAP = "naps"
FAULTS = (CRASH_BEFORE, CRASH_AFTER, LOST, LATE, ORPHAN, SLEEP)
NAP_STEPS = 8


class Violation(AssertionError):  # noqa: N818 - it is one
    """A promise of the protocol does not hold."""


# ---------------------------------------------------------------------------------------------------- what actors ask


@dataclass(frozen=True, slots=True)
class Read:
    """Read a source (`If-Match`). Answer: whether it still is in that state."""

    slot: str
    state: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an object."""

    name: str


@dataclass(frozen=True, slots=True)
class Stand:
    """What a PUT that was refused looks up, as :func:`jobs.storage.put` does."""

    put: Put


@dataclass(frozen=True, slots=True)
class Nothing:
    """Let time pass."""


@dataclass(eq=False, slots=True)
class Workers:
    """Have each done by a process of its own. Answer: what they return; None of one that was lost, again and again."""

    tasks: list[Callable[[], Steps]]
    twice: bool
    boss: Actor | None = None  # none any more, where it was killed
    answers: dict[int, Any] = field(default_factory=dict)
    lives: int = 2


Steps = Generator[Any, Any, Any]


@dataclass(eq=False, slots=True)
class Actor:
    """Somebody who waits for an answer of the store; a worker is one of a set, with one of its tasks."""

    name: str
    steps: Steps
    workers: Workers | None = None
    task: int = 0
    asked: Any = None


# ---------------------------------------------------------------------------------------------------- rows


@cache
def rows_of(slot: str, state: str, table: str) -> list[str]:
    """What a shard's rows in a table must be: a word for each, `slot/number@state`."""
    letter = "f" if table == "failures" else "e"
    return [f"{slot}/{number}@{state}" for number, outcome in enumerate(state[-2:]) if outcome == letter]


def part(shard: PlannedShard, table: str, rows: list[str]) -> TablePart:
    """An object: whose it is, its run's id, its date, and its rows."""
    content = "|".join((shard.name, shard.run_id, shard.run_date, *rows)).encode()
    return TablePart(place(shard, table), content, len(rows), digest_of(rows), shard.name)


def place(shard: PlannedShard, table: str) -> str:
    """Where the rows of a shard stand in a table."""
    folder = table if table == "embeddings" else f"{table}/run_date={shard.run_date}"
    return f"{folder}/k-{shard.slot}.parquet"


def digest_of(rows: list[str]) -> str:
    """Order-free."""
    return f"{sum(zlib.crc32(row.encode()) for row in rows):064x}"


def identify(name: str, content: bytes) -> TablePart | None:
    """What an object says of itself."""
    of, *rest = content.decode().split("|")
    return TablePart(name, content, len(rest) - 2, digest_of(rest[2:]), of) if len(rest) >= 2 else None


def rows_in(content: bytes) -> list[str]:
    """The rows of an object."""
    return content.decode().split("|")[3:]


def slot_of(name: str) -> str:
    """The slot in an object's name."""
    return name.rsplit("-", 1)[-1].removesuffix(".parquet")


# ---------------------------------------------------------------------------------------------------- the ledgers


class Known:
    """What one who sees everything knows of a ledger: every plan, as soon as it is there."""

    def __init__(self) -> None:
        self.n_plans = 0
        self.planned: dict[str, tuple[str, str, int]] = {}  # slot, state, plan by name
        self.current: dict[str, str] = {}  # name by slot

    def add(self, plan: Plan) -> None:
        """A plan was frozen."""
        self.n_plans += 1
        for entry in plan.entries:
            name = f"{entry.slot}-{self.n_plans:06d}"
            self.planned[name] = (entry.slot, entry.state, self.n_plans)
            self.current[entry.slot] = name


class Store:
    """Objects by name; every request happens at once and as a whole, and every write is checked.

    What must hold all the time:

    - A plan and a marker are never changed; a shard's object under one plan is always the same to the byte.
    - A table shows no utterance twice, and of a shard all rows of one state; older ones never come back.
    - Where the marker of what is current exists, its objects exist, with its SHA-256.
    - Nothing that is current is ever deleted.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.known = {EMBEDDINGS: Known(), SCORES: Known()}
        self.n_puts = 0
        self._folders: dict[str, list[str]] = defaultdict(list)
        self._bytes: dict[tuple[str, str], bytes] = {}
        self._markers: dict[bytes, Marker] = {}
        self._whole: set[tuple[bytes | None, ...]] = set()  # markers and objects that were compared
        self._shown: dict[str, dict[str, str]] = {table: {} for table in LEDGER_OF}

    def put(self, asked: Put) -> bool:
        """Whether the condition held."""
        self.n_puts += 1
        name, content = asked.name, asked.content
        before = self.objects.get(name)
        if (ABSENT if before is None else etag_of(before)) != asked.expected:
            return False
        self.place(name, content)
        if before != content:
            self._written(name, before, content)
        return True

    def place(self, name: str, content: bytes) -> None:
        """Let an object stand there, whatever stood there before."""
        if name not in self.objects:
            insort(self._folders[folder_of(name)], name)
        self.objects[name] = content

    def stands(self, name: str) -> Found:
        """What stands there."""
        content = self.objects.get(name)
        return Found(None, ABSENT) if content is None else Found(content, etag_of(content))

    def listing(self, folder: str) -> list[str]:
        """Names below a folder."""
        return list(self._folders[folder])

    def delete(self, name: str) -> None:
        """Only gc asks for it."""
        content = self.objects.pop(name, None)
        if content is not None:
            self._folders[folder_of(name)].remove(name)
        top, _, rest = name.partition("/")
        ledger = LEDGER_OF.get(top) or rest.partition("/")[0]
        known = self.known[ledger]
        if top not in LEDGER_OF and stem(name) in known.current.values():
            raise Violation(f"gc removed {name}, the marker of what is current")
        if top in LEDGER_OF and self.named(name) and "?" not in name:  # nothing of ours ever stands there
            raise Violation(f"gc removed {name}, which is current, or to be")
        if top in LEDGER_OF and content is not None:
            self._hide(top, name)

    def named(self, name: str) -> bool:
        """Whether an object is of a slot that somebody works on, or named by the slot's marker."""
        ledger = LEDGER_OF[name.partition("/")[0]]
        current = self.known[ledger].current.get(slot_of(name))
        text = self.objects.get(f"_commits/{ledger}/{current}.json")
        return current is not None and (text is None or name in Marker.from_json(text, "a marker").objects.values())

    def _written(self, name: str, before: bytes | None, content: bytes) -> None:
        top, _, rest = name.partition("/")
        if top in LEDGER_OF:
            self._shows(top, name, before, content)
            ledger, slot = LEDGER_OF[top], slot_of(name)
        else:
            ledger = rest.partition("/")[0]
            known = self.known[ledger]
            if before is not None:
                raise Violation(f"{name} was changed: {before!r} to {content!r}")
            if top == "_plans":
                known.add(Plan.from_json(content, "a plan"))
                if name != f"_plans/{ledger}/{known.n_plans:06d}.json":
                    raise Violation(f"{name}: not the next of {known.n_plans - 1} plans")
                return
            if stem(name) not in known.planned:
                raise Violation(f"{name}: a marker of nothing that was planned")
            self._once(name, "", content)
            slot = known.planned[stem(name)][0]
        self.check(ledger, slot)

    def _shows(self, table: str, name: str, before: bytes | None, content: bytes) -> None:
        """A table shows other rows from now on."""
        known = self.known[LEDGER_OF[table]]
        of, run_id, _, *rows = content.decode().split("|")
        if of not in known.planned:
            raise Violation(f"{name}: rows of {of}, which nobody planned")
        slot, state, number = known.planned[of]
        self._once(name, of, content)
        if before is not None:
            old = before.decode().split("|")[0]
            if old in known.planned and known.planned[old][2] >= number:
                raise Violation(f"{name}: rows of {of} took the place of those of {old}")
            self._hide(table, name)
        source = state
        if table == "scores":
            if state not in self.known[EMBEDDINGS].planned:
                raise Violation(f"{name}: scores of {state}, which nobody planned")
            source = self.known[EMBEDDINGS].planned[state][1]
        if rows != rows_of(slot, source, table):
            raise Violation(f"{name}: has {rows}, and the whole shard is {rows_of(slot, source, table)}")
        shown = self._shown[table]
        for row in rows:
            utterance = row.partition("@")[0]
            if utterance in shown:
                raise Violation(f"{table}: {utterance} stands in {shown[utterance]} and in {name}, of {run_id}")
            shown[utterance] = name

    def _hide(self, table: str, name: str) -> None:
        shown = self._shown[table]
        for utterance in [each for each, place in shown.items() if place == name]:
            del shown[utterance]

    def _once(self, name: str, of: str, content: bytes) -> None:
        first = self._bytes.setdefault((name, of), content)
        if first != content:
            raise Violation(f"{name} of {of or 'a shard'} was written twice: {first!r}, then {content!r}")

    def check(self, ledger: str, slot: str) -> bool:
        """Whether a slot's current state is committed; where its marker exists, the shard must be whole."""
        name = self.known[ledger].current.get(slot)
        text = self.objects.get(f"_commits/{ledger}/{name}.json")
        if text is None or name is None:
            return False
        marker = self._markers.get(text)
        if marker is None:
            marker = self._markers[text] = Marker.from_json(text, "a marker")
        standing = (text, *(self.objects.get(place) for place in marker.objects.values()))
        if standing not in self._whole:
            self._check_marker(ledger, marker)
            self._whole.add(standing)
        return True

    def _check_marker(self, ledger: str, marker: Marker) -> None:
        slot, state, _ = self.known[ledger].planned[marker.name]
        source = self.known[EMBEDDINGS].planned[state][1] if ledger == SCORES else state
        for table in TABLES[ledger]:
            n_rows = len(rows_of(slot, source, table))
            if marker.rows[table] != n_rows or (n_rows and table not in marker.objects):
                raise Violation(f"{marker.name} is committed without all of its {table}")
        for table, place in marker.objects.items():
            content = self.objects.get(place)
            if content is None or hashlib.sha256(content).hexdigest() != marker.sha256[table]:
                found = "gone" if content is None else "others"
                raise Violation(f"{marker.name} is committed, and its {table} are {found}")

    def table(self, table: str) -> list[str]:
        """What a glob shows, as a query would."""
        return sorted([row for name in self._folders[table] for row in rows_in(self.objects[name])])

    def digest(self, ledger: str) -> str:
        """What the markers of all that is current say together."""
        texts = [self.objects.get(f"_commits/{ledger}/{name}.json") for name in self.known[ledger].current.values()]
        return add(digest for text in texts if text for digest in self._markers[text].digests.values())


def etag_of(content: bytes) -> str:
    """As S3's: of the content, so that the same content has the same."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def folder_of(name: str) -> str:
    """What is listed to find it: the ledger's folder, or the table's."""
    return name.rpartition("/")[0] if name[0] == "_" else name.partition("/")[0]


def stem(name: str) -> str:
    """Of a marker: what it is about."""
    return name.rsplit("/", 1)[-1].removesuffix(".json")


# ---------------------------------------------------------------------------------------------------- a scenario


@dataclass(frozen=True)
class Setup:
    """What is the same for all runs of a schedule."""

    sources: dict[str, str]
    workers: bool = False
    twice: bool = False
    scores: bool = False
    restarts: int = 2


class World:
    """Sources, the store, and everybody who works with them."""

    def __init__(self, setup: Setup, log: list[str] | None = None) -> None:
        self.setup = setup
        self.sources = dict(setup.sources)
        self.store = Store()
        self.actors: list[Actor] = []
        self.asleep: list[Actor] = []
        self.late: list[tuple[str, Put]] = []
        self.restarts = setup.restarts
        self.n_steps = 0
        self.ends: Counter[str] = Counter()
        self._log = log
        self._n_started = 0
        self._past: dict[str, list[str]] = {slot: [state] for slot, state in self.sources.items()}
        self._embeddings = Protocol(EMBEDDINGS, identify)
        self._scores = Protocol(SCORES, identify)

    # what befalls actors

    def start(self, kind: str, steps: Steps, workers: Workers | None = None, task: int = 0) -> None:
        """Let somebody begin."""
        self._n_started += 1
        actor = Actor(f"{kind} {self._n_started}", steps, workers, task)
        self.actors.append(actor)
        self._go(actor, None)

    def start_run(self, date: str = DATES[0]) -> None:
        """Start a run, by hand or by a scheduler."""
        self.start("run", self._run(date))

    def start_gc(self) -> None:
        """Start a collection."""
        self.start("gc", self._gc())

    def step(self, actor: Actor, fault: str | None = None) -> None:
        """Carry out what an actor asks for, or let something befall it."""
        self.n_steps += 1
        if self.n_steps > MAX_STEPS:
            raise Violation(f"{actor.name} asks for ever: {actor.asked}")
        if self._log is not None:
            self._log.append(f"{actor.name:10} {told(actor.asked)}{f'   <- {fault}' if fault else ''}")
        if fault is None:
            self._perform(actor)
        elif fault in (SLEEP, NAP):
            self.actors.remove(actor)
            self.asleep.append(actor)
        elif fault == ORPHAN and actor.workers is not None:
            self._lose_driver(actor.workers)
        elif fault in (CRASH_BEFORE, ORPHAN):
            self._lose(actor)
        else:
            asked = actor.asked
            if fault == LATE:
                if type(asked) is Put:
                    self.late.append((actor.name, asked))
                    return
                fault = LOST
            # applied, and nobody hears of it: who lives on repeats the request
            if type(asked) is Put:
                self.store.put(asked)
            elif type(asked) is Delete:
                self.store.delete(asked.name)
            if fault == CRASH_AFTER:
                self._lose(actor)

    def wake(self, actor: Actor) -> None:
        """Let somebody go on who slept."""
        self.asleep.remove(actor)
        self.actors.append(actor)

    def deliver(self, index: int = 0) -> None:
        """A request that was on its way for hours arrives; nobody waits for the reply."""
        name, asked = self.late.pop(index)
        done = self.store.put(asked)
        if self._log is not None:
            self._log.append(f"{name:10} {told(asked)}   <- arrives now, {'and counts' if done else 'and is refused'}")

    def _perform(self, actor: Actor) -> None:
        asked = actor.asked
        kind = type(asked)
        if kind is List:
            self._go(actor, self.store.listing(asked.folder))
        elif kind is Get:
            self._go(actor, self.store.objects.get(asked.name))
        elif kind is Put:
            if self.store.put(asked):
                self._go(actor, None)
            else:
                actor.asked = Stand(asked)
        elif kind is Stand:
            found = self.store.stands(asked.put.name)
            self._go(actor, None if found.content == asked.put.content else found)
        elif kind is Read:
            self._go(actor, self.sources.get(asked.slot) == asked.state)
        elif kind is Delete:
            self.store.delete(asked.name)
            self._go(actor, None)
        else:
            self._go(actor, None)

    def _go(self, actor: Actor, answer: Any) -> None:
        """Answer, and hear what the actor asks for next."""
        try:
            actor.asked = actor.steps.send(answer)
        except StopIteration as end:
            self.actors.remove(actor)
            self._ended(actor, end.value)
            return
        if type(actor.asked) is Workers:
            self.actors.remove(actor)
            workers = actor.asked
            workers.boss = actor
            for number, task in enumerate(workers.tasks):
                for _ in range(1 + workers.twice):
                    self.start("worker", task(), workers, number)

    def _ended(self, actor: Actor, answer: Any) -> None:
        """Somebody came to an end; a worker's boss hears of the first of those who did the same."""
        workers = actor.workers
        if workers is None:
            self.ends[str(answer)] += 1
        elif workers.boss is not None and actor.task not in workers.answers:
            workers.answers[actor.task] = answer
            if len(workers.answers) == len(workers.tasks):
                self.actors.append(workers.boss)
                self._go(workers.boss, [workers.answers[number] for number in range(len(workers.tasks))])

    def _lose(self, actor: Actor) -> None:
        """Somebody was killed: a worker is replaced, with a bound, a run perhaps started again."""
        self.actors.remove(actor)
        actor.steps.close()
        workers = actor.workers
        if workers is not None and workers.boss is None:
            return
        if workers is not None and workers.lives:
            workers.lives -= 1
            self.start("worker", workers.tasks[actor.task](), workers, actor.task)
        elif workers is not None:
            self._ended(actor, None)
        elif actor.name.startswith("run"):
            self._start_again()

    def _lose_driver(self, workers: Workers) -> None:
        """A run was killed while its workers work; they do not know, and go on."""
        if workers.boss is not None and len(workers.answers) < len(workers.tasks):
            workers.boss.steps.close()
            workers.boss = None
            self._start_again()

    def _start_again(self) -> None:
        if self.restarts:
            self.restarts -= 1
            self.start_run()

    # what actors do

    def _run(self, date: str) -> Steps:
        """Run `nightly`, or `embed` alone: as `embed_archive` and `score_shards` go."""
        yield Nothing()  # a run begins some time before it looks
        table, listed = self._embeddings, self.sources

        def propose(history: PlanHistory) -> Plan | None:
            nonlocal listed
            listed = dict(self.sources)
            have = {slot: shard.entry.state for slot, shard in history.current.items()}
            new = tuple(Entry(slot, state) for slot, state in listed.items() if have.get(slot) != state)
            return plan(history, date, new)

        history: PlanHistory = yield from table.freeze(propose)
        done: set[str] = yield from table.done()
        mine = [history.current[slot] for slot in listed]
        whole = yield from self._work([(partial(self._embed, shard)) for shard in mine if shard.name not in done])
        if whole:
            self._must_show(EMBEDDINGS, mine)
        if self.setup.scores:
            done = yield from table.done()
            whole &= yield from self._score([shard for shard in mine if shard.name in done], date)
        return "done" if whole else "again"

    def _embed(self, shard: PlannedShard) -> Steps:
        state = shard.entry.state
        if not (yield Read(shard.slot, state)):
            return None  # set aside
        tables = {table: part(shard, table, rows_of(shard.slot, state, table)) for table in TABLES[EMBEDDINGS]}
        return (yield from self._embeddings.commit(shard, shard.slot, tables, {}))

    def _score(self, embedded: list[PlannedShard], date: str) -> Steps:
        table = self._scores
        history: PlanHistory = yield from table.freeze(
            lambda history: plan(history, date, propose_scores(embedded, history))
        )
        done: set[str] = yield from table.done()
        mine = [history.current[each.slot] for each in embedded]
        whole = yield from self._work([partial(self._judge, shard) for shard in mine if shard.name not in done])
        if whole:
            self._must_show(SCORES, mine)
        return whole

    def _judge(self, shard: PlannedShard) -> Steps:
        """As :meth:`jobs.tables.ledger.Ledger.read` and :func:`jobs.scoring.shards.ScoreShard` go."""
        text = yield Get(self._embeddings.marker_name(shard.entry.state))
        if text is None:
            return None  # replaced since, and collected
        embedded = Marker.from_json(text, "a marker")
        rows: list[str] = []
        if embedded.rows["embeddings"]:
            content = yield Get(embedded.objects["embeddings"])
            stands = None if content is None else identify("", content)
            if stands is None or stands.shard != embedded.name:
                return None
            rows = rows_in(content)
        return (yield from self._scores.commit(shard, shard.slot, {"scores": part(shard, "scores", rows)}, {}))

    def _work(self, tasks: list[Callable[[], Steps]]) -> Steps:
        """Whether all of it was committed: one after the other here, or each by a worker."""
        if not tasks:
            return True
        if self.setup.workers:
            return None not in (yield Workers(tasks, self.setup.twice))
        made = []
        for task in tasks:
            made.append((yield from task()))
        return None not in made

    def _must_show(self, ledger: str, mine: list[PlannedShard]) -> None:
        """Whoever says that all is done has everything that it listed in the tables, or something newer."""
        known = self.store.known[ledger]
        for shard in mine:
            if known.current[shard.slot] == shard.name and not self.store.check(ledger, shard.slot):
                raise Violation(f"a run ended well, and {shard.name} is not committed")
            for table in TABLES[ledger]:
                content = self.store.objects.get(place(shard, table))
                of = content.decode().split("|")[0] if content else ""
                if content is not None and known.planned[of][2] < shard.number:
                    raise Violation(f"a run ended well, and its {table} are those of {of}, not of {shard.name}")

    def _gc(self) -> Steps:
        """As :mod:`jobs.verbs.gc` goes, without grace."""
        objects: list[str] = []
        for table in LEDGER_OF:
            objects += yield List(table)
        for ledger, protocol in ((EMBEDDINGS, self._embeddings), (SCORES, self._scores)):
            markers = yield List(protocol.commits_folder)
            mine = [name for name in objects if name.partition("/")[0] in TABLES[ledger]]
            for name in (yield from protocol.garbage(mine, markers, slot_of)):
                yield Delete(name)
        return "collected"

    # what happens to the archive

    def replace(self, slot: str, state: str) -> None:
        """Another state under the same name."""
        if slot in self.sources:
            self.sources[slot] = state
            self._past[slot].append(state)

    def back(self, slot: str) -> None:
        """A source is again what it was at first."""
        if slot in self.sources:
            self.sources[slot] = self._past[slot][0]

    def add(self, slot: str, state: str) -> None:
        """A new source."""
        self.sources[slot] = state
        self._past.setdefault(slot, []).append(state)

    def drop(self, slot: str) -> None:
        """A source is removed; its rows stay."""
        self.sources.pop(slot, None)

    def litter(self) -> None:
        """Objects that nobody planned, of a slot that nobody knows and where no slot has any."""
        for name in (
            "embeddings/k-x.parquet",
            "failures/run_date=?/k-a.parquet",
            f"_commits/{EMBEDDINGS}/x-000009.json",
        ):
            self.store.place(name, b"litter")

    # the end

    def finish(self) -> None:
        """Let a last run work undisturbed, then wake whoever slept: the tables are those of the final sources."""
        self._run_all()
        self._last_run("the last run")
        if self.asleep or self.late:
            self.actors, self.asleep = self.asleep, []
            while self.late:
                self.deliver()
            self._run_all()
            self._compare("who came late")
            self._last_run("the run after who came late")
        n_puts = self.store.n_puts
        self._last_run("a run with nothing to do")
        if self.store.n_puts != n_puts:
            raise Violation(f"a run with nothing to do wrote {self.store.n_puts - n_puts} objects")
        n_objects = len(self.store.objects)
        self.start_gc()
        self._run_all()
        left = [name for name in self.store.objects if not self._belongs(name)]
        if left:
            raise Violation(f"gc left {left}")
        if len(self.store.objects) != n_objects:
            self._last_run("the run after gc")
        if self.store.n_puts != n_puts:
            raise Violation(f"gc took what a run had to write again: {self.store.n_puts - n_puts} objects")

    def _run_all(self) -> None:
        while self.actors:
            self.step(self.actors[0])

    def _last_run(self, who: str) -> None:
        before = self.ends["done"]
        self.start_run(DATES[1])
        self._run_all()
        if self.ends["done"] == before:
            raise Violation(f"{who} did not end well")
        self._compare(who)
        for ledger in (EMBEDDINGS, SCORES)[: 1 + self.setup.scores]:
            if self.store.known[ledger].current.keys() <= self.sources.keys():
                golden = digest_of([row for table in TABLES[ledger] for row in self._golden(table)])
                if self.store.digest(ledger) != golden:
                    raise Violation(f"{who}: the markers' digest is not that of the undisturbed run")

    def _golden(self, table: str) -> list[str]:
        return sorted(row for slot, state in self.sources.items() for row in rows_of(slot, state, table))

    def _compare(self, who: str) -> None:
        """The tables are what one undisturbed run over the final sources writes; dropped sources may leave rows."""
        for table in ("failures", "embeddings", "scores")[: 2 + self.setup.scores]:
            shown = [row for row in self.store.table(table) if row.partition("/")[0] in self.sources]
            if shown != self._golden(table):
                raise Violation(f"{who}: {table} shows {shown}, and {self._golden(table)} is right")

    def _belongs(self, name: str) -> bool:
        top, _, rest = name.partition("/")
        if top == "_plans":
            return True
        if top == "_commits":
            return stem(name) in self.store.known[rest.partition("/")[0]].current.values()
        return self.store.named(name)


def plan(history: PlanHistory, date: str, entries: tuple[Entry, ...]) -> Plan | None:
    """A plan as runs make it: the same for the same entries, date and plans before."""
    text = " ".join(f"{each.slot}:{each.state}" for each in entries)
    return Plan(f"{date}-{zlib.crc32(f'{len(history.plans)} {text}'.encode()):08x}", date, entries) if entries else None


def told(asked: Any) -> str:
    """A request, for a person."""
    match asked:
        case Put(name, content, expected):
            return f"PUT {name} {f'If-Match {expected[:6]}' if expected else 'If-None-Match *'} {content[:60]!r}"
        case Stand(put):
            return f"GET {put.name} after 412"
        case Get(name):
            return f"GET {name}"
        case List(folder):
            return f"LIST {folder}"
        case Delete(name):
            return f"DELETE {name}"
        case Read(slot, state):
            return f"READ source {slot} If-Match {state}"
    return "…"


# ---------------------------------------------------------------------------------------------------- random schedules


def random_world(rng: random.Random, log: list[str] | None = None) -> tuple[World, list[tuple[int, Callable[[], Any]]]]:
    """A small archive, and what is to happen to it."""
    draw = rng.random
    states = (f"{number}{rng.choice(OUTCOMES)}" for number in range(99))
    slots = "abc"[: 1 + int(draw() * 2.2)]
    setup = Setup(
        {slot: next(states) for slot in slots},
        workers=draw() < 0.4,
        twice=draw() < 0.3,
        scores=draw() < 0.4,
        restarts=int(draw() * 3),
    )
    world = World(setup, log)
    happens: list[Callable[[], Any]] = [partial(world.start_run, rng.choice(DATES)) for _ in range(int(draw() * 3.5))]
    for _ in range(int(draw() * 3.5)):
        slot = rng.choice(slots)
        happens.append(partial(world.back, slot) if draw() < 0.3 else partial(world.replace, slot, next(states)))
    if draw() < 0.2:
        happens.append(partial(world.add, "n", next(states)))
    if draw() < 0.1:
        happens.append(partial(world.drop, slots[0]))
    happens += [world.start_gc] * int(draw() * 2)
    if draw() < 0.1:
        happens.append(world.litter)
    rng.shuffle(happens)
    pause = rng.choice((5, 15, 40))
    events = [(IDLE if draw() < 0.3 else int(draw() * pause), happen) for happen in happens]
    return world, [(0, partial(world.start_run, rng.choice(DATES))), *events]


def play(seed: int, log: list[str] | None = None) -> World:
    """Play one random schedule to its end."""
    rng = random.Random(seed)
    draw = rng.random
    world, events = random_world(rng, log)
    # each schedule has faults of its own: few or many, of one kind or of all
    rate = rng.choice((0.0, 0.02, 0.05, 0.15))
    faults = rng.sample(FAULTS, 1 + int(draw() * len(FAULTS)))
    waking = rng.choice((0.0, 0.02, 0.1))
    staying = rng.choice((0.0, 0.5, 0.9))  # how long one goes on before another's turn comes
    actors, asleep, late = world.actors, world.asleep, world.late
    actor, since = None, 0
    while actors or events:
        while events and (not actors or world.n_steps - since >= events[0][0]):
            since = world.n_steps
            events.pop(0)[1]()
        if not actors:
            continue
        if actor is None or draw() >= staying or actor not in actors:
            actor = actors[int(draw() * len(actors))]
        fault = None
        if rate and draw() < (rate if type(actor.asked) is not Put else 3 * rate):  # where it matters most
            fault = faults[int(draw() * len(faults))]
        world.step(actor, fault)
        if asleep and draw() < waking:
            world.wake(asleep[int(draw() * len(asleep))])
        if late and draw() < 0.1:
            world.deliver(int(draw() * len(late)))
    world.finish()
    return world


# ---------------------------------------------------------------------------------------------------- every schedule


Event = tuple[int, Callable[[World], Any]]


@dataclass(frozen=True)
class Scenario:
    """Something small that happens, of which every way to fail is tried.

    Parameters
    ----------
    events : tuple
        What happens, and how many steps after what happened before it; IDLE: when nobody works any more.
    turns : int
        How many steps one makes before the next one's turn comes.
    """

    name: str
    setup: Setup
    events: tuple[Event, ...]
    turns: int = 1

    def play(self, faults: dict[int, str], log: list[str] | None = None) -> int:
        """Play it with faults at these steps; return how many steps there were to fail at."""
        world = World(self.setup, log)
        events, naps, turn, since = list(self.events), [], 0, 0
        while world.actors or events or naps:
            while events and (not world.actors or world.n_steps - since >= events[0][0]):
                since = world.n_steps
                events.pop(0)[1](world)
            while naps and (not world.actors or naps[0][0] <= world.n_steps):
                world.wake(naps.pop(0)[1])
            if world.actors:
                actor = world.actors[turn // self.turns % len(world.actors)]
                fault = faults.get(world.n_steps)
                if fault == NAP:
                    naps.append((world.n_steps + NAP_STEPS, actor))
                world.step(actor, fault)
                turn += 1
        n_steps = world.n_steps
        world.finish()
        return n_steps


ONE = Setup({"a": "0ef"})
TWO = Setup({"a": "0ef", "b": "1ee"})
JUDGED = Setup({"a": "0ef"}, scores=True)


def _run(when: int, date: str = DATES[0]) -> Event:
    return when, lambda world: world.start_run(date)


def _gc(when: int) -> Event:
    return when, World.start_gc


def _moves(when: int, state: str = "8fe") -> Event:
    """A source is replaced: what was embedded fails, and what failed is embedded."""
    return when, lambda world: world.replace("a", state)


def _back(when: int) -> Event:
    return when, lambda world: world.back("a")


SCENARIOS = (
    Scenario("one run", TWO, (_run(0),)),
    Scenario("two runs at once", ONE, (_run(0), _run(0))),
    Scenario("two runs at once, of two dates", ONE, (_run(0), _run(0, DATES[1]))),
    Scenario("two runs, one ahead", ONE, (_run(0), _run(4)), turns=3),
    *(Scenario(f"a source replaced after {at}", ONE, (_run(0), _moves(at), _run(0))) for at in (1, 3, 5, 7, IDLE)),
    Scenario("a source replaced, and back", ONE, (_run(0), _moves(5), _run(0), _back(9))),
    Scenario("a source replaced, and back later", ONE, (_run(0), _moves(IDLE), _run(0), _back(6), _run(0))),
    Scenario("all rows move", ONE, (_run(0), _moves(IDLE, "8ff"), _run(0), _run(3)), turns=2),
    Scenario("all rows go", ONE, (_run(0), _moves(IDLE, "8--"), _run(0), _run(0))),
    Scenario("a listing of yesterday", ONE, (_run(0), _run(IDLE), _moves(1, "8ff"), _run(0))),
    Scenario("a source replaced twice", ONE, (_run(0), _moves(IDLE), _run(0), _moves(6, "9ee"), _run(0))),
    Scenario("run and gc", ONE, (_run(0), _moves(7), _run(0), _gc(2))),
    Scenario("gc when a state is old", ONE, (_run(0), _moves(IDLE), _run(0), _gc(4)), turns=2),
    Scenario("gc beside two plans", TWO, (_run(0), _moves(IDLE), _run(0), _gc(IDLE))),
    Scenario("two workers a shard", Setup({"a": "0ef"}, workers=True, twice=True), (_run(0),)),
    Scenario("scores", JUDGED, (_run(0),)),
    Scenario("scores by workers", Setup({"a": "0ef"}, workers=True, scores=True), (_run(0), _moves(9), _run(0))),
    Scenario("scores of two states", JUDGED, (_run(0), _moves(IDLE), _run(0))),
    Scenario("scores by two runs", JUDGED, (_run(0), _moves(5, "8ff"), _run(0))),
    Scenario("scores of nothing, then of something", Setup({"a": "0ff"}, scores=True), (_run(0), _moves(5), _run(0))),
)


def exhaustive(scenario: Scenario, depth: int, start: dict[int, str] | None = None) -> Iterator[Wrong | None]:
    """Every fault at every step of a scenario, up to ``depth`` of them in order; None for each that does no harm.

    A fault changes what happens after it, so the steps of a second one are those of the schedule with the first.
    """
    faults = start or {}
    try:
        n_steps = scenario.play(faults)
    except Violation as violation:
        yield Wrong(f"--scenario {scenario.name!r} --faults {json.dumps(json.dumps(faults))}", str(violation))
        return
    yield None
    if depth:
        for step in range(max(faults, default=-1) + 1, n_steps):
            for fault in (*FAULTS, NAP):
                yield from exhaustive(scenario, depth - 1, faults | {step: fault})


# ---------------------------------------------------------------------------------------------------- the command


@dataclass(frozen=True)
class Wrong:
    """A violation, and what plays it again."""

    again: str
    what: str
    n_steps: int = 0


def play_range(first: int, count: int) -> tuple[int, list[Wrong]]:
    """Play ``count`` seeds; return how many requests there were in all, and what was violated."""
    n_steps, wrong = 0, []
    for seed in range(first, first + count):
        log: list[str] = []
        try:
            n_steps += play(seed).n_steps
        except Violation as violation:
            with contextlib.suppress(Violation):
                play(seed, log)
            wrong.append(Wrong(f"--seed {seed} --count 1 --verbose", str(violation), len(log)))
    return n_steps, wrong


def play_scenario(name: str, depth: int) -> tuple[int, list[Wrong]]:
    """Play a scenario with every fault, or with every two."""
    found = list(exhaustive(next(each for each in SCENARIOS if each.name == name), depth))
    return len(found), [each for each in found if each]


def main(arguments: list[str] | None = None) -> int:
    """Play schedules as the command line says; 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills.simulation", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule; the next one has the next number")
    parser.add_argument("--count", type=int, default=20_000, help="schedules")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--exhaustive", choices=("singles", "pairs"), help="every fault of the scenarios instead")
    parser.add_argument("--scenario", choices=[each.name for each in SCENARIOS], help="only this one")
    parser.add_argument("--faults", help="and only these: JSON, by step")
    parser.add_argument("--verbose", action="store_true", help="every request of the first schedule")
    asked = parser.parse_args(arguments)
    log: list[str] | None = [] if asked.verbose else None
    if asked.faults is not None or asked.verbose:
        return _show(asked, log)
    started = time.perf_counter()
    if asked.exhaustive or asked.scenario:
        names = [each.name for each in SCENARIOS if asked.scenario in (None, each.name)]
        jobs = [(play_scenario, name, 2 if asked.exhaustive == "pairs" else 1) for name in names]
        what = f"every fault{', and every two,' * (asked.exhaustive == 'pairs')} in {len(names)} scenarios"
    else:
        size, last = 500, asked.seed + asked.count
        jobs = [(play_range, first, min(size, last - first)) for first in range(asked.seed, last, size)]
        what = f"seeds {asked.seed} to {last - 1}"
    count, wrong = 0, []
    with multiprocessing.Pool(asked.processes) as pool:
        for found, bad in pool.imap_unordered(_call, jobs):
            count += found
            wrong += bad
    count = count if asked.exhaustive or asked.scenario else asked.count
    seconds = time.perf_counter() - started
    said = f"{what}: {count:,} schedules in {seconds:,.0f} s, {len(wrong)} violations"
    if not wrong and not asked.exhaustive:
        said += f" (with 95 % confidence, fewer than {3 / count:.0e} of all)"  # the rule of three
    print(said)
    _record(said, not wrong, seconds)
    for kind, number in Counter(re.sub(r"[0-9]+", "#", each.what)[:60] for each in wrong).most_common():
        print(f"  {number} × {kind}")
    for each in sorted(wrong, key=lambda each: each.n_steps)[:5]:
        print(f"\n{each.what}\n  python -m tests.drills.simulation {each.again}")
    return 1 if wrong else 0


def _record(said: str, passed: bool, seconds: float) -> None:
    """Append a row to the file that BONAFIDE_DRILLS_RECORD names; tests/drills/table.py reads it."""
    if place := os.environ.get("BONAFIDE_DRILLS_RECORD"):
        row = {
            "number": "D07",
            "injects": "simulated: actors killed, asleep, late; replies lost; sources replaced; gc",
            "holds": "the tables of an undisturbed run; no row twice at any time; nothing to do afterwards",
            "measured": said,
            "test": said.partition(":")[0],
            "passed": passed,
            "wall_seconds": round(seconds, 1),
        }
        with open(place, "a") as file:
            file.write(json.dumps(row) + "\n")


def _call(job: tuple[Callable[..., Any], Any, Any]) -> Any:
    function, *arguments = job
    return function(*arguments)


def _show(asked: argparse.Namespace, log: list[str] | None) -> int:
    """Play one schedule, and print it."""
    what = "no violation"
    try:
        if asked.scenario:
            scenario = next(each for each in SCENARIOS if each.name == asked.scenario)
            scenario.play({int(step): fault for step, fault in json.loads(asked.faults or "{}").items()}, log)
        else:
            play(asked.seed, log)
    except Violation as violation:
        what = f"violation: {violation}"
    print("\n".join([*(log or []), what]))
    return 0 if what == "no violation" else 1


if __name__ == "__main__":
    sys.exit(main())
