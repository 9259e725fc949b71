"""Drills of the object store: what it answers late, twice, half or never leaves the tables of a quiet night."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter

import numpy as np
import pytest

from tests.drills.archive import seeded_tars, tar, wav
from tests.drills.golden import Archive, golden
from tests.drills.lab import Lab, Quiet
from tests.drills.marks import drill
from tests.drills.runs import SLACK
from tests.drills.store import BUCKET, key_of
from tests.support.audio import encoded
from tests.support.proxy import Request, refused

AUDIO = r"\.tar$"


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
    holds="fetched again or gone on from there; no truncated recording",
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
    holds="noticed and fetched again; after some tries exit 69 with the object's name",
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
    holds="given up after a deadline and asked for again",
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
    injects="a PUT of each kind is done, and its reply is lost",
    holds="looked up: one marker a shard, no alarm, the same bits",
    limit=60,
)
def test_a_lost_reply_is_looked_up(lab: Lab) -> None:
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

    lab.nightly(on=lab.ray())

    assert {kind: len(rule.struck) for kind, rule in rules.items()} == dict.fromkeys(kinds, 1)
    lab.assert_same_as_undisturbed(scored=True)
    assert len(lab.markers()) == 2 * lab.archive.n_shards
    assert not [name for name, marker in lab.markers().items() if marker["alarms"]]
    assert len(lab.names("_plans")) == 2


@drill(
    "D23",
    injects="409 to a marker's PUT, twice; then somebody else writes the same marker, and it gets 412",
    holds="409 is tried again, 412 is settled by what stands there",
    limit=30,
)
def test_a_conflict_over_a_marker_is_settled_by_what_stands_there(lab: Lab) -> None:
    def written_by_another(request: Request) -> None:
        lab.store.pipe_file(request.path.lstrip("/"), request.body)

    conflict = lab.proxy.when("PUT", "/_commits/").first(2).reply(409, "ConditionalRequestConflict")
    another = lab.proxy.when("PUT", "/_commits/").nth(3).before(written_by_another)

    lab.embed(on=lab.ray())

    assert [each.path for each in conflict.struck] == [another.struck[0].path] * 2
    assert another.struck[0].applied == 412
    lab.assert_same_as_undisturbed()
    assert len(lab.markers()) == lab.archive.n_shards
    assert not [name for name, marker in lab.markers().items() if marker["alarms"]]


@drill(
    "D24",
    injects="403 ExpiredToken from the 25th request on; 403 AccessDenied below one prefix",
    holds="exit 69 that names the place; at most 5 tries of a request",
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
    """Of one request that was refused."""
    return max(Counter((each.method, each.target) for each in lab.proxy.log if each.fault).values())


def long_tar(shard: int, seconds: float = 90.0) -> bytes:
    """A tar of 17 MB: it takes several range requests."""
    return tar({f"{number:02d}.wav": wav(shard, number, seconds) for number in range(6)})


@drill(
    "D25",
    injects="a source is replaced between two reads of it; another one after it was committed",
    holds="exit 75 that names it, no rows of a mixture; the next run has the new rows in place of the old",
    limit=120,
)
def test_a_source_that_changes_is_noticed_and_never_mixed(lab: Lab) -> None:
    old = lab.new_archive(seeded_tars(3, 4) | {"0003.tar": long_tar(3)})
    now: list[Archive] = []
    rule = lab.proxy.when("GET", r"0003\.tar$").nth(2)
    rule.before(lambda _: now.append(lab.replace("0003.tar", long_tar(4))))

    changed = lab.embed(code=75, on=lab.ray())

    changed.assert_ended(75, r"0003\.tar")
    assert len(rule.struck) == 1
    lab.assert_same_as_undisturbed(old, but=["0003.tar"])
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed(now[-1])

    new_of_0001 = tar({"00.wav": wav(7, 0), "another.wav": wav(7, 1)})
    now.append(lab.replace("0001.tar", new_of_0001, now[-1]))
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed(now[-1])
    assert not lab.proxy.requests("GET", r"000[02]\.tar$")[2:], "a source that did not change is read once"
    lab.assert_clean()
    lab.assert_same_as_undisturbed(now[-1])
    lab.run("verify", lab.output)


@drill(
    "D26",
    injects="a source is deleted after the plan",
    holds="exit 75 that names it; all other shards are committed; the next run has nothing to do with it",
    limit=60,
)
def test_a_source_that_is_gone_holds_up_nobody_else(lab: Lab) -> None:
    archive = lab.new_archive(seeded_tars(4, 4))
    gone = lab.proxy.when("*", r"/0002\.tar").nth(1)
    gone.before(lambda _: lab.store.rm_file(key_of(archive.at("0002.tar"))))

    run = lab.embed(code=75, on=lab.ray())

    run.assert_ended(75, r"0002\.tar", "gone|missing")
    lab.assert_same_as_undisturbed(but=["0002.tar"])
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed(but=["0002.tar"])


@drill(
    "D27",
    injects="a listing of 2,500 objects: page 2 fails, a key stands twice, 10 new ones appear meanwhile",
    holds="the plan is frozen: 2,500 rows; the 10 come with the next run",
    limit=120,
)
def test_a_long_listing_is_taken_once_and_whole(lab: Lab) -> None:
    def short(number: int) -> bytes:
        return encoded(np.random.default_rng(number).normal(0, 0.1, 1_600), kind="WAV", subtype="PCM_16")

    def one_key_twice(body: bytes) -> bytes:
        first = re.search(rb"<Contents>.*?</Contents>", body, re.S)
        assert first
        return body.replace(first[0], first[0] * 2, 1)

    files = {f"{number:04d}.wav": short(number) for number in range(2_500)}
    archive = lab.new_archive(files)
    page = rf"prefix={re.escape(archive.uri.removeprefix(f's3://{BUCKET}/'))}.*continuation-token="
    fails = lab.proxy.when("GET", page).nth(1).reply(500)
    twice = lab.proxy.when("GET", page).nth(2).rewrite(one_key_twice)
    later = {f"new-{number}.wav": short(9_000 + number) for number in range(10)}
    grown = Archive(archive.uri, files | later, golden(archive.uri, files | later))
    lab.allow(grown)
    appear = lab.proxy.when("GET", r"\.wav$").nth(1)
    appear.before(lambda _: lab.store.pipe({key_of(archive.at(name)): content for name, content in later.items()}))

    lab.embed(on=lab.ray())

    assert [len(rule.struck) for rule in (fails, twice, appear)] == [1, 1, 1]
    lab.assert_same_as_undisturbed()
    assert lab.proxy.count("GET", page) == 1 + 2, "the archive is listed once"
    lab.proxy.log.clear()
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed(grown)
    assert lab.proxy.count("GET", r"\.wav$") == len(later)


@drill(
    "D28",
    injects="the driver is killed while it writes; an upload in parts is left open under the very name",
    holds="nothing of it is visible; the next run completes; gc ends the upload",
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


@drill(
    "D30",
    injects="an endpoint that refuses; one that has no address",
    holds="exit 69 within 30 s that names the endpoint; nothing written",
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
