"""Copies of a store that runs write to meanwhile, in one order or another, and what becomes of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from jobs.tables.protocol import Plan
from tests.drills.simulation.ending import finish
from tests.drills.simulation.rows import EMBEDDINGS, LEDGER_OF, SCORES, rows_in
from tests.drills.simulation.violations import Violation
from tests.drills.simulation.world import DATES, Setup, World

Order = tuple[str, ...]
Objects = dict[str, bytes]

MARKERS, TABLES = "_commits/", "tables"
PLANS = (f"_plans/{SCORES}", f"_plans/{EMBEDDINGS}")
SAFE: Order = (MARKERS, TABLES, *PLANS)


def history_of(setup: Setup, replaced: dict[str, str]) -> list[Objects]:
    """Return what the store holds after each write of two nights; before the second, sources were replaced."""
    world, moments = World(setup), [dict[str, bytes]()]
    for date in DATES:
        world.start_run(date)
        while world.actors:
            world.step(world.actors[-1])
            if world.store.objects != moments[-1]:
                moments.append(dict(world.store.objects))
        for slot, state in replaced.items():
            world.add(slot, state)
    return moments


def copied(moments: Sequence[Objects], order: Order, rng: random.Random) -> Objects:
    """Return a copy: group by group, each listed when its turn comes, and its objects read one after the other.

    Between any two of these, the runs may write any number of objects. Half of the copies are brought up to date once.
    """
    last, found = len(moments) - 1, dict[str, bytes]()
    now = rng.randrange(len(moments))
    for group in order * rng.choice((1, 2)):
        now = _later(now, last, rng)
        for name in sorted(name for name in moments[now] if _group(name) == group):
            now = _later(now, last, rng)
            found[name] = moments[now][name]
    return found


def _later(now: int, last: int, rng: random.Random) -> int:
    return min(last, now + rng.choice((0, 0, 0, 1, 2, 5)))


def _group(name: str) -> str:
    return next((group for group in (MARKERS, *PLANS) if name.startswith(group)), TABLES)


def restored(setup: Setup, objects: Objects) -> World:
    """Return a world whose store is a copy."""
    world = World(setup)
    for name, content in objects.items():
        world.store.place(name, content)
        if (top := name.partition("/")[0]) in LEDGER_OF:
            world.store._shown[top] |= {row.partition("@")[0]: name for row in rows_in(content)}
    for ledger, known in world.store.known.items():
        while content := objects.get(f"_plans/{ledger}/{known.n_plans + 1:06d}.json"):
            known.add(Plan.from_json(content, "a plan"))
    return world


def trouble_after(setup: Setup, objects: Objects) -> str:
    """Go on from a copy, with the sources as they are now; return what is wrong at the end, or an empty text."""
    try:
        finish(restored(setup, objects))
    except (Violation, KeyError) as found:
        return str(found) or "a violation"
    return ""
