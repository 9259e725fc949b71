"""Drills of processes: whoever is killed, stopped, or told to go, the tables end as those of a quiet night."""

from __future__ import annotations

import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from tests.drills.harness import ON_LOOPBACK, Fault, Lab, RayHead, Run, drill, processes, seeded_tars, with_failure
from tests.drills.nodes import DECODE, ENCODER, Nodes
from tests.support.proxy import Request
from tests.support.ray_head import ray_head

AUDIO = r"\.tar$"
MARKER = r"/_commits/embeddings"
EMBED = "detector.backbones.melstats:MelStats.embed"
NOTED = Fault(EMBED, "note")


def slow(seconds: float) -> Fault:
    """Let every recording take so long in the encoder."""
    return Fault(EMBED, "sleep", seconds)


def noted(lab: Lab) -> list[tuple[float, str]]:
    """When a recording was given to an encoder, and which; in all runs of the drill that note it."""
    lines = [line.split() for place in lab.folder.glob("*.noted") for line in place.read_text().splitlines()]
    return sorted((float(when), digest) for when, _, _, digest in lines)


def amplification(lab: Lab) -> float:
    """Recordings given to an encoder, over recordings that there are."""
    counts = Counter(digest for _, digest in noted(lab))
    return counts.total() / len(counts)


def struck_at(lab: Lab, number: int) -> list[float]:
    """When the rule of this number struck last, in each run where it did."""
    return [place.stat().st_mtime for place in lab.folder.glob(f"*.{number}.struck")]


def markers_put(lab: Lab) -> list[Request]:
    """Markers that the store took."""
    return [each for each in lab.proxy.requests("PUT", MARKER) if each.applied == 200]


def fetched(requests: list[Request]) -> set[str]:
    """Names of the tars that were read."""
    return {each.path.rpartition("/")[2] for each in requests if re.search(AUDIO, each.path)}


def committed(lab: Lab) -> set[str]:
    """Names of the tars that have a marker."""
    return {marker["uri"].rpartition("/")[2] for marker in lab.markers().values()}


@drill(
    "D01",
    injects="SIGKILL to the encoder in the middle of shard 7",
    holds="what it had in hand is computed again, at most 5 % of all, from audio that is decoded already",
    limit=60,
)
def test_an_encoder_that_is_killed_costs_what_it_had_in_hand(lab: Lab) -> None:
    kill = Fault(EMBED, "kill", utterance=(7, 3), calls=[1])

    lab.embed("--encoders", 1, inject=[NOTED, kill])

    lab.assert_same_as_undisturbed()
    (killed,) = struck_at(lab, 1)
    lab.recovered(next(when for when, _ in noted(lab) if when > killed) - killed)
    assert lab.proxy.count("GET", AUDIO) == lab.archive.n_shards
    assert amplification(lab) <= 1.05
    lab.held(f"{amplification(lab) - 1:.1%} of the work twice")


@drill(
    "D02",
    injects="SIGKILL to one of two encoders, 10 times, at random",
    holds="ends with 0; no shard is read more than once a kill",
    limit=180,
)
def test_encoders_may_be_killed_again_and_again(lab: Lab) -> None:
    rng = random.Random(2)
    run = lab.start_embed("--encoders", 2, inject=[NOTED, slow(0.4)])
    n_kills = 0
    while n_kills < 10:
        n_before = len(noted(lab))
        lab.wait_for(lambda n=n_before: len(noted(lab)) > n, run=run)
        time.sleep(rng.uniform(0.0, 1.0))
        n_kills += _kill_one(run, ENCODER, rng)
    run.wait()

    run.assert_ended(0)
    lab.assert_same_as_undisturbed()
    assert lab.proxy.count("GET", AUDIO) <= lab.archive.n_shards + n_kills
    lab.held(f"{amplification(lab) - 1:.0%} of the work twice, as 10 kills strike 12 shards")


def _kill_one(run: Run, title: str, rng: random.Random) -> bool:
    """Kill one of those that are there, whoever that is; whether there was one."""
    found = run.processes(title)
    if found:
        run.kill(title, which=rng.randrange(len(found)))
    return bool(found)


