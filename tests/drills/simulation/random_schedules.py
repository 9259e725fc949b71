"""Random schedules: a small archive, what happens to it, and faults, all drawn from one seed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from jobs.tables.requests import Put
from tests.drills.simulation.actors import FAULTS
from tests.drills.simulation.ending import finish
from tests.drills.simulation.rows import OUTCOMES
from tests.drills.simulation.violations import Violation, Wrong
from tests.drills.simulation.world import DATES, IDLE, Setup, World


def random_world(rng: random.Random, log: list[str] | None = None) -> tuple[World, list[tuple[int, Callable[[], Any]]]]:
    """Draw a small archive, and the events of its schedule."""
    draw = rng.random
    states = (f"{number}{rng.choice(OUTCOMES)}" for number in range(99))
    slots = "abc"[: 1 + int(draw() * 2.2)]
    setup = Setup(
        {slot: next(states) for slot in slots},
        workers=draw() < 0.4,
        twice=draw() < 0.3,
        scores=draw() < 0.4,
        restarts=int(draw() * 3),
        assemblers=int(draw() * 5) // 2,
    )
    world = World(setup, log)
    happens: list[Callable[[], Any]] = [partial(world.start_run, rng.choice(DATES)) for _ in range(int(draw() * 3.5))]
    for _ in range(int(draw() * 3.5)):
        slot = rng.choice(slots)
        happens.append(partial(world.back, slot) if draw() < 0.3 else partial(world.replace, slot, next(states)))
    if draw() < 0.2:
        happens.append(partial(world.add, "n", next(states)))
    if draw() < 0.3:
        happens.append(partial(world.drop, slots[0]))
        if draw() < 0.3:
            happens.append(partial(world.add, slots[0], next(states)))
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
    # schedules differ in their faults: few or many, of one kind or of all
    rate = rng.choice((0.0, 0.02, 0.05, 0.15))
    faults = rng.sample(FAULTS, 1 + int(draw() * len(FAULTS)))
    waking = rng.choice((0.0, 0.02, 0.1))
    staying = rng.choice((0.0, 0.5, 0.9))  # probability that the same actor makes the next step
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
        if rate and draw() < (rate if type(actor.asked) is not Put else 3 * rate):  # faults of writes do most harm
            fault = faults[int(draw() * len(faults))]
        world.step(actor, fault)
        if asleep and draw() < waking:
            world.wake(asleep[int(draw() * len(asleep))])
        if late and draw() < 0.1:
            world.deliver(int(draw() * len(late)))
    finish(world)
    return world


def play_range(first: int, count: int) -> tuple[int, list[Wrong]]:
    """Play ``count`` seeds; return the number of requests in all, and the violations."""
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
