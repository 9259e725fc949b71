"""Drills of encoders that are killed or end by themselves: the tables are those of an undisturbed run."""

from __future__ import annotations

import random
import time

import pytest

from tests.drills.golden import with_failure
from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.nodes import ENCODER
from tests.drills.runs import Fault, Run
from tests.drills.work import (
    AUDIO,
    EMBED,
    NOTED,
    n_computed_again,
    noted,
    slow,
    struck_at,
)

N_HELD = 6  # recordings of two encoders, at 0.3 s each, until the driver has compared their canaries


@drill(
    "D01",
    injects="SIGKILL to the encoder at the ninth recording of shard 7, each of which is delivered on its own",
    holds="of the shard's ten recordings at most two are computed again, from audio that is already decoded",
    limit=60,
)
def test_an_encoder_that_is_killed_costs_what_it_had_in_hand(lab: Lab) -> None:
    kill = Fault(EMBED, "kill", utterance=(7, 8), calls=[1])
    singly = Fault("jobs.execution.stages:PART_SECONDS", "set", 0.0)

    lab.embed("--encoders", 1, inject=[NOTED, kill, slow(0.03), singly])

    lab.assert_same_as_undisturbed()
    (killed,) = struck_at(lab, 1)
    lab.recovered(next(when for when, _ in noted(lab) if when > killed) - killed)
    assert lab.proxy.count("GET", AUDIO) == lab.archive.n_shards
    assert n_computed_again(lab) <= 2
    lab.held(f"{n_computed_again(lab)} of 120 recordings twice")


@drill(
    "D02",
    injects="SIGKILL to one of two encoders, 10 times, at random",
    holds="ends with 0; a kill costs the recording under way; a table that three of them strike is read again, twice",
    limit=180,
)
def test_encoders_may_be_killed_again_and_again(lab: Lab) -> None:
    rng = random.Random(2)
    run = lab.start_embed("--encoders", 2, inject=[slow(0.3), NOTED])  # noted as it begins
    n_kills = 0
    while n_kills < 10:
        n_before = len(noted(lab))
        lab.wait_for(lambda n=n_before: len(noted(lab)) > n, run=run)
        time.sleep(rng.uniform(0.0, 1.0))
        n_kills += _kill_one(run, ENCODER, rng)
    run.wait()

    run.assert_ended(0)
    lab.assert_same_as_undisturbed()
    assert lab.proxy.count("GET", AUDIO) <= lab.archive.n_shards + 2 * n_kills
    assert n_computed_again(lab) <= n_kills + N_HELD
    lab.held(f"{n_computed_again(lab)} recordings twice, {lab.proxy.count('GET', AUDIO)} reads of 12 shards")


def _kill_one(run: Run, title: str, rng: random.Random) -> bool:
    """Kill one of the processes with this title, at random; return True if there was one."""
    found = run.processes(title)
    if found:
        run.kill(title, which=rng.randrange(len(found)))
    return bool(found)


@drill(
    "D03",
    injects="the encoder calls sys.exit(0) on a recording, once and every time; it is the only encoder",
    holds="computed again, or isolated in bounded time: one row `encoder_crash`, all others bit-equal; never hangs",
    limit=90,
)
@pytest.mark.parametrize("calls", [[1], None], ids=["once", "every time"])
def test_an_encoder_that_leaves_without_an_error_is_no_hang(lab: Lab, calls: list[int] | None) -> None:
    message = "the encoder's process dies on this recording, alone and every time"
    found = with_failure(lab.archive, 5, 2, stage="embed", error="encoder_crash", message=message, attempts=3)
    lab.allow(found)

    run = lab.embed("--encoders", 1, inject=[Fault(EMBED, "exit", utterance=(5, 2), calls=calls)])

    lab.assert_same_as_undisturbed(lab.archive if calls else found)
    lab.held(f"{'once' if calls else 'every time'}: {run.seconds:.0f} s")