@drill(
    "D03",
    injects="the encoder calls sys.exit(0) on a recording, once and every time; it is the only encoder",
    holds="done again, or found within a bound: one row `encoder_crash`, all others bit-equal; never hangs",
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


@drill(
    "D04",
    injects="SIGSTOP to a driver right after it wrote a shard's rows; a second run does the shard; then SIGCONT",
    holds="the late marker gets 412; one digest, no alarm; both end with 0",
    limit=150,
)
def test_a_driver_that_slept_finds_its_shard_done_and_leaves_it(lab: Lab) -> None:
    lab.proxy.when("PUT", "/embeddings/").nth(3).then(lambda _: first.kill(number=signal.SIGSTOP))
    first = lab.start_embed()
    lab.wait_for(lambda: lab.proxy.count("PUT", "/embeddings/") >= 3, run=first)
    slept = time.monotonic()
    lab.embed("--encoders", 1, on=lab.ray())
    lab.assert_same_as_undisturbed()
    before = lab.markers()

    first.kill(number=signal.SIGCONT)
    first.wait()

    first.assert_ended(0)
    assert any(each.applied == 412 for each in lab.proxy.requests("PUT", MARKER))
    assert lab.markers() == before
    assert not any(marker["alarms"] for marker in before.values())
    lab.assert_clean()
    lab.assert_same_as_undisturbed()
    lab.held(f"it slept for {first.started + first.seconds - slept:.0f} s")


@drill(
    "D05",
    injects="SIGKILL to the driver at 30 % and at 80 % of the shards; the same command again",
    holds="not a byte of a committed shard is read again; the first new commit within 30 s",
    limit=120,
)
def test_a_driver_that_was_killed_goes_on_where_it_was(lab: Lab) -> None:
    for share in (0.3, 0.8):
        lab.proxy.clear()
        n_left = round(share * lab.archive.n_shards) - len(lab.markers())
        lab.proxy.when("PUT", MARKER).nth(n_left).then(lambda _: lab.runs[-1].kill())
        run = lab.start_embed(on=lab.ray()).wait()
        assert run.code == -signal.SIGKILL
        done = committed(lab)
        assert len(done) >= n_left
        lab.wait_for(lambda: not _workers(lab))  # they notice it, and end
        lab.proxy.log.clear()
    lab.proxy.clear()
    begun = time.monotonic()

    lab.embed(on=lab.ray())

    lab.recovered(markers_put(lab)[0].started - begun)
    lab.assert_same_as_undisturbed()
    assert fetched(lab.proxy.log) == set(lab.archive.tars) - done
    assert markers_put(lab)[0].started - begun < 30.0


def _workers(lab: Lab) -> list[int]:
    return [each.pid for each in processes(lab.ray().pid) if re.search(r"^ray::Map", each.title)]


@drill(
    "D06",
    injects="SIGKILL to the driver before, and right after, each of its PUTs in turn: plan, rows, marker, record",
    holds="every place passes; the same command again completes",
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
    # a plan, a record; 6 markers, 6 objects of embeddings, and 3 of failures: every second shard has one
    assert Counter(places) == {"plan PUT": 1, "marker PUT": 6, "table PUT": 9, "record PUT": 1}
    lab.held(f"{len(places)} places {when} a PUT")


@drill(
    "D08",
    injects="SIGKILL to all of one of two nodes, with decoded audio in its store and an encoder at work",
    holds="its work is done again elsewhere; no lost object surfaces",
    limit=120,
)
def test_a_node_that_goes_away_takes_no_rows_along(lab: Lab) -> None:
    nodes = Nodes(lab.environment | lab.injecting([NOTED, slow(0.2)]), {"num_cpus": 2}, {"num_cpus": 2})
    try:
        run = lab.start_embed("--encoders", 2, "--encoder-cpus", 1.5, on=nodes)
        lab.wait_for(lambda: len(markers_put(lab)) >= 3, run=run)
        nodes.lose(1)
        killed = time.monotonic()
        run.wait()
    finally:
        nodes.end()

    run.assert_ended(0)
    lab.recovered(next(each.started for each in markers_put(lab) if each.started > killed) - killed)
    lab.assert_same_as_undisturbed()
    assert "ObjectLost" not in run.stderr
    lab.held(f"{amplification(lab) - 1:.0%} of the work twice")


GPU_NODE = {"num_cpus": 1, "num_gpus": 1}  # Ray believes it; melstats needs none


@drill(
    "D57",
    injects="SIGKILL to all of one of three nodes, where one has the GPU: to one that decodes; to the encoder's, and a "
    "node like it joins",
    holds="decode runs on the CPU nodes, the encoder on the one with the GPU; the run ends with 0 and the same digest",
    limit=180,
)
@pytest.mark.parametrize("whose", ["decode", "encoder"])
def test_a_cluster_of_three_nodes_loses_one(lab: Lab, whose: str) -> None:
    where: dict[str, set[int]] = {DECODE: set(), ENCODER: set()}

    def committed(n_markers: int) -> bool:
        for title, found in where.items():
            found |= nodes.at_work(title)
        return len(markers_put(lab)) >= n_markers

    with_pid = lab.environment | lab.injecting([NOTED, slow(0.2)])
    nodes = Nodes(with_pid, {"num_cpus": 1}, {"num_cpus": 2}, GPU_NODE)
    try:
        run = lab.start_embed(on=nodes)
        lab.wait_for(lambda: committed(3) and 1 in where[DECODE], run=run)
        nodes.lose({"decode": 1, "encoder": 2}[whose])
        killed = time.monotonic()
        if whose == "encoder":
            nodes.add(GPU_NODE)
            lab.wait_for(lambda: nodes.at_work(ENCODER) == {3}, run=run)
        run.wait()
    finally:
        nodes.end()

    run.assert_ended(0)
    assert where[DECODE] <= {0, 1}
    assert where[ENCODER] == {2}
    lab.recovered(next(each.started for each in markers_put(lab) if each.started > killed) - killed)
    lab.assert_same_as_undisturbed()
    lab.held(f"without the {whose}'s node: {amplification(lab) - 1:.0%} of the work twice")


@drill(
    "D09",
    injects="SIGKILL to the head's GCS in the middle of a run: of a Ray of its own, and of one that it joined",
    holds="ends with 75 and the cause; the same command again, on another head, completes",
    limit=180,
)
@pytest.mark.parametrize("whose", ["its own", "joined"])
def test_a_run_ends_when_its_cluster_dies(lab: Lab, whose: str) -> None:
    slowly = [NOTED, slow(0.2)]
    if whose == "its own":
        run = lab.start_embed(inject=slowly)
        lab.wait_for(lambda: markers_put(lab), run=run)
        run.kill("gcs_server")
        killed = time.monotonic()
        run.wait()
    else:
        head = RayHead(lab.environment | lab.injecting(slowly), lab.folder / "head")
        try:
            run = lab.start_embed(on=head)
            lab.wait_for(lambda: markers_put(lab), run=run)
            run.kill("gcs_server")
            killed = time.monotonic()
            run.wait()
        finally:
            head.end()

    run.assert_ended(75, "Ray")
    lab.held(f"{whose}: 75 after {time.monotonic() - killed:.0f} s")
    begun = time.monotonic()
    lab.embed(on=lab.ray())
    lab.recovered(next(each.started for each in markers_put(lab) if each.started > begun) - begun)
    lab.assert_same_as_undisturbed()


@drill(
    "D10",
    injects="SIGTERM to the driver, with shards half done",
    holds="no new shard from then on, those nearly done are committed, exit 75 within 10 s",
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


@contextmanager
def dashboard(lab: Lab, faults: list[Fault]) -> Iterator[str]:
    """A Ray that takes jobs: the address of its dashboard."""
    path = {"PATH": f"{Path(sys.executable).parent}:{lab.environment['PATH']}"}
    with ray_head(lab.environment | ON_LOOPBACK | path | lab.injecting(faults), lab.folder / "head") as address:
        yield address


def submit(lab: Lab, address: str, number: str) -> Run:
    """Submit the embedding of the archive as a job, as users do."""
    command = [sys.executable, "-m", "jobs", "submit", "--address", address, "--submission-id", number, "--"]
    place = lab.folder / f"{number}-{len(lab.runs)}"
    lab.runs.append(Run([*command, *map(str, lab.embedding())], lab.environment | ON_LOOPBACK, place, None))
    return lab.runs[-1]


@drill(
    "D11",
    injects="a job is submitted twice with one id; then two jobs with two ids on one output",
    holds="the second of one id follows the first; two ids end with one digest, each with 0 or 75",
    limit=180,
)
def test_a_job_may_be_submitted_twice(lab: Lab) -> None:
    with dashboard(lab, [NOTED]) as address:
        first = submit(lab, address, "one")
        lab.wait_for(lambda: "submitted" in first.stderr, run=first)
        second = submit(lab, address, "one").wait()
        second.assert_ended(0)
        assert "one is at work" in second.stderr
        first.wait().assert_ended(0)
        lab.assert_same_as_undisturbed()
        assert amplification(lab) == 1.0

        lab.new_output()
        two = [submit(lab, address, "two"), submit(lab, address, "three")]
        codes = sorted(run.wait().code or 0 for run in two)

    assert codes in ([0, 0], [0, 75]), "\n".join(map(str, two))
    lab.assert_same_as_undisturbed()
    assert len(lab.names("_plans")) == 1
    assert not any(marker["alarms"] for marker in lab.markers().values())
    lab.held(f"two ids: exit {codes[0]} and {codes[1]}")


@drill(
    "D12",
    injects="`ray job stop` while a marker is being written",
    holds="what was there is readable, the job's end is told as 75; the same command again completes",
    limit=120,
)
def test_a_job_may_be_stopped_while_it_commits(lab: Lab) -> None:
    with dashboard(lab, [slow(0.1)]) as address:
        client = JobSubmissionClient(address)
        lab.proxy.when("PUT", MARKER).nth(3).before(lambda _: client.stop_job("night"))
        run = submit(lab, address, "night").wait()
        status = client.get_job_status("night")
        n_done = len(lab.markers())

        run.assert_ended(75)
        lab.proxy.clear()
        again = submit(lab, address, "again").wait()

    again.assert_ended(0)
    lab.assert_same_as_undisturbed()
    lab.held(f"{status}, {n_done} shards committed by then")
