"""What is gone of an archive, how a plan says so, and how much of it a run accepts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest

from jobs import storage
from jobs.errors import StorageError
from jobs.inputs.archive import Archive
from jobs.inputs.places import Place
from jobs.inputs.shards import Shard, is_removed
from jobs.storage import Stored
from jobs.tables.plan import propose
from jobs.tables.protocol import Entry, Plan, PlanHistory
from jobs.tables.removal import RemovalPolicy

ANY = RemovalPolicy(max_removed=1.0)


def stored(name: str, etag: str = "e") -> Stored:
    return Stored(f"s3://bucket/{name}", 10, etag)


def archive(*names: str, places: tuple[str, ...] = ("s3://bucket/",), absent: tuple[str, ...] = ()) -> Archive:
    """An archive of tars and loose files below places; `absent` are named by a list, too, and not there."""
    files = [stored(name) for name in names if not name.endswith(".tar")]
    files += [Stored(f"s3://bucket/{name}", 0, storage.ABSENT) for name in absent]
    tars = tuple(Shard("tar", (stored(name),)) for name in names if name.endswith(".tar"))
    return Archive(tars, tuple(sorted(files)), {}, places=tuple(Place(each, "*" in each) for each in places))


def holding(*names: str) -> Callable[[str], Stored | None]:
    return lambda uri: next((stored(name) for name in names if uri == f"s3://bucket/{name}"), None)


def nights(*archives: Archive, done: bool = True) -> tuple[PlanHistory, tuple[Entry, ...]]:
    """Plan archives one after the other, each as committed; return the plans, and what the last night planned."""
    history, new = PlanHistory(), ()
    for each in archives:
        names = history.names if done else set()
        present = {source.uri.removeprefix("s3://bucket/") for source in each.files if not source.is_absent}
        new = propose(each, history, names, holding(*present), (), ANY).new
        history = PlanHistory((*history.plans, Plan("run", "2026-01-01", new))) if new else history
    return history, new


def states(new: tuple[Entry, ...]) -> str:
    """Names of the planned sources, in capitals where they are gone."""
    sources = [source for entry in new for source in Shard.from_content(entry.work).sources]
    names = [(source.uri.removeprefix("s3://bucket/"), is_removed(source)) for source in sources]
    return " ".join(name.upper() if gone else name for name, gone in names)


@pytest.mark.parametrize(
    ("before", "now", "planned"),
    [
        (("a", "b"), ("a",), "a B"),
        (("a", "x.tar"), ("a",), "X.TAR"),
        (("a", "b", "x.tar"), ("x.tar",), "A B"),
    ],
)
def test_what_a_listed_place_has_no_more_is_planned_as_gone_once(
    before: tuple[str, ...], now: tuple[str, ...], planned: str
) -> None:
    history, new = nights(archive(*before), archive(*now))

    assert states(new) == planned
    again = propose(archive(*now), history, history.names, holding(*now), (), ANY)
    assert again.new == ()
    assert {entry.slot for entry in new} <= again.slots | {each.slot for each in history.current.values()}
    back = states(nights(archive(*before), archive(*now), archive(*before))[1])
    assert set(before) - set(now) <= set(back.split())


def test_what_is_gone_is_committed_by_any_later_run_though_no_archive_names_it() -> None:
    history, new = nights(archive("a", "x.tar"), archive("a"))

    later = propose(archive("a"), history, {f"{slot}-000001" for slot in history.current}, holding("a"), (), ANY)

    assert {entry.slot for entry in new} <= later.slots


@pytest.mark.parametrize(
    ("places", "is_gone"),
    [
        (("s3://bucket/day/",), True),
        (("s3://bucket/d*",), True),
        (("s3://bucket/day/*.wav",), False),
        (("s3://bucket/other/",), False),
        ((), False),
    ],
)
def test_only_a_place_that_was_listed_says_that_something_is_gone(places: tuple[str, ...], is_gone: bool) -> None:
    _, new = nights(archive("day/a", "day/x.tar", "z"), archive("z", places=places))

    assert states(new) == ("DAY/X.TAR DAY/A z" if is_gone else "")


@pytest.mark.parametrize("answer", [stored("b"), Stored("s3://bucket/b", 0, storage.DENIED), None])
def test_what_the_store_has_or_does_not_answer_for_is_not_gone(answer: Stored | None) -> None:
    history, _ = nights(archive("a", "b"))

    def look(uri: str) -> Stored | None:
        if answer is None:
            raise StorageError(f"{uri}: no answer")
        return answer

    assert propose(archive("a"), history, history.names, look, (), ANY).new == ()


def test_a_list_that_names_what_a_listed_place_had_does_not_keep_it_and_one_of_another_place_does() -> None:
    had, listed = archive("a", "b"), archive("a", absent=("b",))

    assert states(nights(had, listed)[1]) == "a B"
    assert states(nights(had, listed, listed)[1]) == ""
    assert states(nights(had, dataclasses.replace(listed, places=()))[1]) == ""


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [(5, 4, False), (5, 1, False), (5, 0, True), (1, 0, True), (20, 16, False), (20, 15, True), (100, 0, True)],
)
def test_a_fifth_of_a_place_may_go_and_of_a_small_one_all_but_everything(before: int, now: int, refused: bool) -> None:
    # 20 % of 20 are 4; the rule of small places holds below 20
    history, _ = nights(archive(*(f"{number:03d}" for number in range(before))))
    left = [f"{number:03d}" for number in range(now)]

    found = propose(archive(*left), history, history.names, holding(*left))

    assert len(found.new) == (not refused)
    expected = rf"s3://bucket/: {before - now} of the {before} .*--max-removed 0\.2 allows" if refused else "$"
    assert re.match(expected, found.refused)


def test_where_too_many_are_gone_what_is_new_or_changed_is_planned_and_nothing_counts_as_gone() -> None:
    names = [f"{number:02d}" for number in range(40)]
    history, _ = nights(archive(*names))

    found = propose(archive("00", "new"), history, history.names, holding("00", "new"))

    assert found.refused
    assert [[source[0] for source in entry.work["sources"]] for entry in found.new] == [["s3://bucket/new"]]


def test_each_place_counts_alone_and_what_was_gone_before_does_not_count() -> None:
    names = [f"day/{number}" for number in range(3)] + [f"night/{number:02d}" for number in range(97)]
    places = ("s3://bucket/day/", "s3://bucket/night/")
    history, _ = nights(archive(*names, places=places))

    found = propose(archive(*names[3:], places=places), history, history.names, holding(*names[3:]))
    assert found.refused.startswith("s3://bucket/day/: 3 of the 3")

    history, _ = nights(archive(*names, places=places), archive(*names[3:], places=places))
    assert propose(archive(*names[4:], places=places), history, history.names, holding(*names[4:])).new


def test_a_place_with_a_pattern_covers_what_the_pattern_finds() -> None:
    assert Place("/data/*/calls", is_pattern=True).covers("/data/1/calls/a.wav")
    assert not Place("/data/*/calls", is_pattern=True).covers("/data/1/music/a.wav")
    assert Place("/data/[1]").covers("/data/[1]/a.wav")
    assert not Place("/data/1").covers("/data/10/a.wav")


@pytest.mark.parametrize("pattern", ["/data/*", "/data/**/a.wav", "s3://data/*", "s3://data/1*/*"])
def test_a_pattern_covers_nothing_outside_of_its_folder(pattern: str) -> None:
    place = Place(pattern, is_pattern=True)
    assert not any(
        map(place.covers, ["/other/a.wav", "/a.wav", "s3://other/a.wav", "/data2/1/a.wav", "s3://data2/1/a"])
    )
