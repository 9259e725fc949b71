"""A plan of an earlier release, with shorter ids and no ctime of local files, holds for files not changed after it."""

from __future__ import annotations

import datetime
from dataclasses import replace
from functools import partial

import pytest

from jobs.inputs.archive import Archive
from jobs.inputs.shards import Shard
from jobs.storage import Stored
from jobs.tables.plan import Proposal, entry_of, propose
from jobs.tables.protocol import Plan, PlanHistory
from jobs.tables.source_index import SourceIndex

FIRST, SECOND = "2026-01-01", "2026-01-05"


def found(name: str, changed: str, modified: int = 0xABC) -> Stored:
    """A file as it is found: with the time, UTC, at which it was changed."""
    moment = datetime.datetime.fromisoformat(changed).replace(tzinfo=datetime.UTC)
    return Stored(f"/archive/{name}", 10, f"{modified:x}+{int(moment.timestamp()) * 1_000_000_000:x}")


def group(*files: Stored) -> Archive:
    return Archive((), files, {})


def tar(*files: Stored) -> Archive:
    return Archive(tuple(Shard("tar", (each,)) for each in files), (), {})


def planned_before(archive: Archive) -> PlanHistory:
    """The plan that the earlier release made of an archive."""
    entries = []
    for entry in propose(archive, PlanHistory(), set(), lambda _: None).new:
        shard = Shard.from_content(entry.work)
        sources = tuple(Stored(each.uri, each.size, each.etag.partition("+")[0]) for each in shard.sources)
        planned = entry_of(Shard(shard.kind, sources, shard.names))
        entries.append(replace(planned, state=planned.state[:16]))
    return PlanHistory((Plan("1", FIRST, entries),))


def proposed(archive: Archive, history: PlanHistory, *, with_index: bool) -> Proposal:
    done = {planned.name for planned in history.current.values()}
    if not with_index:
        return propose(archive, history, done, lambda _: None)
    index = SourceIndex(history, done, relative=False)
    sources = (*archive.files, *(each.sources[0] for each in archive.containers))
    left = {each.uri for each in sources if not index.sees(each)}
    files = tuple(each for each in archive.files if each.uri in left)
    containers = tuple(each for each in archive.containers if each.uri in left)
    return propose(Archive(containers, files, {}), history, done, lambda _: None, index=index)


@pytest.mark.parametrize("with_index", [False, True])
@pytest.mark.parametrize("kind", [group, tar])
@pytest.mark.parametrize(
    ("changed", "is_new"),
    [("2025-06-01", False), (f"{FIRST}T23:59:59", False), ("2026-01-02T00:00:00", True), ("2026-01-03", True)],
)
def test_a_source_is_as_it_was_until_the_end_of_the_plan_s_date(
    changed: str, is_new: bool, kind: partial[Archive], with_index: bool
) -> None:
    history = planned_before(kind(found("a.tar", "2025-06-01")))

    assert bool(proposed(kind(found("a.tar", changed)), history, with_index=with_index).new) == is_new
    assert proposed(kind(found("a.tar", "2025-06-01", modified=0xDEF)), history, with_index=with_index).new


@pytest.mark.parametrize("with_index", [False, True])
def test_in_a_later_plan_the_source_keeps_the_date_of_the_first(with_index: bool) -> None:
    a, b = found("a.wav", "2025-06-01"), found("b.wav", "2025-06-01")
    new_b = found("b.wav", SECOND, modified=0xDEF)
    history = planned_before(group(a, b))

    (entry,) = proposed(group(a, new_b), history, with_index=with_index).new

    assert [source.etag for source in Shard.from_content(entry.work).sources] == [f"abc@{FIRST}", new_b.etag]
    later = PlanHistory((*history.plans, Plan("2", SECOND, [entry])))
    assert not proposed(group(a, new_b), later, with_index=with_index).new
    replaced = found("a.wav", "2026-01-03")  # before the second plan, which did not look at it
    (entry,) = proposed(group(replaced, new_b), later, with_index=with_index).new
    assert Shard.from_content(entry.work).sources == (replaced, new_b)


@pytest.mark.parametrize("with_index", [False, True])
def test_a_source_of_this_release_is_another_one_with_any_other_ctime(with_index: bool) -> None:
    archive = group(found("a.wav", SECOND))
    history = PlanHistory((Plan("1", SECOND, propose(archive, PlanHistory(), set(), lambda _: None).new),))

    assert not proposed(archive, history, with_index=with_index).new
    for changed in (f"{SECOND}T00:00:01", "2025-01-01"):
        assert proposed(group(found("a.wav", changed)), history, with_index=with_index).new
