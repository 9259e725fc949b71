"""What is new in an archive, beside what was planned and committed before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from detector.audio import Excerpt
from detector.errors import ConfigError
from jobs import storage
from jobs.errors import StorageError
from jobs.inputs.archive import Archive
from jobs.inputs.shards import FOLDER, REMOVED, SHARED, Selection, Shard
from jobs.storage import Stored
from jobs.tables.plan import Proposal, plan_id_of, propose, propose_scores
from jobs.tables.protocol import Entry, Plan, PlanHistory

Look = Callable[[str], Stored | None]


def stored(name: str, etag: str = "e", size: int = 10) -> Stored:
    return Stored(f"s3://bucket/{name}", size, etag)


def files(*names: str, **etags: str) -> Archive:
    """An archive of loose files; a tag that is not `e` where given by name."""
    return Archive((), tuple(sorted(stored(name, etags.get(name, "e")) for name in names)), {})


def tars(*names: str, **etags: str) -> Archive:
    return Archive(tuple(Shard("tar", (stored(name, etags.get(name, "e")),)) for name in names), (), {})


def nothing_there(_uri: str) -> None:
    return None


def night(
    archive: Archive, history: PlanHistory, *, done: bool = True, look: Look = nothing_there
) -> tuple[Proposal, PlanHistory]:
    """Plan an archive after a night that committed all of its plans, or none of them; and the history afterwards."""
    names = {planned.name for planned in history.current.values()} if done else set()
    proposal = propose(archive, history, names, look)
    plan = Plan(f"run {len(history.plans) + 1}", "2026-01-01", proposal.new)
    return proposal, PlanHistory((*history.plans, plan)) if proposal.new else history


def contents(proposal: Proposal) -> list[str]:
    """Names of new shards' sources, a word a shard: `ab c`; in capitals where a source was gone."""
    shards = [Shard.from_content(entry.work) for entry in proposal.new]
    return ["".join(_letter(source) for source in shard.sources) for shard in shards]


def _letter(source: Stored) -> str:
    name = source.uri.removeprefix("s3://bucket/")
    return name.upper() if source.etag in (storage.ABSENT, REMOVED) else name


@pytest.mark.parametrize("archive", [tars("x", "y"), files("a", "b")])
@pytest.mark.parametrize("done", [True, False])
def test_the_same_archive_again_proposes_nothing(archive: Archive, done: bool) -> None:
    first, history = night(archive, PlanHistory())

    again, _ = night(archive, history, done=done)

    assert again.new == ()
    assert again.slots == first.slots == set(history.current)


def test_a_tar_is_its_own_shard_in_every_plan() -> None:
    _, history = night(tars("x", "y"), PlanHistory())

    second, _ = night(tars("w", "x", "y"), history)

    assert contents(second) == ["w"]
    assert len(second.slots) == 3


def test_tars_whose_names_have_one_digest_are_both_planned_and_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = Shard.slot.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Shard, "slot", property(lambda shard: slot(shard) if shard.number > 1 else f"{shard.number}"))

    first, history = night(tars("w", "x", "y"), PlanHistory())
    again, _ = night(tars("w", "x", "y"), history)

    assert contents(first) == ["w", "x", "y"]
    assert len(first.slots) == len(history.current) == 3
    assert again.new == ()


def test_a_folder_that_may_not_be_listed_takes_no_slot_of_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = Shard.slot.fget  # type: ignore[attr-defined]
    taken = slot(Shard("tar", (stored("x"),)))
    monkeypatch.setattr(
        Shard, "slot", property(lambda shard: taken if shard.kind == FOLDER and not shard.number else slot(shard))
    )
    denied = Shard(FOLDER, (stored("denied"),))
    archive = dataclasses.replace(tars("x"), folders=(denied,))

    _, history = night(tars("x"), PlanHistory())
    second, history = night(archive, history)
    third, _ = night(archive, history)

    assert contents(second) == ["denied"]
    assert len(history.current) == 2
    assert third.new == ()


