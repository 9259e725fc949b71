"""The protocol keeps its promises in every simulated schedule (D07), and the plan in every order of events.

`make simulate` plays a million schedules, and every ordered pair of faults.
"""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.inputs.archive import Archive
from jobs.inputs.shards import Shard
from jobs.storage import Stored
from jobs.tables.plan import propose
from jobs.tables.protocol import Plan, PlanHistory, PlannedShard
from tests.drills.simulation.actors import CRASH_AFTER, CRASH_BEFORE, FAULTS, LATE, LOST, NAP, ORPHAN
from tests.drills.simulation.random_schedules import play, play_range
from tests.drills.simulation.scenarios import SCENARIOS, Scenario, exhaustive

N_SCHEDULES, N_EACH = 2_000, 1_000
LONG = {
    "scores of a deleted source",
    "scores by workers",
    "scores by two runs",
    "two runs that fold at once",
    "gc beside a run that folds",
}


@pytest.mark.D07
@pytest.mark.parametrize("first", range(0, N_SCHEDULES, N_EACH))
def test_nothing_is_lost_or_twice_in_random_schedules(first: int) -> None:
    n_steps, wrong = play_range(first, N_EACH)

    assert not wrong, (
        f"{len(wrong)} of {N_EACH}; first: {wrong[0].what}; python -m tests.drills.simulation {wrong[0].again}"
    )
    assert n_steps > 40 * N_EACH  # they did something


@pytest.mark.D07
@pytest.mark.parametrize(
    "scenario",
    [pytest.param(each, id=each.name, marks=[pytest.mark.long] if each.name in LONG else []) for each in SCENARIOS],
)
def test_every_single_fault_at_every_request_is_survived(scenario: Scenario) -> None:
    found = list(exhaustive(scenario, 1))

    wrong = [each for each in found if each]
    assert not wrong, f"{wrong[0].what}; python -m tests.drills.simulation {wrong[0].again}"
    assert len(found) == 1 + sum(map(len, scenario.play({})))


@pytest.mark.parametrize("scenario", [SCENARIOS[0], SCENARIOS[1], next(each for each in SCENARIOS if each.setup.twice)])
def test_a_fault_that_is_left_out_does_what_another_does(scenario: Scenario) -> None:
    like = {CRASH_AFTER: CRASH_BEFORE, ORPHAN: CRASH_BEFORE, LATE: LOST}
    n_left_out = 0
    for step, possible in enumerate(scenario.play({})):
        for fault in {*FAULTS, NAP}.difference(possible):
            logs: list[list[str]] = [[], []]
            for log, what in zip(logs, (fault, like[fault]), strict=True):
                scenario.play({step: what}, log)

            assert [line.partition("   <- ")[0] for line in logs[0]] == [
                line.partition("   <- ")[0] for line in logs[1]
            ]
            n_left_out += 1
    assert n_left_out > 10


def test_the_same_seed_plays_the_same_schedule() -> None:
    logs: list[list[str]] = [[], []]
    for log in logs:
        play(20_261_123, log)

    assert logs[0] == logs[1]


# ---------------------------------------------------------------------------------------------------- jobs.tables.plan


class Bucket:
    """Files and tars that come, change and go; and plans over them, some of which are done."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._tags = itertools.count()
        self.stored: dict[str, Stored] = {}
        self.history = PlanHistory()
        self.done: set[str] = set()

    def happen(self) -> None:
        """Add, replace or remove one object."""
        name = f"s3://bucket/{self._rng.choice('abcdef')}{self._rng.choice(['.tar', '.wav', '.flac'])}"
        if self._rng.random() < 0.25:
            self.stored.pop(name, None)
        else:
            self.stored[name] = Stored(name, self._rng.randrange(1, 3), f"tag{next(self._tags)}")

    def archive(self, share: float = 1.0) -> Archive:
        """The whole archive, or a random share of it, as if an input left some out."""
        named = [stored for _, stored in sorted(self.stored.items()) if self._rng.random() < share]
        tars = tuple(Shard("tar", (each,)) for each in named if each.uri.endswith(".tar"))
        return Archive(tars, tuple(each for each in named if not each.uri.endswith(".tar")), {})

    def never_read(self, planned: dict[str, PlannedShard]) -> set[str]:
        """The slots whose shards are planned and not committed."""
        return {slot for slot, shard in planned.items() if shard.name not in self.done}

    def sources_of(self, planned: PlannedShard) -> list[Stored]:
        """Those of a shard's sources that are there, in any state."""
        sources = Shard.from_content(planned.entry.work).sources if planned.entry.has_sources else ()
        return [self.stored[each.uri] for each in sources if each.uri in self.stored]

    def plan(self, archive: Archive) -> frozenset[str]:
        """As `embed` does; returns the slots of the archive."""
        proposal = propose(archive, self.history, self.done, self.stored.get)
        if proposal.new:
            number = len(self.history.plans)
            self.history = PlanHistory((*self.history.plans, Plan(f"run {number}", "2026-11-23", proposal.new)))
        return proposal.slots


@settings(max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_every_source_is_planned_once_and_as_it_is_whatever_comes_changes_and_goes(
    rng: random.Random, n_nights: int
) -> None:
    bucket = Bucket(rng)
    for _ in range(n_nights):
        for _ in range(rng.randrange(4)):
            bucket.happen()
        archive = bucket.archive(share=rng.choice([0.5, 1.0, 1.0]))
        before = dict(bucket.history.current)

        slots = bucket.plan(archive)

        current = {
            slot: Shard.from_content(planned.entry.work)
            for slot, planned in bucket.history.current.items()
            if planned.entry.has_sources
        }
        owners = [uri for shard in current.values() for uri in {source.uri for source in shard.sources}]
        assert len(owners) == len(set(owners)), "a source stands in two slots"
        for stored in (*archive.files, *(tar.sources[0] for tar in archive.containers)):
            ((slot, shard),) = [(slot, shard) for slot, shard in current.items() if stored in shard.sources]
            assert slot in slots
            assert bucket.history.current[slot].entry.state == shard.shard_id
        for slot in before.keys() - slots:
            now = bucket.history.current[slot]
            is_gone = slot in bucket.never_read(before) and not bucket.sources_of(before[slot])
            assert now.entry.is_dropped == (is_gone or before[slot].entry.is_dropped)
            assert now == before[slot] or is_gone, "a slot that the archive leaves out was planned again"
        n_plans = len(bucket.history.plans)
        bucket.done |= {bucket.history.current[slot].name for slot in slots if rng.random() < 0.8}
        bucket.done |= {each.name for each in bucket.history.current.values() if each.entry.is_dropped}
        assert bucket.plan(archive) == slots
        assert len(bucket.history.plans) == n_plans, "the same archive was planned twice"
