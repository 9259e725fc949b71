"""Drills of drivers that sleep, are killed or are asked to end: the tables are those of an undisturbed run."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.drills.archive import seeded_tars
from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.runs import SLACK
from tests.drills.work import (
    ASSEMBLER,
    AUDIO,
    MARKER,
    committed,
    fetched,
    markers_put,
    slow,
)
from tests.support.proxy import Request

WORKER = r"^ray::(Map|Assembler)|jobs\.(execution|decoding)"  # with and without Ray


@drill(
    "D04",
    injects="SIGSTOP to an assembler right after it wrote a shard's rows; a second run does the shard; then SIGCONT",
    holds="the late marker gets 412; one digest, no alarm; both end with 0",
    limit=150,
)
def test_an_assembler_that_slept_finds_its_shard_done_and_leaves_it(lab: Lab) -> None:
    lab.proxy.when("PUT", "/embeddings/").nth(3).then(lambda _: first.kill(ASSEMBLER, signal.SIGSTOP))
    first = lab.start_embed()
    lab.wait_for(lambda: lab.proxy.count("PUT", "/embeddings/") >= 3, run=first)
    slept = time.monotonic()
    lab.embed("--encoders", 1, on=lab.ray())
    lab.assert_same_as_undisturbed()
    before = lab.markers()

    first.kill(ASSEMBLER, signal.SIGCONT)
    first.wait()

    first.assert_ended(0)
    assert any(each.applied == 412 for each in lab.proxy.requests("PUT", MARKER))
    assert lab.markers() == before
    assert not any(marker["alarms"] for marker in before.values())
    lab.assert_clean()
    lab.assert_same_as_undisturbed()
    lab.held(f"it was stopped for {first.started + first.seconds - slept:.0f} s")


@drill(
    "D05",
    injects="SIGKILL to the driver at 30 % and at 80 % of the shards; the same command again",
    holds="no byte of a committed shard is read again; the first new commit within 30 s",
    limit=120,
)
@pytest.mark.parametrize(
    ("runner", "shares"),
    [("local", (0.3,)), pytest.param("ray", (0.3, 0.8), marks=pytest.mark.long)],
    ids=["once", "twice, on Ray"],
)
def test_a_killed_driver_resumes_where_it_stopped(lab: Lab, runner: str, shares: tuple[float, ...]) -> None:
    ray = lab.ray() if runner == "ray" else None
    for share in shares:
        lab.proxy.clear()
        n_left = round(share * lab.archive.n_shards) - len(lab.markers())
        lab.proxy.when("PUT", MARKER).nth(n_left).then(lambda _: lab.runs[-1].kill())
        lab.proxy.when("PUT", MARKER).after(n_left).reply(503, "SlowDown")  # its assemblers live on for a while
        run = lab.start_embed("--runner", runner, on=ray).wait()
        assert run.code == -signal.SIGKILL
        lab.wait_for(lambda run=run: not run.processes(WORKER))  # they notice it, and end
        done = committed(lab)
        assert len(done) >= n_left
        lab.proxy.log.clear()
    lab.proxy.clear()
    begun = time.monotonic()

    lab.embed("--runner", runner, on=ray)

    lab.recovered(markers_put(lab)[0].started - begun)
    lab.assert_same_as_undisturbed()
    assert fetched(lab.proxy.log) == set(lab.archive.tars) - done
    assert markers_put(lab)[0].started - begun < 30.0 * SLACK


@drill(
    "D06",
    injects="SIGKILL to the driver before, and right after, each PUT of its run: plan, canaries, rows, marker, record",
    holds="at each of them the same command again completes",
    limit=900,
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_driver_may_be_killed_at_every_write(lab: Lab, when: str) -> None:
    lab.new_archive(seeded_tars(6, 3))
    places: list[str] = []
    while True:
        lab.new_output()
        lab.proxy.clear()
        rule = lab.proxy.when("PUT").nth(len(places) + 1)
        kill: Callable[[Request], object] = lambda _: lab.runs[-1].kill()  # noqa: E731 - one line for both
        rule = rule.before(kill) if when == "before" else rule.then(kill)
        run = lab.start_embed(on=lab.ray()).wait()
        if not rule.struck:
            run.assert_ended(0)
            break
        places.append(rule.struck[0].kind)
        assert run.code == -signal.SIGKILL
        lab.proxy.clear()
        lab.embed(on=lab.ray())
        try:
            lab.assert_same_as_undisturbed()
            assert len(lab.markers()) == lab.archive.n_shards
            assert not any(marker["alarms"] for marker in lab.markers().values())
        except AssertionError as error:
            raise AssertionError(f"{when} PUT {len(places)}, of a {places[-1]}") from error
    # an empty table, a plan, the canaries, a record; 6 markers, 6 objects of embeddings, and 3 of failures: every
    # second shard has one. Several commits are under way at once, so in each run another one may be the n-th
    assert len(places) == 3 + 6 + 9 + 1
    assert [*places[:3], places[-1]] == ["table PUT", "plan PUT", "canaries PUT", "record PUT"]
    assert set(places[3:-1]) == {"marker PUT", "table PUT"}
    lab.held(f"{len(places)} places {when} a PUT")


@drill(
    "D10",
    injects="SIGTERM to the driver, with shards half done",
    holds="no new shard is begun, those nearly done are committed, exit 75 within 10 s",
    limit=60,
)
def test_a_notice_is_acted_on_at_once(lab: Lab) -> None:
    run = lab.start_embed("--encoders", 2, inject=[slow(0.15)])
    lab.wait_for(lambda: len(markers_put(lab)) >= 2, run=run)

    run.kill(number=signal.SIGTERM)
    told = time.monotonic()
    run.wait()

    took = time.monotonic() - told
    run.assert_ended(75, "SIGTERM")
    assert took < 10.0
    late = [each for each in lab.proxy.requests("GET", AUDIO) if each.started > told + 1.0]
    assert not late, "a task that was under way may have begun; no more than that"
    after = [each for each in markers_put(lab) if each.started > told]
    assert after, "those nearly done were thrown away"
    lab.held(f"75 after {took:.1f} s, {len(after)} shards committed meanwhile")
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed()


@drill(
    "D29",
    injects="two drivers on one output at once",
    holds="one plan, one marker a shard, one set of rows; both end with 0, or one with 75",
    limit=120,
)
def test_two_runs_on_one_output_end_with_one_set_of_rows(lab: Lab) -> None:
    runs = [lab.start_embed("--encoders", 1) for _ in range(2)]
    for run in runs:
        run.wait()

    codes = sorted(run.code or 0 for run in runs)
    assert codes in ([0, 0], [0, 75]), "\n".join(map(str, runs))
    lab.assert_same_as_undisturbed()
    assert len(lab.names("_plans")) == 1
    assert len(lab.markers()) == lab.archive.n_shards
    assert not [name for name, marker in lab.markers().items() if marker["alarms"]]
    lab.assert_clean()
    lab.held(f"exit codes {codes[0]} and {codes[1]}, {max(run.seconds for run in runs):.0f} s")
