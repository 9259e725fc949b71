"""The world of a schedule: the sources, the store, and the actors that work with them, each at one request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from jobs.tables.protocol import Protocol
from jobs.tables.requests import Exist, Fetch, Get, List, Put
from tests.drills.simulation import procedures
from tests.drills.simulation.actors import (
    CRASH_AFTER,
    CRASH_BEFORE,
    LATE,
    LOST,
    NAP,
    ORPHAN,
    SLEEP,
    Actor,
    Delete,
    LookUp,
    Read,
    Steps,
    Workers,
    described,
)
from tests.drills.simulation.rows import EMBEDDINGS, SCORES, identify
from tests.drills.simulation.store import Store
from tests.drills.simulation.violations import Violation

DATES = ("01-31", "02-01")
MAX_STEPS = 5_000  # every schedule that ends takes fewer
IDLE = MAX_STEPS  # an event at this step happens when no actor is left


@dataclass(frozen=True)
class Setup:
    """What all runs of a schedule have in common."""

    sources: dict[str, str]
    workers: bool = False
    twice: bool = False
    scores: bool = False
    restarts: int = 2
    assemblers: int = 0
    fold_from: int = 0  # commits from which on a run folds them; 0: no run folds, or looks for a checkpoint


def _process(actor: Actor, actors: list[Actor]) -> list[Actor]:
    """Return all of these actors that are one process with this one: the tasks of an assembler."""
    if actor.assembler is None:
        return [actor]
    return [each for each in actors if (each.workers, each.assembler) == (actor.workers, actor.assembler)]


class World:
    """The sources, the store, and the actors that work with them."""

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
        self.embeddings = Protocol(EMBEDDINGS, identify, fold_from=setup.fold_from)
        self.scores = Protocol(SCORES, identify, fold_from=setup.fold_from)

    # actors and their faults

    def start(
        self,
        kind: str,
        steps: Steps,
        workers: Workers | None = None,
        task: int = 0,
        assembler: int | None = None,
    ) -> None:
        """Add an actor, and take it to its first request."""
        self._n_started += 1
        actor = Actor(f"{kind} {self._n_started}", steps, workers, task, assembler)
        self.actors.append(actor)
        self._go(actor, None)

    def start_run(self, date: str = DATES[0]) -> None:
        """Start a run, as a person or a scheduler does."""
        self.start("run", procedures.run(self, date))

    def start_gc(self) -> None:
        """Start a collection."""
        self.start("gc", procedures.gc(self))

    def step(self, actor: Actor, fault: str | None = None) -> None:
        """Carry out an actor's request, or strike the actor with a fault."""
        self.n_steps += 1
        if self.n_steps > MAX_STEPS:
            raise Violation(f"{actor.name} does not end: {actor.asked}")
        if self._log is not None:
            self._log.append(f"{actor.name:10} {described(actor.asked)}{f'   <- {fault}' if fault else ''}")
        if fault is None:
            self._perform(actor)
        elif fault in (SLEEP, NAP):
            for each in _process(actor, self.actors):
                self.actors.remove(each)
                self.asleep.append(each)
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
            # applied, but the reply is lost: an actor that survives repeats the request
            if type(asked) is Put:
                self.store.put(asked)
            elif type(asked) is Delete:
                self.store.delete(asked.name)
            if fault == CRASH_AFTER:
                self._lose(actor)

    def wake(self, actor: Actor) -> None:
        """Let a sleeping actor go on."""
        for each in _process(actor, self.asleep):
            self.asleep.remove(each)
            self.actors.append(each)

    def deliver(self, index: int = 0) -> None:
        """Carry out a request that was delayed for hours; no actor waits for its reply."""
        name, asked = self.late.pop(index)
        done = self.store.put(asked)
        if self._log is not None:
            self._log.append(f"{name:10} {described(asked)}   <- arrives, {'and counts' if done else 'and is refused'}")

    def _perform(self, actor: Actor) -> None:
        asked = actor.asked
        kind = type(asked)
        if kind is List:
            self._go(actor, self.store.listing(asked.folder))
        elif kind is Exist:
            self._go(actor, [name for name in asked.names if name in self.store.objects])
        elif kind is Fetch:
            self._go(actor, [self.store.objects.get(name) for name in asked.names])
        elif kind is Get:
            self._go(actor, self.store.objects.get(asked.name))
        elif kind is Put:
            if self.store.put(asked):
                self._go(actor, None)
            else:
                actor.asked = LookUp(asked)
        elif kind is LookUp:
            found = self.store.get(asked.put.name)
            self._go(actor, None if found.content == asked.put.content else found)
        elif kind is Read:
            self._go(actor, self.sources.get(asked.slot) == asked.state)
        elif kind is Delete:
            self.store.delete(asked.name)
            self._go(actor, None)
        else:
            self._go(actor, None)

    def _go(self, actor: Actor, answer: Any) -> None:
        """Answer an actor, and take it to its next request."""
        try:
            actor.asked = actor.steps.send(answer)
        except StopIteration as end:
            self.actors.remove(actor)
            self._ended(actor, end.value)
            return
        if type(actor.asked) is Workers:
            self.actors.remove(actor)
            workers = actor.asked
            workers.driver = actor
            for number, task in enumerate(workers.tasks):
                for copy in range(1 + workers.twice):
                    assembler = (number + copy) % workers.assemblers if workers.assemblers else None
                    self.start("worker", task(), workers, number, assembler)

    def _ended(self, actor: Actor, answer: Any) -> None:
        """Note the end of a run or gc, or give a worker's result to its driver: the first result of each task."""
        workers = actor.workers
        if workers is None:
            self.ends[str(answer)] += 1
        elif workers.driver is not None and actor.task not in workers.answers:
            workers.answers[actor.task] = answer
            if len(workers.answers) == len(workers.tasks):
                self.actors.append(workers.driver)
                self._go(workers.driver, [workers.answers[number] for number in range(len(workers.tasks))])

    def _lose(self, actor: Actor) -> None:
        """Kill an actor: a worker is replaced, up to a limit, and a run may be started again."""
        lost, workers = _process(actor, self.actors), actor.workers
        for each in lost:
            self.actors.remove(each)
            each.steps.close()
        if workers is None:
            if actor.name.startswith("run"):
                self._start_again()
            return
        if workers.driver is None:
            return
        is_replaced = workers.lives > 0
        workers.lives -= is_replaced
        for each in lost:
            if is_replaced:
                self.start("worker", workers.tasks[each.task](), workers, each.task, each.assembler)
            else:
                self._ended(each, None)

    def _lose_driver(self, workers: Workers) -> None:
        """Kill a run while its workers go on."""
        if workers.driver is not None and len(workers.answers) < len(workers.tasks):
            workers.driver.steps.close()
            workers.driver = None
            self._start_again()

    def _start_again(self) -> None:
        if self.restarts:
            self.restarts -= 1
            self.start_run()

    # what happens to the archive

    def replace(self, slot: str, state: str) -> None:
        """Replace a source by another state under the same name."""
        if slot in self.sources:
            self.sources[slot] = state
            self._past[slot].append(state)

    def back(self, slot: str) -> None:
        """Put back the first state of a source."""
        if slot in self.sources:
            self.sources[slot] = self._past[slot][0]

    def add(self, slot: str, state: str) -> None:
        """Add a source."""
        self.sources[slot] = state
        self._past.setdefault(slot, []).append(state)

    def drop(self, slot: str) -> None:
        """Remove a source; its rows stay in the tables."""
        self.sources.pop(slot, None)

    def litter(self) -> None:
        """Store objects that no plan names: of an unknown slot, and in a folder that no slot uses."""
        for name in (
            "embeddings/k-x.parquet",
            "failures/run_date=?/k-a.parquet",
            f"_commits/{EMBEDDINGS}/x-000009.json",
        ):
            self.store.place(name, b"litter")
