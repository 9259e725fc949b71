"""A checkpoint is a cache of what the markers say: a run finds the same with it and without."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from detector.errors import SchemaError
from jobs import storage
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.entries import Entries, Entry
from jobs.tables.folding import Checkpoint
from jobs.tables.frozen_plan import Plan
from jobs.tables.ledger import Ledger
from jobs.tables.names import Names
from jobs.tables.plan_history import PlanHistory
from jobs.tables.protocol import Answer, Marker, Protocol, Steps
from jobs.tables.steps import carry_out

KEY = "0123456789abcdef"
SLOTS = [f"{number:016x}" for number in range(6)]


class Output:
    """An output on a local disk, whose runs fold every commit."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.protocol = Protocol(f"embeddings-{KEY}", lambda _name, _content: None, str(place), fold_from=1)

    def freeze(self, *slots: str) -> PlanHistory:
        n_before = len(self.history().plans)
        entries = tuple(Entry(slot, "state") for slot in slots)
        plan = Plan(f"run {n_before}", "2026-11-29", entries)
        return self.carry_out(self.protocol.freeze(lambda history: plan if len(history.plans) == n_before else None))

    def commit(self, name: str) -> None:
        marker = Marker(name, "s3://a/b.tar", {}, {}, {}, {})
        storage.write_bytes(str(self.place / self.protocol.marker_name(name)), marker.to_json())

    def history(self) -> PlanHistory:
        return self.carry_out(self.protocol.read())

    def done(self, *, listed: bool) -> Names:
        return self.carry_out(self.protocol.done(None if listed else self.history()))

    def fold(self) -> str | None:
        return self.carry_out(self.protocol.fold(self.history(), self.done(listed=True)))

    def carry_out(self, steps: Steps[Answer]) -> Answer:
        return carry_out(str(self.place), steps)

    def last_committed(self, *, listed: bool) -> list[str]:
        return list(self.history().last_committed(self.done(listed=listed)).names)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_after_any_history_a_run_finds_the_same_committed_with_a_checkpoint_and_without(
    tmp_path: Path, seed: int
) -> None:
    output, rng = Output(tmp_path), random.Random(seed)
    folded: list[str] = []
    for _ in range(25):
        history = output.history()
        match rng.choice(["plan", "commit", "commit", "fold", "gc", "delete", "tear"]):
            case "plan":
                output.freeze(*sorted(rng.sample(SLOTS, rng.randint(1, 3))))
            case "commit" if len(history.row_names):
                output.commit(rng.choice(list(history.by_name)))
            case "fold":
                folded += filter(None, [output.fold()])
            case "gc":
                markers = [output.protocol.marker_name(name) for name in output.done(listed=True)]
                for name in output.carry_out(output.protocol.garbage([], markers, lambda name: name)):
                    storage.remove(str(tmp_path / name))
            case "delete" if folded:
                storage.remove(str(tmp_path / rng.choice(folded)))
            case "tear" if folded and (tmp_path / folded[-1]).exists():
                content = (tmp_path / folded[-1]).read_bytes()
                (tmp_path / folded[-1]).write_bytes(content[: rng.randrange(len(content))])
        assert output.last_committed(listed=False) == output.last_committed(listed=True)


def three_committed(output: Output) -> str:
    history = output.freeze(*SLOTS[:3])
    for name in history.names:
        output.commit(name)
    name = output.fold()
    assert name is not None
    return name


def test_a_run_with_a_checkpoint_looks_for_no_marker_that_it_names_but_a_few(output: Output) -> None:
    three_committed(output)
    output.freeze(SLOTS[3])
    asked: list[Any] = []

    def noted() -> Steps[Names]:
        steps, answer = output.protocol.done(output.history()), None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            asked.append(request)
            answer = yield request

    assert output.carry_out(noted()) == {f"{slot}-000001" for slot in SLOTS[:3]}
    kinds = [type(each).__name__ for each in asked]
    assert kinds == ["List", "Get", "Exist", "Exist"]
    assert asked[0].folder == output.protocol.checkpoints_folder
    assert asked[3].names == [output.protocol.marker_name(f"{SLOTS[3]}-000002")]


