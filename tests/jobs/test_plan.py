"""jobs.plan: what is left to do of an archive, beside what was planned and committed before."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from detector.errors import ConfigError
from jobs.archive import Archive, Shard
from jobs.plan import Plan, make_plan
from jobs.storage import Stored


def stored(name: str, etag: str = "e", size: int = 10) -> Stored:
    return Stored(f"s3://bucket/{name}", size, etag)


def files(*names: str, **etags: str) -> Archive:
    """An archive of loose files; a tag that is not `e` where given by name."""
    return Archive((), tuple(sorted(stored(name, etags.get(name, "e")) for name in names)), {})


def tars(*names: str) -> Archive:
    return Archive(tuple(Shard("tar", (stored(name),)) for name in names), (), {})


def known(*plans: Plan) -> dict[str, Shard]:
    return {shard.shard_id: shard for plan in plans for shard in plan.shards}


def contents(shards: tuple[Shard, ...]) -> list[str]:
    """Names of the shards' sources, a word a shard: `ab c`."""
    return ["".join(source.uri.removeprefix("s3://bucket/") for source in shard.sources) for shard in shards]


def test_a_tar_is_its_own_shard_in_every_plan() -> None:
    first = make_plan(tars("x", "y"), {}, set())
    second = make_plan(tars("w", "x", "y"), known(first), set())

    assert contents(first.shards) == ["x", "y"]
    assert set(first.shards) < set(second.shards)


def test_the_same_archive_has_the_same_plan_id_and_another_state_another() -> None:
    plan = make_plan(files("a", "b"), {}, set())

    assert make_plan(files("b", "a"), {}, set()).plan_id == plan.plan_id
    assert make_plan(tars("x", "y"), {}, set()).plan_id == make_plan(tars("y", "x"), {}, set()).plan_id
    assert make_plan(files("a", "b"), known(plan), set(known(plan))).plan_id == plan.plan_id
    assert make_plan(files("a", "b", b="f"), {}, set()).plan_id != plan.plan_id
    assert make_plan(files("a"), {}, set()).plan_id != plan.plan_id


def test_what_is_done_is_planned_but_not_left_to_do() -> None:
    archive = tars("x", "y")
    done = archive.tars[0].shard_id

    plan = make_plan(archive, {}, {done, "a shard of another archive"})

    assert contents(plan.shards) == ["x", "y"]
    assert contents(plan.todo) == ["y"]


@pytest.mark.parametrize("committed", [True, False])
def test_new_files_make_new_shards_and_leave_the_old_alone(committed: bool) -> None:
    first = make_plan(files("a", "c"), {}, set())
    done = set(known(first)) if committed else set()

    second = make_plan(files("a", "b", "c"), known(first), done)

    assert contents(second.shards) == ["ac", "b"]
    assert contents(second.todo) == (["b"] if committed else ["ac", "b"])


def test_groups_of_three_nights_stay_as_they_were_made() -> None:
    first = make_plan(files("b"), {}, set())
    second = make_plan(files("a", "b"), known(first), set(known(first)))
    third = make_plan(files("a", "b", "c", "d"), known(first, second), set(known(first, second)))

    assert sorted(contents(third.shards)) == ["a", "b", "cd"]
    assert contents(third.todo) == ["cd"]


def test_what_is_committed_goes_before_what_was_only_planned() -> None:
    stopped = make_plan(files("a", "b"), {}, set())
    without_b = make_plan(files("a"), known(stopped), set())

    plan = make_plan(files("a", "b"), known(stopped, without_b), set(known(without_b)))

    assert contents(plan.todo) == ["b"]


def test_a_deleted_file_does_not_bring_its_committed_neighbours_back() -> None:
    first = make_plan(files("a", "b"), {}, set())

    plan = make_plan(files("a", "c"), known(first), set(known(first)))

    assert contents(plan.todo) == ["c"]
    assert first.shards[0] in plan.shards


def test_a_shard_whose_sources_are_all_gone_is_in_no_plan() -> None:
    first = make_plan(files("a"), {}, set())
    old = make_plan(tars("x"), {}, set())

    plan = make_plan(files("b"), known(first, old), set(known(first, old)))

    assert contents(plan.shards) == ["b"]


@pytest.mark.parametrize("now", [files("a"), files("a", "b", b="f")], ids=["deleted", "changed"])
def test_an_uncommitted_group_that_is_no_longer_whole_is_made_anew(now: Archive) -> None:
    first = make_plan(files("a", "b"), {}, set())

    plan = make_plan(now, known(first), set())

    assert [source for shard in plan.todo for source in shard.sources] == list(now.files)
    assert first.shards[0] not in plan.shards


def test_a_committed_file_that_changed_is_refused_with_both_states() -> None:
    first = make_plan(files("a", "b"), {}, set())
    changed = Archive((), (stored("a"), stored("b", "f", 11)), {})

    with pytest.raises(ConfigError, match=r"s3://bucket/b: changed .*10 bytes and tag e, now 11 and f"):
        make_plan(changed, known(first), set(known(first)))


@pytest.mark.parametrize(
    "change", [{"sources": (stored("x", "f"),)}, {"names": (("m", "mine"),)}], ids=["state", "selection"]
)
def test_a_committed_tar_in_another_state_or_selection_is_refused_with_both_shards(change: dict[str, Any]) -> None:
    first = make_plan(tars("x"), {}, set())
    tar = dataclasses.replace(first.shards[0], **change)

    with pytest.raises(ConfigError, match="another state or selection") as refused:
        make_plan(Archive((tar,), (), {}), known(first), set(known(first)))

    assert all(each in str(refused.value) for each in ("s3://bucket/x", first.shards[0].shard_id, tar.shard_id))


def test_files_planned_under_other_ids_and_not_done_are_planned_under_those_of_now() -> None:
    first = make_plan(files("a"), {}, set())
    named = dataclasses.replace(files("a"), ids={"s3://bucket/a": "mine"})

    plan = make_plan(named, known(first), set())

    assert [shard.names for shard in plan.todo] == [(("s3://bucket/a", "mine"),)]


def test_files_committed_under_other_ids_are_refused_like_a_tar_s_members() -> None:
    first = make_plan(files("a"), {}, set())
    named = dataclasses.replace(files("a"), ids={"s3://bucket/a": "mine"})

    with pytest.raises(ConfigError, match="s3://bucket/a"):
        make_plan(named, known(first), set(known(first)))
