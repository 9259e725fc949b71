"""Lost pieces are embedded again in a bounded number of passes; what keeps failing is split, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from jobs.embedding.attempts import EmbeddingAttempts
from jobs.errors import CorruptError, RunAgain, SourceChangedError, StalledError, WorkersLostError, to_text
from jobs.execution.assemblers import Assembler
from jobs.execution.retries import PASSES, retry
from jobs.inputs import pieces
from jobs.inputs.shards import CHANGED, Portion, Selection, Shard
from jobs.storage import Stored
from tests.support.facts import made_up_facts

RECIPE = Recipe(EmbedConfig(backbone="melstats"), "melstats", "")

FACTS = made_up_facts()
N_UTTERANCES = 4


def shard(name: str) -> Shard:
    return Shard("tar", (Stored(f"s3://bucket/{name}", 10, "e"),))


class Machines:
    """A stream that loses pieces by pass, shard and utterance, as ``lose`` decides, and records its requests."""

    def __init__(self, lose: Callable[[int, str, int], bool] = lambda *_: False) -> None:
        self.asked: list[list[tuple[str, tuple[int, ...] | None, str]]] = []
        self.troubles: dict[tuple[int, str], Exception] = {}
        self._lose = lose

    def __call__(self, given: Iterable[Portion], singly: bool) -> Iterator[pa.Table]:
        assert singly == bool(self.asked), "one at a time from the second pass on"
        portions = list(given)
        self.asked.append([(_name(portion), portion.only, portion.part) for portion in portions])
        number = len(self.asked)
        for portion in portions:
            if (trouble := self.troubles.get((number, _name(portion)))) is not None:
                if isinstance(trouble, StalledError | WorkersLostError):
                    raise trouble
                yield _embedded([pieces.trouble(portion.shard.shard_id, to_text(trouble))])
                continue
            yield from self._read(number, portion)

    def _read(self, number: int, portion: Portion) -> Iterator[pa.Table]:
        shard_id = portion.shard.shard_id
        ordinals = range(N_UTTERANCES) if portion.only is None else portion.only
        for ordinal in ordinals:
            if portion.part != "known" and not self._lose(number, _name(portion), ordinal):
                yield _embedded([pieces.segment(shard_id, ordinal, 0, np.full(8, ordinal, np.float32))])
        outcomes = [
            pieces.outcome(shard_id, each, pieces.decoded(f"{_name(portion)}#{each}", "u", f"{each}", 1, FACTS))
            for each in ordinals
        ]
        if portion.part != "segments" and not self._lose(number, _name(portion), -1):
            yield _embedded([*outcomes, pieces.shard_end(shard_id, N_UTTERANCES)])


def _name(portion: Portion) -> str:
    return portion.shard.uri.removeprefix("s3://bucket/")


def _embedded(rows: list[pieces.Piece]) -> pa.Table:
    """What an encoder makes of pieces: the first sample of each segment."""
    table = pa.Table.from_pylist(rows, schema=pieces.DECODED)
    places, samples = pieces.samples_of(table)
    vectors = np.array([each[:1] for each in samples], np.float32).reshape(len(samples), 1)
    return pieces.embedded(table, places, vectors, np.ones(len(samples), np.int64))


def run(machines: Machines, *names: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of both tables, by shard, of a run that does not pause between passes."""
    shards = [shard(name) for name in names]
    names_of = {each.shard_id: name for each, name in zip(shards, names, strict=True)}
    found = {}
    for rows in retry(
        EmbeddingAttempts(shards, len(shards), machines, Assembler(lambda rows: rows)), pause=lambda _: None
    ):
        embeddings, failures = rows.tables(RECIPE, "run")
        found[names_of[rows.shard_id]] = [*embeddings.to_pylist(), *failures.to_pylist()]
    return found


def test_nothing_lost_is_one_pass() -> None:
    machines = Machines()

    found = run(machines, "x", "y")

    assert {name: len(rows) for name, rows in found.items()} == {"x": 4, "y": 4}
    assert machines.asked == [[("x", None, "all"), ("y", None, "all")]]


def test_shards_are_made_when_they_are_asked_for_and_forgotten_when_they_are_done() -> None:
    made: list[str] = []

    def shards() -> Iterator[Shard]:
        for number in range(200):
            made.append(f"{number}")
            yield shard(f"{number}")

    machines, ahead = Machines(), []

    def stream(portions: Iterable[Portion], _singly: bool) -> Iterator[pa.Table]:
        for portion in portions:
            ahead.append(len(made) - n_done)
            yield from machines([portion], False)
            machines.asked.clear()

    n_done = 0
    attempts = EmbeddingAttempts(shards(), 200, stream, Assembler(lambda rows: rows))
    for _ in retry(attempts):
        n_done += 1

    assert (n_done, max(ahead)) == (200, 1)