@pytest.mark.parametrize(
    "changes",
    [
        {"output": "/elsewhere"},
        {"ledger": "scores-0"},
        {"plans": ["0" * 64]},
        {"plans": []},
        {"plans": None},
        {"format": 9},
        {"committed": 3},
    ],
    ids=str,
)
def test_a_checkpoint_of_another_output_ledger_or_plan_is_not_believed(
    output: Output, changes: dict[str, object]
) -> None:
    name = three_committed(output)
    claimed = {"committed": [f"{slot}-000001" for slot in SLOTS]} | changes
    stored = output.place / name
    stored.write_bytes(dump_checksummed(load_checksummed(stored.read_bytes(), name) | claimed))
    expected = {f"{slot}-000001" for slot in SLOTS[:3]}
    assert output.done(listed=False) & output.history().names == expected


def test_a_checkpoint_whose_markers_are_lost_is_not_believed_and_is_garbage(output: Output) -> None:
    name = three_committed(output)
    history, done = output.history(), output.done(listed=True)
    assert output.carry_out(output.protocol.false_checkpoints(history, done)) == []
    for marker in done:
        storage.remove(str(output.place / output.protocol.marker_name(marker)))
    assert output.done(listed=False) == set()
    assert output.carry_out(output.protocol.false_checkpoints(history, Names())) == [name]


def test_a_torn_checkpoint_leaves_its_predecessor_in_force_and_gc_takes_it(output: Output) -> None:
    first = three_committed(output)
    for name in output.freeze(SLOTS[3]).names:
        output.commit(name)
    second = output.fold()
    assert second is not None
    assert second > first
    (output.place / second).write_bytes(b"{}")
    assert output.last_committed(listed=False) == output.last_committed(listed=True)
    false = output.carry_out(output.protocol.false_checkpoints(output.history(), output.done(listed=True)))
    assert false == [second]


def test_a_second_run_that_folds_the_same_writes_nothing(output: Output) -> None:
    three_committed(output)
    assert output.fold() is None


def test_a_plan_that_was_lost_is_noticed_though_its_markers_are_not_listed(output: Output) -> None:
    three_committed(output)
    output.commit(f"{SLOTS[4]}-000002")  # under a second plan, which is not here
    output.done(listed=False)  # as a run does before it plans
    with pytest.raises(SchemaError, match=f"{SLOTS[4]}-000002.json: is committed, and its plan is not in _plans"):
        output.freeze(SLOTS[4])
    assert len(output.freeze(SLOTS[5]).plans) == 2


def test_a_checkpoint_says_nothing_of_recordings(output: Output) -> None:
    content = json.loads((output.place / three_committed(output)).read_bytes())
    del content["sha256_of_the_above"], content["format"]
    assert content == {
        "output": str(output.place),
        "ledger": f"embeddings-{KEY}",
        "plans": [output.history().plans[0].seal],
        "committed": [f"{slot}-000001" for slot in SLOTS[:3]],
    }
    assert {field.name for field in dataclasses.fields(Checkpoint)} == {"output", "ledger", "seals", "names"}


def test_a_ledger_reads_a_plan_of_other_software_with_other_spaces() -> None:
    entries = (Entry("a", "1", {"sources": [["s3://a/b, c", 1, '] "shards": [']]}), Entry("b", "2"))
    plan = Plan("run", "2026-11-29", entries, {"shards": ['"shards": [', {"shards": []}]})
    stored = load_checksummed(plan.to_json(), "plan")
    assert stored["shards"] == [[each.slot, each.state, each.work] for each in entries]
    for text in (plan.to_json(), dump_checksummed(stored), dump_checksummed(stored, indent=1)):
        read = Plan.from_json(text, "plan")
        assert read == plan
        assert isinstance(read.entries, Entries)
    assert plan.to_json() == dump_checksummed(stored) == read.to_json()


def test_a_ledger_folds_at_the_end_of_a_run(tmp_path: Path) -> None:
    table = Ledger(str(tmp_path), "embeddings", KEY)
    slots = [f"{number:016x}" for number in range(1_000)]
    history = table.freeze(lambda history: None if history.plans else plan_of(slots))
    folder = tmp_path / "_commits" / table.name
    folder.mkdir(parents=True)
    for name in history.names:
        (folder / f"{name}.json").write_bytes(b"")
    table.fold(history, table.done(history))
    assert [each.name[:17] for each in (tmp_path / "_commits" / f"checkpoints-{table.name}").iterdir()] == [
        "000001-0000001000"
    ]
    assert table.done(history) == table.done() == history.names


def plan_of(slots: list[str]) -> Plan:
    return Plan("run", "2026-11-29", tuple(Entry(slot, "state") for slot in slots))
