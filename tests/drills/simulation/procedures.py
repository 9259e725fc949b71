"""The steps of `nightly`, `embed` and `gc`, in the order in which the verbs take them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from jobs.tables.names import Names
from jobs.tables.plan import left_behind, propose_scores, tombstones
from jobs.tables.plan_history import Shards
from jobs.tables.protocol import Entry, Marker, Plan, PlanHistory, PlannedShard, Protocol
from jobs.tables.requests import Get, List
from tests.drills.simulation.actors import Delete, Nothing, Read, Steps, Workers
from tests.drills.simulation.rows import (
    EMBEDDINGS,
    LEDGER_OF,
    SCORES,
    TABLES,
    identify,
    part,
    place,
    rows_in,
    rows_of,
    slot_of,
)
from tests.drills.simulation.store import stem
from tests.drills.simulation.violations import Violation

if TYPE_CHECKING:
    from tests.drills.simulation.world import World


def run(world: World, date: str) -> Steps:
    """Run `nightly`, or `embed` where the setup has no scores."""
    yield Nothing()  # some time passes between a run's start and its first request
    table, listed = world.embeddings, world.sources
    if world.setup.fold_from:  # a run looks at what is committed before it plans
        yield from done_of(world, table, (yield from table.read()))

    def propose(history: PlanHistory) -> Plan | None:
        nonlocal listed
        listed = dict(world.sources)
        have = {slot: shard.entry.state for slot, shard in history.current.items()}
        new = tuple(Entry(slot, state) for slot, state in listed.items() if have.get(slot) != state)
        committed = set(map(stem, world.store.listing(table.commits_folder)))
        gone = [slot for slot, shard in history.current.items() if slot not in listed and shard.name not in committed]
        return plan(history, date, (*new, *tombstones(history, committed, gone)))

    history: PlanHistory = yield from table.freeze(propose)
    done: Names = yield from done_of(world, table, history)
    for shard in history.current.values():
        if shard.entry.is_dropped and shard.name not in done:
            yield from drop(world, shard, history, done)
    mine = [history.current[slot] for slot in listed]
    tasks: list[Callable[[], Steps]] = [partial(embed, world, shard) for shard in mine if shard.name not in done]
    whole = yield from work(world, tasks, world.setup.assemblers)
    if whole:
        must_show(world, EMBEDDINGS, mine)
    if world.setup.scores:
        done = yield from done_of(world, table, history)
        scored: PlanHistory = yield from world.scores.read()
        others = left_behind(history, scored, (yield from done_of(world, world.scores, scored)), listed)
        whole &= yield from score(world, (history.current.having(listed) | others).committed(done), date)
    yield from fold(world, table, history)
    return "done" if whole else "again"


def done_of(world: World, table: Protocol, history: PlanHistory) -> Steps:
    """Return what is committed, by a checkpoint where runs fold."""
    return (yield from table.done(history if world.setup.fold_from else None))


def fold(world: World, table: Protocol, history: PlanHistory) -> Steps:
    """Fold what is committed, as a run does that writes its record."""
    if world.setup.fold_from:
        yield from table.fold(history, (yield from table.done(history)))


def embed(world: World, shard: PlannedShard) -> Steps:
    state = shard.entry.state
    for _ in range(1 + bool(world.setup.assemblers)):  # an assembler that is killed between has half a shard
        if not (yield Read(shard.slot, state)):
            return None  # set aside
    tables = {table: part(shard, table, rows_of(shard.slot, state, table)) for table in TABLES[EMBEDDINGS]}
    return (yield from world.embeddings.commit(shard, shard.slot, tables, {}))


def drop(world: World, shard: PlannedShard, history: PlanHistory, done: Names) -> Steps:
    """Commit a tombstone."""
    before = history.last_committed(done).get(shard.slot)
    empty = {table: part(shard, table, []) for table in TABLES[EMBEDDINGS]}
    return (
        yield from world.embeddings.commit_dropped(
            shard,
            before.name if before else None,
            empty,
            lambda table, stands: part(shard, table, rows_in(stands.content)),
            {},
        )
    )


def score(world: World, embedded: Shards, date: str) -> Steps:
    table = world.scores
    history: PlanHistory = yield from table.freeze(
        lambda history: plan(history, date, tuple(propose_scores(embedded, history)))
    )
    done: Names = yield from done_of(world, table, history)
    mine = [history.current[slot] for slot in embedded]
    whole = yield from work(world, [partial(judge, world, shard) for shard in mine if shard.name not in done])
    if whole:
        must_show(world, SCORES, mine)
    yield from fold(world, table, history)
    return whole


def judge(world: World, shard: PlannedShard) -> Steps:
    """Score a shard: read its rows as :meth:`jobs.tables.ledger.Ledger.read` does, and commit their scores."""
    text = yield Get(world.embeddings.marker_name(shard.entry.state))
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
    return (yield from world.scores.commit(shard, shard.slot, {"scores": part(shard, "scores", rows)}, {}))


def work(world: World, tasks: list[Callable[[], Steps]], assemblers: int = 0) -> Steps:
    """Do tasks one after another, each by a worker, or by assemblers; return True if all were committed."""
    if not tasks:
        return True
    if world.setup.workers or assemblers:
        return None not in (yield Workers(tasks, world.setup.twice, assemblers))
    made = []
    for task in tasks:
        made.append((yield from task()))
    return None not in made


def must_show(world: World, ledger: str, mine: list[PlannedShard]) -> None:
    """Check that the tables hold everything that a successful run listed, or something newer."""
    known = world.store.known[ledger]
    for shard in mine:
        if known.current[shard.slot] == shard.name and not world.store.check(ledger, shard.slot):
            raise Violation(f"a run ended well, and {shard.name} is not committed")
        for table in TABLES[ledger]:
            content = world.store.objects.get(place(shard, table))
            of = content.decode().split("|")[0] if content else ""
            if content is not None and known.planned[of][2] < shard.number:
                raise Violation(f"a run ended well, and its {table} are those of {of}, not of {shard.name}")


def gc(world: World) -> Steps:
    """Collect garbage without a grace time."""
    objects: list[str] = []
    for table in LEDGER_OF:
        objects += yield List(table)
    for ledger, protocol in ((EMBEDDINGS, world.embeddings), (SCORES, world.scores)):
        markers = yield List(protocol.commits_folder)
        mine = [name for name in objects if name.partition("/")[0] in TABLES[ledger]]
        for name in (yield from protocol.garbage(mine, markers, slot_of)):
            yield Delete(name)
    return "collected"


# what happens to the archive


def plan(history: PlanHistory, date: str, entries: tuple[Entry, ...]) -> Plan | None:
    """Return a plan as runs propose it: the same for the same entries, date and earlier plans."""
    text = " ".join(f"{each.slot}:{each.state}" for each in entries)
    return Plan(f"{date}-{zlib.crc32(f'{len(history.plans)} {text}'.encode()):08x}", date, entries) if entries else None