def test_what_no_pass_has_begun_is_missing() -> None:
    machines = Machines()
    machines.troubles = {(number, "x"): WorkersLostError("Ray gave up") for number in (1, 2, 3)}

    def first_alone(portions: Iterable[Portion], singly: bool) -> Iterator[pa.Table]:
        return machines([next(iter(portions))], singly)

    attempts = EmbeddingAttempts([shard("x"), shard("y")], 2, first_alone, Assembler(lambda rows: rows))
    with pytest.raises(RunAgain, match=r"2 shard\(s\) not whole, first s3://bucket/x: Ray gave up"):
        list(retry(attempts, pause=lambda _: None))


def test_only_what_was_lost_is_asked_for_again() -> None:
    machines = Machines(lambda number, name, ordinal: number == 1 and name == "x" and ordinal in (1, 2))

    found = run(machines, "x", "y")

    assert machines.asked[1:] == [[("x", (1, 2), "segments")]]
    assert [row["embedding"] for row in found["x"]] == [[0.0], [1.0], [2.0], [3.0]]


def test_a_shard_whose_reader_was_lost_is_read_whole() -> None:
    machines = Machines(lambda number, name, ordinal: number == 1 and name == "x" and ordinal == -1)

    assert len(run(machines, "x")["x"]) == 4
    assert machines.asked[1:] == [[("x", None, "known"), ("x", None, "segments")]]


def test_what_a_lost_assembler_had_is_read_again() -> None:
    assembler, asked = Assembler(lambda rows: rows), []

    def stream(given: Iterable[Portion], _singly: bool) -> Iterator[pa.Table]:
        portions = list(given)
        asked.append([(portion.only, portion.part) for portion in portions])
        for number, table in enumerate(table for each in portions for table in Machines()([each], False)):
            if (len(asked), number) == (1, N_UTTERANCES):
                yield table.slice(0, 2)  # two of the outcomes
                assembler.forget(shard("x").shard_id)  # it starts again empty, and gets the rest
                table = table.slice(2)
            yield table

    (rows,) = retry(EmbeddingAttempts([shard("x")], 1, stream, assembler), pause=lambda _: None)

    assert len(rows.outcomes) == N_UTTERANCES
    assert asked == [[(None, "all")], [(None, "known"), ((0, 1, 2, 3), "segments")]]


def test_in_the_last_pass_each_utterance_is_attempted_alone() -> None:
    machines = Machines(lambda number, _, ordinal: number < PASSES and ordinal in (0, 3))

    assert len(run(machines, "x")["x"]) == 4
    assert machines.asked[-1] == [("x", (0,), "segments"), ("x", (3,), "segments")]


def test_a_recording_that_kills_its_encoder_alone_is_a_row() -> None:
    machines = Machines(lambda _number, name, ordinal: name == "x" and ordinal == 2)

    found = run(machines, "x", "y")

    (failure,) = [row for row in found["x"] if "error" in row]
    assert (failure["utterance_id"], failure["error"], failure["attempts"]) == ("x#2", "encoder_crash", PASSES)
    assert failure["stage"] == "embed"
    assert len(found["x"]) == len(found["y"]) == 4


@pytest.mark.parametrize(
    "lose",
    [
        lambda *_: True,  # a broken machine
        lambda _number, _name, ordinal: ordinal >= 0,  # all four: more than recordings could be to blame for
    ],
    ids=["everything", "every utterance"],
)
def test_trouble_that_is_not_one_recording_s_ends_the_run_and_names_the_shard(lose: Any) -> None:
    machines = Machines(lose)

    with pytest.raises(RunAgain, match=r"gave up after 3 passes: 1 shard\(s\) not whole, first s3://bucket/x"):
        run(machines, "x")

    assert len(machines.asked) == PASSES


def test_rows_of_corrupt_bytes_are_thrown_away_and_done_again() -> None:
    machines = Machines()
    machines.troubles[1, "x"] = CorruptError("s3://bucket/x: not the bytes")

    assert len(run(machines, "x", "y")["x"]) == 4
    assert machines.asked[1:] == [[("x", None, "all")]]


