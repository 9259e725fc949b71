"""Small scenarios, in which every fault, and every two faults in order, are tried at every request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.drills.simulation.actors import NAP, faults_of
from tests.drills.simulation.ending import finish
from tests.drills.simulation.violations import Violation, Wrong
from tests.drills.simulation.world import DATES, IDLE, Setup, World

NAP_STEPS = 8
Event = tuple[int, Callable[[World], Any]]


@dataclass(frozen=True)
class Scenario:
    """A short sequence of events, small enough to try every fault at every request.

    Parameters
    ----------
    events : tuple
        Each event, and how many steps after the one before it happens; IDLE: when no actor is left.
    turns : int
        How many steps an actor makes before the next actor's turn.
    """

    name: str
    setup: Setup
    events: tuple[Event, ...]
    turns: int = 1

    def play(self, faults: dict[int, str], log: list[str] | None = None) -> list[tuple[str, ...]]:
        """Play it with faults at these steps; return the faults that may strike at each step."""
        world = World(self.setup, log)
        possible = []
        events, naps, turn, since = list(self.events), [], 0, 0
        while world.actors or events or naps:
            while events and (not world.actors or world.n_steps - since >= events[0][0]):
                since = world.n_steps
                events.pop(0)[1](world)
            while naps and (not world.actors or naps[0][0] <= world.n_steps):
                world.wake(naps.pop(0)[1])
            if world.actors:
                actor = world.actors[turn // self.turns % len(world.actors)]
                possible.append(faults_of(actor))
                fault = faults.get(world.n_steps)
                if fault == NAP:
                    naps.append((world.n_steps + NAP_STEPS, actor))
                world.step(actor, fault)
                turn += 1
        finish(world)
        return possible


ONE = Setup({"a": "0ef"})
TWO = Setup({"a": "0ef", "b": "1ee"})
JUDGED = Setup({"a": "0ef"}, scores=True)
FOLDED = Setup({"a": "0ef", "b": "1ee"}, fold_from=1)


def _run(when: int, date: str = DATES[0]) -> Event:
    return when, lambda world: world.start_run(date)


def _gc(when: int) -> Event:
    return when, World.start_gc


def _moves(when: int, state: str = "8fe") -> Event:
    """Replace a source: the utterance that was embedded fails, and the one that failed is embedded."""
    return when, lambda world: world.replace("a", state)


def _back(when: int) -> Event:
    return when, lambda world: world.back("a")


def _gone(when: int) -> Event:
    return when, lambda world: world.drop("a")


def _comes(when: int) -> Event:
    return when, lambda world: world.add("a", "9fe")


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
    *(Scenario(f"a source deleted after {at}", TWO, (_run(0), _gone(at), _run(0))) for at in (1, 3, 5, 7)),
    Scenario("a source deleted while it is replaced", ONE, (_run(0), _moves(IDLE), _run(0), _gone(5), _run(0), _gc(5))),
    Scenario("a source deleted, and another there", ONE, (_run(0), _gone(4), _run(0), _comes(6), _run(0))),
    Scenario("scores of a deleted source", JUDGED, (_run(0), _moves(IDLE), _run(0), _gone(6), _run(0))),
    Scenario("run and gc", ONE, (_run(0), _moves(7), _run(0), _gc(2))),
    Scenario("gc when a state is old", ONE, (_run(0), _moves(IDLE), _run(0), _gc(4)), turns=2),
    Scenario("gc beside two plans", TWO, (_run(0), _moves(IDLE), _run(0), _gc(IDLE))),
    Scenario("one run that folds", FOLDED, (_run(0), _run(IDLE))),
    Scenario("two runs that fold at once", FOLDED, (_run(0), _run(0), _moves(IDLE), _run(0))),
    Scenario("gc beside a run that folds", FOLDED, (_run(0), _moves(IDLE), _run(0), _gc(9), _gc(3)), turns=2),
    Scenario("two workers a shard", Setup({"a": "0ef"}, workers=True, twice=True), (_run(0),)),
    Scenario("one assembler of two shards", Setup({"a": "0ef", "b": "1ee"}, assemblers=1), (_run(0),)),
    Scenario("two assemblers of one shard", Setup({"a": "0ef"}, assemblers=2, twice=True), (_run(0), _run(9))),
    Scenario("assemblers while a source is replaced", Setup({"a": "0ef"}, assemblers=2), (_run(0), _moves(6), _run(0))),
    Scenario("scores", JUDGED, (_run(0),)),
    Scenario("scores by workers", Setup({"a": "0ef"}, workers=True, scores=True), (_run(0), _moves(9), _run(0))),
    Scenario("scores of two states", JUDGED, (_run(0), _moves(IDLE), _run(0))),
    Scenario("scores by two runs", JUDGED, (_run(0), _moves(5, "8ff"), _run(0))),
    Scenario("scores of nothing, then of something", Setup({"a": "0ff"}, scores=True), (_run(0), _moves(5), _run(0))),
)


def exhaustive(scenario: Scenario, depth: int, start: dict[int, str] | None = None) -> Iterator[Wrong | None]:
    """Try every fault at every step of a scenario, up to ``depth`` in order; yield None where no promise breaks.

    A fault changes what happens after it, so the steps of a second one are those of the schedule with the first.
    """
    faults = start or {}
    try:
        possible = scenario.play(faults)
    except Violation as violation:
        yield Wrong(f"--scenario {scenario.name!r} --faults {json.dumps(json.dumps(faults))}", str(violation))
        return
    yield None
    if depth:
        for step in range(max(faults, default=-1) + 1, len(possible)):
            for fault in possible[step]:
                yield from exhaustive(scenario, depth - 1, faults | {step: fault})


def first_faults(scenario: Scenario) -> list[dict[int, str]]:
    """Return every fault that may be a schedule's first; each begins schedules that can be played apart."""
    return [{step: fault} for step, faults in enumerate(scenario.play({})) for fault in faults]


def play_scenario(name: str, depth: int, start: dict[int, str] | None = None) -> tuple[int, list[Wrong]]:
    """Play a scenario with every fault, or with every two in order; return how many schedules, and which break."""
    found = list(exhaustive(next(each for each in SCENARIOS if each.name == name), depth, start))
    return len(found), [each for each in found if each]
