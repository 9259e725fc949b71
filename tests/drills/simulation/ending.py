"""The end of a schedule: a last run without faults, and what must hold afterwards."""

from __future__ import annotations

from jobs.tables import folding
from tests.drills.simulation.rows import EMBEDDINGS, SCORES, TABLES, digest_of, rows_of
from tests.drills.simulation.store import stem
from tests.drills.simulation.violations import Violation
from tests.drills.simulation.world import DATES, World


def finish(world: World) -> None:
    """Run once without faults, then wake the sleepers; check that the tables are those of the final sources."""
    _run_all(world)
    _last_run(world, "the last run")
    if world.asleep or world.late:
        world.actors, world.asleep = world.asleep, []
        while world.late:
            world.deliver()
        _run_all(world)
        _compare(world, "an actor that came late")
        _last_run(world, "the run after an actor that came late")
    for ledger, known in world.store.known.items():
        if waiting := [slot for slot in known.current if not world.store.check(ledger, slot)]:
            raise Violation(f"{ledger}: {waiting} stay planned and not done")
    n_puts = world.store.n_puts
    _last_run(world, "a run with nothing to do")
    if world.store.n_puts != n_puts:
        raise Violation(f"a run with nothing to do wrote {world.store.n_puts - n_puts} objects")
    n_objects = len(world.store.objects)
    world.start_gc()
    _run_all(world)
    left = [name for name in world.store.objects if not _belongs(world, name)]
    if left:
        raise Violation(f"gc left {left}")
    if len(world.store.objects) != n_objects:
        _last_run(world, "the run after gc")
    if world.store.n_puts != n_puts:
        raise Violation(f"gc took what a run had to write again: {world.store.n_puts - n_puts} objects")


def _run_all(world: World) -> None:
    while world.actors:
        world.step(world.actors[0])


def _last_run(world: World, who: str) -> None:
    before = world.ends["done"]
    world.start_run(DATES[1])
    _run_all(world)
    if world.ends["done"] == before:
        raise Violation(f"{who} did not end well")
    _compare(world, who)
    for ledger in (EMBEDDINGS, SCORES)[: 1 + world.setup.scores]:
        if world.store.known[ledger].current.keys() <= world.sources.keys():
            golden = digest_of([row for table in TABLES[ledger] for row in _golden(world, table)])
            if world.store.digest(ledger) != golden:
                raise Violation(f"{who}: the markers' digest is not that of the undisturbed run")


def _golden(world: World, table: str) -> list[str]:
    return sorted(row for slot, state in world.sources.items() for row in rows_of(slot, state, table))


def _compare(world: World, who: str) -> None:
    """Check the tables against those of one undisturbed run over the final sources; removed sources may leave rows."""
    for table in ("failures", "embeddings", "scores")[: 2 + world.setup.scores]:
        shown = [row for row in world.store.table(table) if row.partition("/")[0] in world.sources]
        if shown != _golden(world, table):
            raise Violation(f"{who}: {table} shows {shown}, and {_golden(world, table)} is right")


def _belongs(world: World, name: str) -> bool:
    top, _, rest = name.partition("/")
    if top == "_plans" or rest.startswith(folding.FOLDER):
        return True
    if top == "_commits":
        return stem(name) in world.store.known[rest.partition("/")[0]].current.values()
    return world.store.named(name)