def test_bytes_that_are_corrupt_every_time_end_the_run() -> None:
    machines = Machines()
    machines.troubles = {(number, "x"): CorruptError("s3://bucket/x: not the bytes") for number in (1, 2, 3)}

    with pytest.raises(CorruptError, match="s3://bucket/x: not the bytes"):
        run(machines, "x", "y")


def test_a_changed_source_is_set_aside_and_raised_after_all_others() -> None:
    machines = Machines()
    machines.troubles[1, "x"] = SourceChangedError("s3://bucket/x: gone")
    given = []

    with pytest.raises(SourceChangedError, match=r"1 shard\(s\) set aside.*s3://bucket/x: gone"):
        given += list(retry(EmbeddingAttempts([shard("x"), shard("y")], 2, machines, Assembler(lambda rows: rows))))

    assert len(machines.asked) == 1


def test_a_source_that_changed_again_is_a_failure_of_each_of_its_recordings_that_are_known() -> None:
    machines = Machines()
    listed = Shard.selecting("tar", shard("x").sources, [("m", Selection("first")), ("n", Selection("second"))])
    machines.troubles = {(1, name): SourceChangedError(f"s3://bucket/{name}: changed") for name in "xy"}
    attempts = EmbeddingAttempts(
        [listed, shard("y"), shard("z")], 3, machines, Assembler(lambda rows: rows), is_again=True
    )

    found = {rows.shard_id: rows.tables(RECIPE, "run") for rows in retry(attempts, pause=lambda _: None)}

    failed = {key: [(row["utterance_id"], row["error"]) for row in rows[1].to_pylist()] for key, rows in found.items()}
    assert failed == {
        listed.shard_id: [("first", CHANGED), ("second", CHANGED)],
        shard("y").shard_id: [(shard("y").id_of(None), CHANGED)],
        shard("z").shard_id: [],
    }
    assert len(machines.asked) == 1


def test_a_setting_that_does_not_fit_ends_the_run_at_once() -> None:
    machines = Machines()
    machines.troubles[1, "x"] = ConfigError("--layer 99")

    with pytest.raises(ConfigError, match="--layer 99"):
        run(machines, "x", "y")

    assert len(machines.asked) == 1


def test_a_lost_cluster_costs_one_pass() -> None:
    machines = Machines()
    machines.troubles[1, "y"] = WorkersLostError("Ray gave up")

    found = run(machines, "x", "y")

    assert set(found) == {"x", "y"}
    assert machines.asked[1] == [("y", None, "known"), ("y", None, "segments")]


def test_a_stall_ends_the_run_and_names_the_shard() -> None:
    machines = Machines()
    machines.troubles[1, "y"] = StalledError("no progress for 120 s.")

    with pytest.raises(StalledError, match=r"no progress for 120 s. 1 shard\(s\) not whole, first s3://bucket/y"):
        run(machines, "x", "y")


def test_a_container_that_ends_its_reader_also_when_it_is_read_alone_is_one_row() -> None:
    machines = Machines(lambda _number, name, ordinal: name == "x" and ordinal in (-1, 2, 3))

    found = run(machines, "x", "y")

    (failure,) = found["x"]
    assert (failure["error"], failure["stage"], failure["uri"]) == ("bad_archive", "read", "s3://bucket/x")
    assert failure["utterance_id"] == shard("x").id_of(None)
    assert len(found["y"]) == 4
    assert machines.asked[PASSES:] == [[("x", None, "all")]]


def test_a_container_that_is_read_once_nothing_is_beside_it_is_whole() -> None:
    machines = Machines(lambda number, name, ordinal: name == "x" and ordinal == -1 and number <= PASSES)

    found = run(machines, "x", "y")

    assert [row["embedding"] for row in found["x"]] == [[0.0], [1.0], [2.0], [3.0]]


def test_a_container_whose_worker_said_why_it_stopped_is_not_to_blame() -> None:
    machines = Machines()
    machines.troubles = {(number, "x"): RunAgain("no decoder starts") for number in (1, 2, 3)}

    with pytest.raises(RunAgain, match=r"gave up after 3 passes.*no decoder starts"):
        run(machines, "x", "y")


def test_more_unreadable_containers_than_strangers_send_are_the_machines_fault() -> None:
    machines = Machines(lambda _number, name, _ordinal: name != "y")

    with pytest.raises(RunAgain, match=r"gave up after 3 passes: 4 shard\(s\) not whole"):
        run(machines, "a", "b", "c", "d", "y")