@pytest.mark.parametrize("done", [True, False])
def test_new_files_make_a_new_group_and_leave_the_old_alone(done: bool) -> None:
    _, history = night(files("a", "c"), PlanHistory())

    second, history = night(files("a", "b", "c"), history, done=done)
    third, _ = night(files("a", "b", "c", "d", "e"), history, done=done)

    assert contents(second) == ["b"]
    assert contents(third) == ["de"]
    assert len(third.slots) == 3


def test_groups_of_another_size_are_made_of_new_files_alone() -> None:
    # of an unknown format, 10 bytes are 1 / 1,700 s
    def planned(names: str, history: PlanHistory, n_files: int) -> Proposal:
        done = {each.name for each in history.current.values()}
        return propose(files(*names), history, done, nothing_there, group_seconds=lambda: (n_files + 0.5) / 1_700)

    first = planned("abcd", PlanHistory(), 2)
    history = PlanHistory((Plan("run 1", "2026-01-01", first.new),))

    assert contents(first) == ["ab", "cd"]
    assert contents(planned("abcd", history, 3)) == []
    assert contents(planned("abcdefgh", history, 3)) == ["efg", "h"]


def test_a_replaced_tar_keeps_its_slot_and_its_date_and_gets_a_new_state() -> None:
    _, history = night(tars("x"), PlanHistory())
    (before,) = history.current.values()

    proposal, history = night(tars("x", x="f"), history)

    (now,) = history.current.values()
    assert contents(proposal) == ["x"]
    assert now.slot == before.slot
    assert now.name != before.name
    assert (now.replaces, before.replaces) == (True, False)
    assert (now.run_date, now.run_id) == (before.run_date, "run 2")


def test_a_source_that_is_put_back_is_planned_once_more() -> None:
    _, history = night(tars("x"), PlanHistory())
    (first,) = history.current.values()
    _, history = night(tars("x", x="f"), history)

    _, history = night(tars("x"), history)

    (third,) = history.current.values()
    assert third.entry == first.entry
    assert third.name != first.name


def test_a_group_with_a_changed_file_is_planned_again_as_a_whole() -> None:
    _, history = night(files("a", "b"), PlanHistory())
    (before,) = history.current.values()

    proposal, history = night(files("a", "b", "c", b="f"), history)

    assert contents(proposal) == ["ab", "c"]
    assert before.slot in {entry.slot for entry in proposal.new}


@pytest.mark.parametrize(("done", "planned"), [(True, "abc"), (False, "abC")])
def test_files_of_a_changed_group_that_the_input_leaves_out_stay_if_they_have_rows_and_are_looked_up_if_not(
    done: bool, planned: str
) -> None:
    _, history = night(files("a", "b", "c"), PlanHistory())

    proposal, _ = night(files("a", a="f"), history, done=done, look=here("b"))

    assert contents(proposal) == [planned]


def test_a_deleted_file_does_not_resurrect_rows_of_its_neighbours() -> None:
    _, history = night(files("a", "b"), PlanHistory())

    proposal, _ = night(files("a", "c"), history)

    assert contents(proposal) == ["c"]


def test_a_deleted_file_of_an_uncommitted_group_is_planned_as_gone() -> None:
    _, history = night(files("a", "b"), PlanHistory())

    proposal, _ = night(files("a"), history, done=False)

    assert contents(proposal) == ["aB"]


def test_shards_whose_sources_are_all_elsewhere_are_no_part_of_the_run() -> None:
    _, history = night(files("a"), PlanHistory())
    _, history = night(tars("x"), history)

    proposal, _ = night(files("b"), history)

    assert contents(proposal) == ["b"]
    assert len(proposal.slots) == 1


def test_files_under_other_ids_are_planned_again_under_those_of_now() -> None:
    _, history = night(files("a"), PlanHistory())
    named = dataclasses.replace(files("a"), selections={"s3://bucket/a": (Selection("mine"),)})

    (entry,) = night(named, history)[0].new

    assert Shard.from_content(entry.work).names == (("s3://bucket/a", "mine"),)


