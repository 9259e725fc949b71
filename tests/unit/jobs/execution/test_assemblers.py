"""An assembler commits each shard once it is whole; whoever delivers waits while too many are under commit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from detector.errors import UtteranceError
from jobs.execution.assemblers import Assembler, Unfinished
from jobs.execution.assembly import ShardRows
from jobs.execution.ray_assemblers import assembler_of, divided
from jobs.inputs import pieces
from tests.support.facts import made_up_facts

SECONDS = 20.0


def piece(row: pieces.Piece) -> pa.Table:
    return pa.Table.from_pylist([row], schema=pieces.EMBEDDED)


def outcome(shard_id: str, ordinal: int) -> pa.Table:
    found = pieces.decoded(f"{shard_id}/{ordinal}", "u", "m", 9, made_up_facts())
    return piece(pieces.outcome(shard_id, ordinal, found))


def segment(shard_id: str, ordinal: int) -> pa.Table:
    return piece({"shard_id": shard_id, "ordinal": ordinal, "segment": 0, "embedding": [1.0], "n_frames": 5})


def end(shard_id: str, n_utterances: int = 0) -> pa.Table:
    return piece(pieces.shard_end(shard_id, n_utterances))


def committed(assembler: Assembler) -> list[str]:
    return [rows.shard_id for rows in assembler.take()]


def test_a_shard_is_committed_once_by_the_delivery_that_makes_it_whole() -> None:
    assembler = Assembler(lambda rows: rows)

    for table in (end("s", 1), outcome("s", 0)):
        assembler.add(table)
    assert (assembler.n_open, committed(assembler)) == (1, [])
    for table in (segment("s", 0), segment("s", 0), end("s", 1)):
        assembler.add(table)

    assert (assembler.n_open, committed(assembler)) == (0, ["s"])
    assert assembler.is_idle()


def test_pieces_of_an_encoder_are_taken_once_its_canaries_are_approved() -> None:
    assembler = Assembler(lambda rows: rows)

    assert not assembler.deliver(end("s"), "heard")
    assert not assembler.deliver(end("s"), "")
    assert (assembler.n_open, committed(assembler)) == (0, [])
    assembler.approve({"heard"})

    assert assembler.deliver(end("s"), "heard")
    assert not assembler.deliver(end("t"), "heard otherwise")
    assert committed(assembler) == ["s"]


def test_an_encoder_introduces_itself_until_its_canaries_are_approved() -> None:
    assembler = Assembler(lambda rows: rows)
    report = pieces.canaries(np.ones((2, 3), np.float32), {"torch": "2.13.0"})

    assembler.introduce("heard", report)
    assembler.introduce("heard", report)
    assembler.introduce("heard otherwise", report)

    assert assembler.reply().introduced == [report, report]
    assembler.approve({"heard"})
    assembler.introduce("heard", report)
    assert assembler.reply().introduced == [report]


def test_a_segment_that_has_arrived_is_told_until_its_shard_is_forgotten() -> None:
    assembler = Assembler(lambda rows: rows)
    places = pa.table({"shard_id": ["s", "s", "t", "u"], "ordinal": [0, 1, 0, 0], "segment": [0, 0, 0, 0]})
    for table in (segment("s", 0), outcome("s", 1), segment("t", 0), outcome("t", 0), end("t", 1)):
        assembler.add(table)

    assert committed(assembler) == ["t"]
    assert assembler.arrived(places) == [0, 2]
    assembler.forget("s")
    assert assembler.arrived(places) == [2]


def test_a_shard_without_an_utterance_is_committed_only_if_the_driver_says_so() -> None:
    assembler = Assembler(lambda rows: f"{rows.shard_id} is committed")
    assembler.add(end("a"))
    failed = pieces.failed("c/0", "u", "m", 9, "decode", UtteranceError("empty", "no bytes"))
    for table in (end("c", 1), piece(pieces.outcome("c", 0, failed))):
        assembler.add(table)
    before = assembler.take()
    assembler.commit_empty()
    assembler.add(end("b"))

    assert [before[0].shard_id, *before[1:], *assembler.take()] == ["a", "c is committed", "b is committed"]


def test_two_commits_are_under_way_at_once_and_a_third_delivery_waits() -> None:
    at_once, may_end, is_waiting = threading.Barrier(3), threading.Event(), threading.Event()

    def commit(rows: ShardRows) -> ShardRows:
        if rows.shard_id in "ab":
            at_once.wait(SECONDS)
            may_end.wait(SECONDS)
        return rows

    assembler = Assembler(commit, at_once=2)
    assembler.commit_empty()
    for name in "ab":
        assembler.add(end(name))
    at_once.wait(SECONDS)
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(assembler.add, end("c"))
        is_waiting.wait(0.1)
        assert not third.done()
        assert (assembler.reply().n_committing, assembler.is_idle()) == (3, False)

        may_end.set()
        third.result(SECONDS)
    while assembler.reply().n_committing:
        is_waiting.wait(0.01)
    assert sorted(committed(assembler)) == ["a", "b", "c"]
    assert assembler.is_idle()


def test_what_is_missing_is_told_and_can_be_given_up() -> None:
    assembler = Assembler(lambda rows: rows)
    for table in (outcome("s", 0), segment("s", 0), outcome("s", 1), end("s", 3)):
        assembler.add(table)
    assert assembler.unfinished() == {"s": Unfinished(n_utterances=3, n_outcomes=2, missing=(1, 2))}
    assert assembler.give_up("s", "encoder_crash", "dies", 3) == []  # nothing is known of the last one
    assembler.add(outcome("s", 2))

    assert assembler.give_up("s", "encoder_crash", "dies", 3) == ["s/1", "s/2"]

    (rows,) = assembler.take()
    assert {ordinal: found["error"] for ordinal, found in rows.outcomes.items()} == {
        0: None,
        1: "encoder_crash",
        2: "encoder_crash",
    }
    assert assembler.give_up("s", "encoder_crash", "dies", 3) == []
    assembler.add(outcome("t", 0))
    assembler.forget("t")
    assert assembler.unfinished() == {}


def test_every_piece_of_a_shard_goes_to_one_assembler_in_one_delivery_and_shards_are_spread() -> None:
    names = [f"shard {number}" for number in range(400)]
    table = pa.concat_tables([end(name) for name in names for _ in range(2)])

    parts = divided(table, list(range(4)))

    assert sorted(place for place, _ in parts) == [0, 1, 2, 3]
    where = {name: place for place, part in parts for name in part["shard_id"].to_pylist()}
    assert where == {name: assembler_of(name, list(range(4))) for name in names}
    sizes = [len(part) for _, part in parts]
    assert sum(sizes) == 2 * len(names)
    assert min(sizes) > 2 * 70  # of 200; a fair hash gives fewer in 1 of 3,000 cases
