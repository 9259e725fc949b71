"""Drills of what is stored: runs again, other encoders, flipped bytes, odd archives, readers in the middle of it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import numpy as np

from tests.drills.archive import bad_member, flac, members, seeded_tars, tar, wav
from tests.drills.golden import Archive, golden
from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.store import BUCKET, key_of
from tests.support.audio import encoded

NO_FRAMES = encoded(np.zeros(0), kind="WAV", subtype="PCM_16")


@drill(
    "D46",
    injects="a tar that ends early, one of zero bytes, one with rejects only, a recording without a frame",
    holds="each has an outcome; a shard without rows is committed with 0 rows",
    limit=60,
)
def test_odd_archives_have_an_outcome_each(lab: Lab) -> None:
    whole = tar(members(0, 4))
    third = whole.index(b"02.wav")  # its header; cut in the middle of its samples
    odd = {
        "cut.tar": whole[: third + 2_000],
        "zero.tar": b"",
        "rejects.tar": tar({f"{kind}.wav": bad_member(kind) for kind in range(4)}),
        "papers.tar": tar({"notes.txt": b"no audio"}),
    }
    short = {
        "short.tar": tar({"399.wav": encoded(np.full(399, 0.1), kind="WAV"), "01.flac": flac(5, 1), "0.wav": NO_FRAMES})
    }
    archive = lab.new_archive(short)
    lab.store.pipe({key_of(archive.at(name)): content for name, content in odd.items()})
    before_the_cut = tar(dict(list(members(0, 4).items())[:2]))
    lab.allow(Archive(archive.uri, {}, golden(archive.uri, {"cut.tar": before_the_cut})))

    lab.embed(on=lab.ray())

    rows = {row["utterance_id"]: row for row in lab.read("embeddings").to_pylist()}
    failed = {row["utterance_id"]: row["error"] for row in lab.read("failures").to_pylist()}
    assert sorted(rows) == ["cut.tar#00.wav", "cut.tar#01.flac", "short.tar#01.flac", "short.tar#399.wav"]
    assert rows["short.tar#399.wav"]["embedding"] is None
    assert failed == {
        "cut.tar": "bad_archive",
        "zero.tar": "bad_archive",
        "short.tar#0.wav": "empty",
        "rejects.tar#0.wav": "not_audio",
        "rejects.tar#1.wav": "empty",
        "rejects.tar#2.wav": "nonfinite_audio",
        "rejects.tar#3.wav": "decode_error",
    }
    by_shard = {marker["uri"].removeprefix(archive.uri): marker["rows"] for marker in lab.markers().values()}
    assert by_shard["papers.tar"] == {"embeddings": 0, "failures": 0}
    assert by_shard["rejects.tar"] == {"embeddings": 0, "failures": 4}
    assert "nothing new" in lab.embed(on=lab.ray()).stdout


@drill(
    "D47",
    injects="an id that occurs twice in a shard; the same key in two buckets",
    holds="exit 65 with both places; rows of failures, no scores of it, and all of the members beside it",
    limit=60,
)
def test_a_duplicate_id_is_refused_with_both_places(lab: Lab) -> None:
    lab.new_archive({"twice.tar": tar([("b.wav", wav(0, 1))])})  # the rows that are right
    twice = tar([("a.wav", wav(0, 0)), ("b.wav", wav(0, 1)), ("a.wav", wav(0, 2))])
    lab.store.pipe_file(key_of(lab.archive.at("twice.tar")), twice)

    inside = lab.embed(code=65, on=lab.ray())

    inside.assert_ended(65, r"twice\.tar#a\.wav", r"utterance 0\b", r"\b2\b")
    assert [row["utterance_id"] for row in lab.read("embeddings").to_pylist()] == ["twice.tar#b.wav"]
    assert [row["utterance_id"] for row in lab.read("failures").to_pylist()] == ["twice.tar#a.wav"]

    other = "other-bucket"
    if not lab.store.exists(other):
        lab.store.mkdir(other)
    lab.new_output()
    first = lab.new_archive({"0000.tar": tar(members(0, 2))})
    second = f"s3://{other}/{first.at('0000.tar').removeprefix(f's3://{BUCKET}/')}"
    lab.store.pipe_file(key_of(second), first.tars["0000.tar"])

    across = lab.embed("--input", second, code=65)

    across.assert_ended(65, re.escape(first.at("0000.tar")), re.escape(second))
    assert lab.names("embeddings") == []
    assert [row["error"] for row in lab.read("failures").to_pylist()] == ["bad_name"] * 2


@drill("D48", injects="the same command again", holds="no audio read, nothing written", limit=60)
def test_a_complete_output_costs_nothing(lab: Lab) -> None:
    first = lab.nightly("--runner", "local")  # its rows are those of a run on Ray, to the byte: test_runners.py
    before = {name: lab.store.info(f"{key_of(lab.output)}/{name}")["LastModified"] for name in lab.names()}
    lab.proxy.log.clear()

    again = lab.nightly()

    lab.held(f"{lab.proxy.count()} requests, {again.seconds:.1f} s; the first run took {first.seconds:.1f} s")
    assert "nothing new" in again.stdout
    assert not [each for each in lab.proxy.log if each.kind.startswith("audio")]
    assert {each.method for each in lab.proxy.log} <= {"GET", "HEAD"}
    assert lab.proxy.count() <= 40
    assert again.seconds < 20
    after = {name: lab.store.info(f"{key_of(lab.output)}/{name}")["LastModified"] for name in lab.names()}
    assert after == before
    lab.assert_same_as_undisturbed(scored=True)


@drill(
    "D49",
    injects="a run is killed, and continued with another segment rule",
    holds="exit 65 with both fingerprints; nothing mixed; with `--new-table` a second table",
    limit=120,
)
def test_another_encoder_is_refused_on_the_same_output(lab: Lab) -> None:
    lab.new_archive(seeded_tars(3, 4))
    lab.proxy.when("PUT", "/embeddings/").nth(2).before(lambda _: lab.runs[-1].kill())
    lab.start_embed("--encoders", 1, on=lab.ray()).wait()
    lab.proxy.clear()
    (mine,) = (name.partition("/")[2].partition("/")[0] for name in lab.names("_plans"))
    before = lab.names()

    run = lab.embed("--segment-seconds", 5, code=65)

    run.assert_ended(65, mine.removeprefix("embeddings-"), r"[0-9a-f]{16}.*[0-9a-f]{16}")
    assert lab.names() == before
    lab.embed(on=lab.ray())
    lab.assert_same_as_undisturbed()
    lab.reader.end()  # from here on a glob over both tables has each shard twice, as was asked for
    lab.embed("--segment-seconds", 5, "--new-table", on=lab.ray())
    by_fingerprint = Counter(lab.read("embeddings")["fingerprint"].to_pylist())
    assert list(by_fingerprint.values()) == [len(lab.archive.golden.embeddings)] * 2


def _flipped(content: bytes, at: float) -> bytes:
    place = int(at * len(content))
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@drill(
    "D52",
    injects="one byte flipped in a page, a footer, a marker, a plan, a run's record and a head",
    holds="`verify`, or `score`, ends with 65 and names the file",
    limit=120,
)
def test_a_flipped_byte_is_found_and_its_object_named(lab: Lab) -> None:
    lab.new_archive(seeded_tars(2, 3))
    lab.nightly(on=lab.ray())
    lab.run("verify", lab.output)
    lab.reader.end()
    first = {kind: next(name for name in lab.names() if re.search(pattern, name)) for kind, pattern in PLACES.items()}
    missed = []
    for kind, share in FLIPS:
        path = f"{key_of(lab.output)}/{first[kind]}"
        content = lab.store.cat_file(path)
        lab.store.pipe_file(path, _flipped(content, share))
        run = lab.run("verify", lab.output, code=None)
        if run.code != 65 or first[kind] not in run.cause:
            missed.append(f"{kind} at {share:.0%}: exit {run.code}: {run.cause}")
        lab.store.pipe_file(path, content)
    lab.run("verify", lab.output)

    head = lab.head.read_text()
    digit = re.search(r"\d\.\d{3}", head)
    assert digit
    lab.head.write_text(head[: digit.end() - 1] + str((int(head[digit.end() - 1]) + 1) % 10) + head[digit.end() :])
    lab.new_output()
    refused = lab.nightly(code=65)

    refused.assert_ended(65, re.escape(str(lab.head)))
    lab.held(f"{len(FLIPS) + 1} bytes, one at a time")
    assert not missed, "\n".join(missed)


PLACES = {
    "embeddings": r"^embeddings/",
    "scores": r"^scores/",
    "failures": r"^failures/.*/[0-9a-f]{16}-",  # not the one without rows
    "marker": r"^_commits/embeddings",
    "plan": r"^_plans/embeddings",
    "record": r"^runs/.*\.json$",  # not the page beside it, which has no checksum
}
FLIPS = [
    *(("embeddings", share) for share in (0.3, 0.9, 0.99)),  # a page, the footer, its length
    *(("scores", share) for share in (0.1, 0.9)),
    ("failures", 0.1),
    *(("marker", share) for share in (0.02, 0.5, 0.9)),
    *(("plan", share) for share in (0.02, 0.5)),
    *(("record", share) for share in (0.02, 0.5)),
]


@contextmanager
def _querying(lab: Lab, counts: set[tuple[str, int, int]]) -> Iterator[None]:
    """DuckDB over the glob, again and again: URI, rows, ids."""
    ended = threading.Event()
    glob = f"s3://{key_of(lab.output)}/embeddings/**/*.parquet"

    def query() -> None:
        while not ended.is_set():
            sql = duckdb.connect()
            sql.register_filesystem(lab.store)
            try:
                counts.update(
                    sql.sql(
                        "SELECT uri, count(*), count(DISTINCT utterance_id) "
                        f"FROM read_parquet('{glob}', hive_partitioning = false) GROUP BY uri"
                    ).fetchall()
                )
            except (duckdb.Error, OSError):
                ended.wait(0.1)  # nothing there yet, or an object was replaced between two reads of it: ask again

    thread = threading.Thread(target=query, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)


@drill(
    "D53",
    injects="DuckDB queries in a loop while shards are written, sources replaced, garbage collected",
    holds="every count is that of a complete shard in one state",
    limit=120,
)
def test_queries_only_ever_count_whole_shards(lab: Lab) -> None:
    before = lab.new_archive(seeded_tars(6, 10))
    counts: set[tuple[str, int, int]] = set()
    with _querying(lab, counts):
        lab.embed(on=lab.ray())
        now = lab.replace("0000.tar", tar(members(20, 7)))
        now = lab.replace("0003.tar", tar(members(23, 13)), now)
        lab.embed(on=lab.ray())
        lab.assert_clean()
    lab.assert_same_as_undisturbed(now)

    whole = set()
    for state in (before, now):
        uris = state.golden.embeddings["uri"].to_pylist()
        whole |= {(uri, uris.count(uri), uris.count(uri)) for uri in uris}
    lab.held(f"{len(counts)} different counts of a shard")
    assert counts <= whole, sorted(counts - whole)
    assert {uri for uri, *_ in counts} == {uri for uri, *_ in whole}