def test_another_selection_of_an_unchanged_tar_is_refused_with_both_shards() -> None:
    _, history = night(tars("x"), PlanHistory())
    tar = dataclasses.replace(tars("x").containers[0], names=(("m", "mine"),))

    with pytest.raises(ConfigError, match="another selection of its members") as refused:
        night(Archive((tar,), (), {}), history)

    assert all(each in str(refused.value) for each in ("s3://bucket/x", tars("x").containers[0].shard_id, tar.shard_id))


@pytest.mark.parametrize("kind", ["tar", "file"])
def test_the_same_key_in_another_bucket_is_set_apart_with_both_places(kind: str) -> None:
    _, history = night(tars("x") if kind == "tar" else files("x"), PlanHistory())
    other = Stored("s3://other/x", 10, "e")
    archive = Archive((Shard("tar", (other,)),), (), {}) if kind == "tar" else Archive((), (other,), {})

    proposal, _ = night(archive, history)

    (apart,) = (Shard.from_content(entry.work) for entry in proposal.new)
    assert apart == Shard(SHARED, (other,), (("s3://bucket/x", "s3://other/x"),))


def test_a_plan_s_id_changes_with_its_shards_and_with_the_plans_before_it() -> None:
    entries = (Entry("a", "1"), Entry("b", "1"))

    assert plan_id_of(entries, 0) == plan_id_of(entries[::-1], 0)
    assert len({plan_id_of(entries, 0), plan_id_of(entries, 1), plan_id_of(entries[:1], 0)}) == 3


def test_embeddings_are_scored_once_a_state_and_never_back() -> None:
    history = PlanHistory((Plan("r", "d", (Entry("a", "1"), Entry("b", "1"))), Plan("r", "d", (Entry("a", "2"),))))
    embedded = history.current

    first = propose_scores(embedded, PlanHistory())
    scored = PlanHistory((Plan("s", "d", first),))

    assert {entry.state for entry in first} == {"a-000002", "b-000001"}
    assert not propose_scores(embedded, scored)
    late = PlanHistory(history.plans[:1]).current  # a run that began before the second plan, and was slow
    assert not propose_scores(late, scored)


def cuts(*ends: float) -> Archive:
    selections = tuple(Selection(f"a@0-{end:g}", Excerpt(0.0, end)) for end in ends)
    return dataclasses.replace(files("a"), selections={"s3://bucket/a": selections})


def test_excerpts_that_a_list_adds_are_planned_in_the_slot_of_those_that_stand() -> None:
    _, history = night(cuts(1.0), PlanHistory())

    proposal, history = night(cuts(1.0, 2.0), history)

    (entry,) = proposal.new
    assert Shard.from_content(entry.work).names == (("s3://bucket/a", "a@0-1"), ("s3://bucket/a", "a@0-2"))
    assert len(history.current) == 1
    assert night(cuts(1.0, 2.0), history)[0].new == ()


@pytest.mark.parametrize("now", [cuts(2.0), files("a")], ids=["another excerpt", "the whole"])
def test_excerpts_that_stand_are_not_replaced_by_others_in_silence(now: Archive) -> None:
    _, history = night(cuts(1.0), PlanHistory())

    with pytest.raises(ConfigError, match="'a@0-1' is in this output already"):
        night(now, history)


def absent(name: str) -> Stored:
    return stored(name, storage.ABSENT, 0)


def listed(*sources: Stored) -> Archive:
    """What a list names, with objects that are not there."""
    tars = tuple(Shard("tar", (each,)) for each in sources if "tar" in each.uri)
    return Archive(tars, tuple(sorted(each for each in sources if "tar" not in each.uri)), {})


