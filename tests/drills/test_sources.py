"""Drills of archives that change while they are read, and of long listings."""

from __future__ import annotations

import re

import numpy as np

from tests.drills.archive import seeded_tars, tar, wav
from tests.drills.golden import Archive, golden
from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.store import BUCKET, key_of
from tests.support.audio import encoded


def long_tar(shard: int, seconds: float = 90.0) -> bytes:
    """A tar of 17 MB: it takes several range requests."""
    return tar({f"{number:02d}.wav": wav(shard, number, seconds) for number in range(6)})


@drill(
    "D25",
    injects="a source is replaced between two reads of it; another one after it was committed",
    holds="no rows from both states; the run reads it again as it is then, and ends with 0",
    limit=120,
)
def test_a_source_that_changes_is_noticed_and_never_mixed(lab: Lab) -> None:
    lab.new_archive(seeded_tars(3, 4) | {"0003.tar": long_tar(3)})
    now: list[Archive] = []
    rule = lab.proxy.when("GET", r"0003\.tar$").nth(2)
    rule.before(lambda _: now.append(lab.replace("0003.tar", long_tar(4))))

    lab.embed(on=lab.ray())

    assert len(rule.struck) == 1
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
    holds="all other shards are committed; the run looks again, and ends with 0",
    limit=60,
)
def test_a_missing_source_does_not_hold_up_the_others(lab: Lab) -> None:
    archive = lab.new_archive(seeded_tars(4, 4))
    gone = lab.proxy.when("*", r"/0002\.tar").nth(1)
    gone.before(lambda _: lab.store.rm_file(key_of(archive.at("0002.tar"))))

    lab.embed(on=lab.ray())

    lab.assert_same_as_undisturbed(but=["0002.tar"])
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed(but=["0002.tar"])


@drill(
    "D27",
    injects="a listing of 2,500 objects: page 2 fails, a key is listed twice, 10 new objects appear meanwhile",
    holds="the plan is frozen: 2,500 rows; the next run adds the 10",
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
