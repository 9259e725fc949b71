"""Drills of the object store: replies that are late, lost, cut, wrong or missing."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter

import numpy as np
import pytest

from tests.drills.archive import seeded_tars
from tests.drills.lab import Lab, Quiet
from tests.drills.marks import drill
from tests.drills.runs import SLACK
from tests.support.proxy import Request, refused


def pauses(requests: list[Request]) -> list[float]:
    """Seconds between each refusal and the next try of the same request."""
    found, refusals = [], {}
    for request in requests:
        what = (request.method, request.target)
        if what in refusals:
            found.append(request.started - refusals.pop(what))
        if request.fault:
            refusals[what] = request.started
    return found


@drill(
    "D16",
    injects="503 SlowDown to 10 %, then to 50 % of requests for 30 s",
    holds="backoff with jitter; at 10 % at most 1.3 × the requests; ends with 0",
    limit=120,
)
def test_a_store_that_asks_to_slow_down_is_asked_again_later(lab: Lab, quiet: Quiet) -> None:
    lab.proxy.when("*").chance(0.1, seed=16).reply(503, "SlowDown")
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed()
    n_requests = lab.proxy.count()
    lab.held(f"{n_requests / len(quiet.requests):.2f} × the requests at 10 %")

    lab.proxy.clear()
    lab.proxy.log.clear()
    lab.new_output()
    lab.proxy.when("*").chance(0.5, seed=17).seconds(30).reply(503, "SlowDown")
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed()

    assert n_requests <= 1.3 * len(quiet.requests)
    waited = pauses(lab.proxy.log)
    lab.held(f"{len(waited)} pauses of {min(waited):.2f} to {max(waited):.2f} s at 50 %")
    assert len(waited) > 20
    assert np.std(waited) > 0.05, "pauses without jitter come back together"
    assert np.median(waited) > 0.05, "no pause at all is a storm"
    assert max(waited) < 25.0


@drill(
    "D17",
    injects="503 to everything, from the 25th request on and from the first, patience 15 s",
    holds="exit 69 after the patience; nothing half done; the next run completes",
    limit=120,
)
def test_a_store_that_stays_away_ends_the_run_with_69(lab: Lab) -> None:
    for after in (25, 0):
        lab.proxy.log.clear()
        outage = lab.proxy.when("*").after(after).reply(503, "SlowDown")

        run = lab.embed("--store-patience", 15, code=69, on=lab.ray())

        run.assert_ended(69, "s3://drills/", "503")
        assert run.started + run.seconds - outage.struck[0].started < 15 + 15 * SLACK
        assert lab.proxy.count() < after + 250, "a storm of retries"
        lab.proxy.clear()
    lab.proxy.log.clear()
    begun = time.monotonic()
    lab.embed(on=lab.ray())
    lab.recovered(next(each.started for each in lab.proxy.requests("PUT", "/_commits/")) - begun)
    lab.assert_same_as_undisturbed()


@drill("D18", injects="500 to the n-th request, for every n", holds="every n ends with 0 and the same bits", limit=900)
def test_a_run_survives_the_failure_of_any_one_request(lab: Lab) -> None:
    lab.new_archive(seeded_tars(2, 3))
    n = 0
    while True:
        n += 1
        lab.new_output()
        lab.proxy.clear()
        lab.proxy.log.clear()
        rule = lab.proxy.when("*").nth(n).reply(500)
        lab.nightly("--encoders", 1, on=lab.ray())
        try:
            lab.assert_same_as_undisturbed(scored=True)
            assert len(lab.markers()) == 2 * lab.archive.n_shards
        except AssertionError as error:
            raise AssertionError(f"at n = {n}, {rule.struck}") from error
        if not rule.struck:
            break
        lab.runs[-1].end()
    lab.held(f"n = 1 … {n - 1}")
    assert n > 30


@drill(
    "D19",
    injects="reset after 0, 1, half, all but one byte of a GET of audio",
    holds="requested again, whole or from that byte; no truncated recording",
    limit=60,
)
def test_a_get_that_breaks_off_is_taken_up_again(lab: Lab) -> None:
    cuts = {"0000": 0, "0003": 1, "0006": lambda size: size // 2, "0009": lambda size: size - 1}
    rules = [lab.proxy.when("GET", rf"{name}\.tar$").nth(1).reset_after(cut) for name, cut in cuts.items()]

    lab.embed(on=lab.ray())

    assert [len(rule.struck) for rule in rules] == [1] * len(cuts)
    lab.assert_same_as_undisturbed()


@drill(
    "D20",
    injects="bodies one byte short, one byte long, with one byte flipped; once each, then every time",
    holds="noticed and requested again; after a bounded number of attempts exit 69 with the object's name",
    limit=60,
)
def test_a_body_that_is_not_the_object_s_is_never_used(lab: Lab) -> None:
    rules = [
        lab.proxy.when("GET", r"0000\.tar$").nth(1).short_body(),
        lab.proxy.when("GET", r"0002\.tar$").nth(1).short_body(claimed=True),
        lab.proxy.when("GET", r"0004\.tar$").nth(1).long_body(),
        lab.proxy.when("GET", r"0006\.tar$").nth(1).long_body(claimed=True),
        lab.proxy.when("GET", r"0008\.tar$").nth(1).flip_byte(),
        lab.proxy.when("GET", r"0010\.tar$").nth(1).truncate(),
        lab.proxy.when("GET", "/_commits/.*json$").nth(1).flip_byte(),
        lab.proxy.when("GET", "prefix=archive/").nth(1).truncate(),
    ]
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed()
    assert [len(rule.struck) for rule in rules] == [1] * len(rules)

    lab.new_output()
    lab.proxy.clear()
    lab.proxy.log.clear()
    lab.proxy.when("GET", r"0005\.tar$").flip_byte()
    run = lab.embed(code=69, on=lab.ray())

    run.assert_ended(69, r"0005\.tar")
    assert lab.proxy.count("GET", r"0005\.tar$") <= 12
    assert not [row for row in lab.read("failures").to_pylist() if row["uri"].endswith("0005.tar")]


@drill(
    "D21",
    injects="a body at 1 byte a second; headers and then silence; silence",
    holds="each request is abandoned after a timeout, and repeated",
    limit=120,
)
def test_a_store_that_goes_quiet_is_not_waited_for_without_end(lab: Lab) -> None:
    rules = [
        lab.proxy.when("GET", r"0000\.tar$").nth(1).slow(1.0),
        lab.proxy.when("GET", r"0003\.tar$").nth(1).silence(after=1_000),
        lab.proxy.when("GET", r"0006\.tar$").nth(1).silence(after=None),
    ]

    lab.embed(on=lab.ray())

    assert [len(rule.struck) for rule in rules] == [1] * len(rules)
    lab.assert_same_as_undisturbed()


@drill(
    "D22",
    injects="the store carries out a PUT of each kind, and its reply is lost",
    holds="the object is looked up: one marker a shard, no alarm, the same bits",
    limit=60,
)
@pytest.mark.parametrize("runner", ["local", pytest.param("ray", marks=pytest.mark.long)])
def test_a_lost_reply_is_looked_up(lab: Lab, runner: str) -> None:
    kinds = {
        "plan": r"/_plans/embeddings",
        "failures": r"/failures/.*\.parquet",
        "embeddings": r"/embeddings/.*\.parquet",
        "marker": r"/_commits/embeddings",
        "record": r"/runs/",
        "plan of scores": r"/_plans/scores",
        "scores": r"/scores/.*\.parquet",
        "marker of scores": r"/_commits/scores",
    }
    rules = {kind: lab.proxy.when("PUT", pattern).nth(1).drop_reply() for kind, pattern in kinds.items()}

    lab.nightly("--runner", runner, on=lab.ray() if runner == "ray" else None)

    assert {kind: len(rule.struck) for kind, rule in rules.items()} == dict.fromkeys(kinds, 1)
    lab.assert_same_as_undisturbed(scored=True)
    assert len(lab.markers()) == 2 * lab.archive.n_shards
    assert not [name for name, marker in lab.markers().items() if marker["alarms"]]
    assert len(lab.names("_plans")) == 2


@drill(
    "D23",
    injects="409 to a marker's PUT, twice; then another client writes the same marker, and the PUT gets 412",
    holds="409 is retried; 412 is resolved by reading the marker that exists",
    limit=30,
)
def test_a_conflict_over_a_marker_is_settled_by_the_stored_one(lab: Lab) -> None:
    def written_by_another(request: Request) -> None:
        lab.store.pipe_file(request.path.lstrip("/"), request.body)

    conflict = lab.proxy.when("PUT", "/_commits/").first(2).reply(409, "ConditionalRequestConflict")
    another = lab.proxy.when("PUT", "/_commits/").nth(3).before(written_by_another)

    lab.embed(on=lab.ray())

    assert len(conflict.struck) == 2  # of one marker or of two: several are committed at once
    assert another.struck[0].applied == 412
    lab.assert_same_as_undisturbed()
    assert len(lab.markers()) == lab.archive.n_shards
    assert not [name for name, marker in lab.markers().items() if marker["alarms"]]


@drill(
    "D24",
    injects="403 ExpiredToken from the 25th request on; 403 AccessDenied below one prefix",
    holds="exit 69 that names the object; at most 5 attempts of a request",
    limit=60,
)
def test_a_store_that_refuses_us_is_not_asked_for_ever(lab: Lab) -> None:
    lab.proxy.when("*").after(25).reply(403, "ExpiredToken")
    expired = lab.embed(code=69, on=lab.ray())
    expired.assert_ended(69, "s3://drills/", "403|ExpiredToken|denied")
    assert _most_tries(lab) <= 5

    lab.proxy.clear()
    lab.proxy.log.clear()
    lab.proxy.when("PUT", "/embeddings/").reply(403, "AccessDenied")
    denied = lab.embed(code=69, on=lab.ray())
    denied.assert_ended(69, f"{lab.output}/embeddings/", "403|AccessDenied|denied")
    assert _most_tries(lab) <= 5

    lab.proxy.clear()
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed()


def _most_tries(lab: Lab) -> int:
    """Return the most tries that any one refused request had."""
    return max(Counter((each.method, each.target) for each in lab.proxy.log if each.fault).values())


@drill(
    "D28",
    injects="the driver is killed while it writes; a multipart upload is left open under the name of an object",
    holds="readers see nothing of it; the next run completes; gc aborts the upload",
    limit=60,
)
def test_an_upload_that_was_never_completed_is_collected(lab: Lab) -> None:
    def left_open(request: Request) -> None:
        bucket, _, key = request.path.lstrip("/").partition("/")
        upload = lab.store.call_s3("create_multipart_upload", Bucket=bucket, Key=key)["UploadId"]
        lab.store.call_s3("upload_part", Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=request.body)
        lab.runs[-1].kill()

    lab.proxy.when("PUT", "/embeddings/").nth(3).before(left_open)
    run = lab.start_embed(on=lab.ray()).wait()
    assert run.code == -signal.SIGKILL
    assert len(lab.open_uploads()) == 1

    lab.proxy.clear()
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed()
    lab.assert_clean()
    lab.assert_same_as_undisturbed()


@drill(
    "D30",
    injects="an endpoint that refuses connections; one whose name does not resolve",
    holds="exit 69 within 30 s, naming the endpoint; nothing written",
    limit=60,
)
@pytest.mark.parametrize("nobody", ["refuses", "has no address"])
def test_an_endpoint_that_is_not_there_is_named(lab: Lab, nobody: str) -> None:
    with refused() as endpoint:
        where = endpoint if nobody == "refuses" else "http://store.invalid:8333"
        run = lab.embed(code=69, environment={"AWS_ENDPOINT_URL": where})

    run.assert_ended(69, re.escape(where))
    assert run.seconds < 30
    assert lab.names() == []