@pytest.mark.parametrize("name", ["a", "x.tar"])
@pytest.mark.parametrize("done", [True, False])
def test_an_object_that_a_list_names_before_it_is_there_is_planned_once_and_again_when_it_appears(
    name: str, done: bool
) -> None:
    first, history = night(listed(absent(name), stored("b")), PlanHistory())
    again, history = night(listed(absent(name), stored("b")), history, done=done)

    proposal, _ = night(listed(stored(name), stored("b")), history, done=done)

    assert sorted("".join(contents(first))) == sorted(f"b{name.upper()}")
    assert again.new == ()
    assert name in "".join(contents(proposal))
    assert {entry.slot for entry in proposal.new} <= first.slots


@pytest.mark.parametrize("name", ["a", "x.tar"])
def test_rows_that_are_committed_stay_when_an_object_that_a_list_names_is_gone(name: str) -> None:
    # a disk that is not mounted must not take a year of scores with it
    _, history = night(listed(stored(name), stored("b")), PlanHistory())

    committed, _ = night(listed(absent(name), stored("b")), history)
    planned_only, _ = night(listed(absent(name), stored("b")), history, done=False)

    assert committed.new == ()
    assert name.upper() in "".join(contents(planned_only))


# sources that are gone


def here(*names: str) -> Look:
    """A store that holds these objects and no others."""
    return lambda uri: next((stored(name) for name in names if uri == f"s3://bucket/{name}"), None)


@pytest.mark.parametrize(("before", "now"), [(tars("x", "y"), tars("y")), (files("a", "b"), tars("y"))])
def test_a_shard_that_was_never_read_and_has_no_source_any_more_is_dropped_once(before: Archive, now: Archive) -> None:
    _, history = night(before, PlanHistory())
    (slot, *_) = (slot for slot, each in history.current.items() if "y" not in str(each.entry.work["sources"][0][0]))

    proposal, history = night(now, history, done=False, look=here("y"))
    again, _ = night(now, history, done=False, look=here("y"))

    (dropped,) = (entry for entry in proposal.new if entry.is_dropped)
    assert dropped == Entry(slot, "", {"dropped": True})
    assert slot not in proposal.slots
    assert again.new == ()


def test_what_was_committed_is_never_dropped_though_the_archive_is_not_there() -> None:
    _, history = night(tars("x", "y"), PlanHistory())
    _, history = night(files("a", "b"), history)

    proposal, _ = night(tars("z"), history)

    assert contents(proposal) == ["z"]


def test_a_source_that_another_archive_still_has_is_not_dropped() -> None:
    _, history = night(tars("x"), PlanHistory())
    _, history = night(files("a", "b"), history, done=False, look=here("x"))

    proposal, _ = night(tars("y"), history, done=False, look=here("x", "b"))

    assert contents(proposal) == ["y"]


def test_a_store_that_does_not_answer_drops_nothing() -> None:
    _, history = night(tars("x"), PlanHistory())

    def silent(uri: str) -> None:
        raise StorageError(f"{uri}: no answer")

    proposal, _ = night(tars("y"), history, done=False, look=silent)

    assert contents(proposal) == ["y"]


def test_a_dropped_source_that_comes_back_is_planned_on_the_slot_s_first_date() -> None:
    _, history = night(tars("x", "y"), PlanHistory())
    _, history = night(tars("y"), history, done=False)

    proposal, history = night(tars("x", "y"), history, done=False)

    (entry,) = proposal.new
    planned = history.current[entry.slot]
    assert not entry.is_dropped
    assert (planned.replaces, planned.run_date) == (True, "2026-01-01")


def test_a_dropped_replacement_falls_back_to_what_was_committed_before() -> None:
    _, history = night(tars("x"), PlanHistory())
    (first,) = history.current.values()
    _, history = night(tars("x", x="f"), history)

    (entry,) = propose(tars("y"), history, {first.name}, nothing_there).new[1:]
    history = PlanHistory((*history.plans, Plan("run 3", "2026-01-01", (entry,))))

    assert entry == Entry(first.slot, first.entry.state, first.entry.work | {"dropped": True})
    assert propose(tars("x"), history, {first.name}, nothing_there).new == ()
    assert contents(propose(tars("x", x="g"), history, {first.name}, nothing_there)) == ["x"]
