"""What was not copied in the right order is named by `verify`, and is never taken for a new run's own work."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from detector.errors import SchemaError
from jobs import storage
from jobs.tables.copies import refuse_lost_plans
from jobs.tables.protocol import PlanHistory
from tests.support.storage import remove
from tests.support.tables import SLOTS, commit, place, plan, table
from tests.unit.jobs.erasure.outputs import rows

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def output(root: str) -> str:
    """Two shards of one plan, committed."""
    history = plan(root, a="1", b="1")
    for name in "ab":
        commit(root, history.current[SLOTS[name]], 2)
    return root


def names(output: str) -> list[str]:
    return sorted(stored.uri.removeprefix(f"{output}/") for stored in storage.listing(output) or [])


def replace_a(output: str) -> PlanHistory:
    """A second night, in which `a` is replaced."""
    history = plan(output, a="2")
    commit(output, history.current[SLOTS["a"]], 3)
    return history


def test_a_copy_in_the_right_order_is_whole_at_every_moment_between_two_writes(output: str, bonafide: Run) -> None:
    to = f"{output}-copy"
    kept = {name: storage.read_bytes(f"{output}/{name}") for name in names(output) if name.startswith("_commits/")}
    replace_a(output)
    kept |= {name: storage.read_bytes(f"{output}/{name}") for name in names(output) if not name.startswith("_commits/")}
    for name, content in kept.items():
        storage.write_bytes(f"{to}/{name}", content)

    code, out, _ = bonafide("verify", to)

    assert code == 0
    assert "1 shards, 2 embeddings" in out
    assert "1 planned and not done yet by run 2026-01-01-00000002" in out
    replace_a(to)
    assert list(rows(to, "embeddings")) == ["a2#0", "a2#1", "a2#2", "b1#0", "b1#1"]
    assert bonafide("verify", to)[0] == 0


def test_a_marker_of_a_lost_plan_is_named_and_refused_and_collected(output: str, bonafide: Run) -> None:
    lost = replace_a(output).current[SLOTS["a"]].name
    remove(f"{output}/_plans/{table(output).name}/000002.json")

    code, out, _ = bonafide("verify", output)

    marker = f"{output}/_commits/{table(output).name}/{lost}.json"
    assert code == 65
    assert f"{marker}: is committed, and its plan is not among those in _plans/{table(output).name}" in out
    assert f"{place(output, 'a')}: SHA-256 " in out  # rows of the lost plan, under the first plan's marker
    with pytest.raises(SchemaError, match=rf"{lost}\.json: is committed, and its plan .* Copy `_plans` once more"):
        refuse_lost_plans(table(output), table(output).history(), table(output).done())
    assert bonafide("gc", output, "--grace-hours", 0, "--lost-plans")[0] == 0
    remove(place(output, "a"))
    replace_a(output)
    assert list(rows(output, "embeddings")) == ["a2#0", "a2#1", "a2#2", "b1#0", "b1#1"]
    assert bonafide("verify", output)[0] == 0


def test_rows_of_a_lost_plan_are_named(output: str, bonafide: Run) -> None:
    lost = plan(output, c="1").current[SLOTS["c"]]
    commit(output, lost, 1)
    for name in (f"_plans/{table(output).name}/000002.json", f"_commits/{table(output).name}/{lost.name}.json"):
        remove(f"{output}/{name}")

    assert f"{place(output, 'c')}: no plan knows its shard; `gc` removes it" in bonafide("verify", output)[1]

    plan(output, c="7")  # planned in another state, which takes the number of the lost plan
    remove(f"{output}/_plans/{table(output).name}/000002.json")
    assert bonafide("gc", output, "--grace-hours", 0)[0] == 0
    assert bonafide("verify", output)[0] == 0


def test_rows_of_a_lost_plan_in_the_place_of_what_is_not_done_are_named(output: str, bonafide: Run) -> None:
    plan(output, c="1")
    commit(output, lost := plan(output, c="2").current[SLOTS["c"]], 1)
    for name in (f"_plans/{table(output).name}/000003.json", f"_commits/{table(output).name}/{lost.name}.json"):
        remove(f"{output}/{name}")

    said = bonafide("verify", output)[1]

    assert f"{place(output, 'c')}: its rows are of a plan that is not here; remove it" in said


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_what_was_committed_under_a_plan_that_is_not_here_is_no_garbage(
    output: str, bonafide: Run, more: tuple[str, ...]
) -> None:
    plan_uri = f"{output}/_plans/{table(output).name}/000001.json"
    lost = storage.read_bytes(plan_uri)
    before = names(output)
    remove(plan_uri)

    for _ in range(2):  # a list of garbage would be old enough the second time
        code, _, error = bonafide("gc", output, "--grace-hours", 0, *more)
        assert code == 65
        assert "is committed, and its plan is not among those in _plans" in error
    storage.write_bytes(plan_uri, lost)

    assert names(output) == before
    assert bonafide("verify", output)[0] == 0


def test_an_output_without_any_plan_is_named_and_can_be_given_up(output: str, bonafide: Run) -> None:
    remove(f"{output}/_plans/{table(output).name}/000001.json")

    code, out, _ = bonafide("verify", output)

    assert code == 65
    assert (out.count("`gc --lost-plans` removes this"), out.count("; `gc` removes it")) == (2, 2)
    assert bonafide("gc", output, "--grace-hours", 0, "--lost-plans")[0] == 0
    assert [name for name in names(output) if not name.startswith("_garbage")] == []


def test_a_marker_whose_rows_are_older_is_named_with_its_source(output: str, bonafide: Run) -> None:
    before = storage.read_bytes(place(output, "a"))
    replace_a(output)
    storage.write_bytes(place(output, "a"), before)

    code, out, _ = bonafide("verify", output)

    assert code == 65
    assert f"{place(output, 'a')}: SHA-256 " in out
    assert "; source a; its rows differ" in out
