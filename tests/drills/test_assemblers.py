"""Drills of assemblers that are killed in the middle of their commits: the tables are those of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.work import ASSEMBLER, AUDIO, MARKER, NOTED, amplification, slow
from tests.support.proxy import Request


@drill(
    "D62",
    injects="SIGKILL to both assemblers of a run before, or right after, a PUT of rows, and one of a marker",
    holds="others start in their place, the next pass does what is missing; ends with 0; nothing lost, twice, changed",
    limit=240,
)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["/embeddings/", MARKER], ids=["rows", "marker"])
def test_assemblers_may_be_killed_in_the_middle_of_a_commit(lab: Lab, what: str, when: str) -> None:
    def kill(_: Request) -> None:
        for pid in run.processes(ASSEMBLER):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    rule = lab.proxy.when("PUT", what).nth(4)
    rule = rule.before(kill) if when == "before" else rule.then(kill)
    run = lab.start_embed("--assemblers", 2, "--encoders", 1, inject=[NOTED, slow(0.05)])
    run.wait()

    run.assert_ended(0)
    assert rule.struck
    lab.assert_same_as_undisturbed()
    assert len(lab.markers()) == lab.archive.n_shards
    assert not any(marker["alarms"] for marker in lab.markers().values())
    lab.assert_clean()
    lab.held(f"{when} a {rule.struck[0].kind}: {amplification(lab) - 1:.0%} of the work twice")


@drill(
    "D63",
    injects="nothing; three assemblers",
    holds="at most three PUTs a shard; no listing and no GET but of audio while shards are committed; each read once",
    limit=90,
)
def test_assemblers_ask_the_store_for_nothing(lab: Lab) -> None:
    lab.embed("--assemblers", 3)

    lab.assert_same_as_undisturbed()
    assert lab.proxy.count("GET", AUDIO) == lab.archive.n_shards
    markers = lab.proxy.requests("PUT", MARKER)
    under_way = [each for each in lab.proxy.log if markers[0].started <= each.started <= markers[-1].started]
    assert not [each.target for each in under_way if each.method == "GET" and not each.kind.startswith("audio")]
    puts = [each for each in lab.proxy.log if each.kind in ("table PUT", "marker PUT")]
    assert len(puts) <= 3 * lab.archive.n_shards + 1  # and the empty table of failures
    lab.held(f"{len(puts)} PUTs for {lab.archive.n_shards} shards")
