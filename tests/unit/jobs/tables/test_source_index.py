"""What a listing leaves out because it is as it was planned gives the same plan as if it had not been left out."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from detector.errors import ConfigError
from jobs.inputs.archive import Archive
from jobs.inputs.places import Place
from jobs.inputs.shards import REMOVED, SHARED, Shard
from jobs.storage import Stored
from jobs.tables.moves import NO_MOVES, Moves
from jobs.tables.plan import Proposal, propose
from jobs.tables.protocol import Plan, PlanHistory
from jobs.tables.removal import RemovalPolicy
from jobs.tables.source_index import SourceIndex

ROOT = "s3://bucket/in/"
NAMES = ["a.tar", "b.tar", "c.zip", *(f"{number}.wav" for number in range(6))]


def archive_of(objects: dict[str, str], *, relative: bool, place: str = ROOT) -> Archive:
    """The archive that a listing of these objects gives, with the tag of each."""
    stored = [Stored(f"{place}{name}", 10, objects[name]) for name in sorted(objects)]
    root = place if relative else ""
    containers = [Shard(each.uri[-3:], (each,), root=root) for each in stored if not each.uri.endswith(".wav")]
    return Archive(
        tuple(containers),
        tuple(each for each in stored if each.uri.endswith(".wav")),
        {},
        places=(Place(place),),
        id_roots={each.uri: place for each in stored} if relative else None,
    )


def left_out(archive: Archive, index: SourceIndex) -> Archive:
    """The archive as a listing leaves it that asks the index for each object."""
    containers = tuple(each for each in archive.containers if not index.sees(each.sources[0]))
    files = tuple(each for each in archive.files if not index.sees(each))
    left = {each.uri for each in files} | {each.uri for each in containers}
    roots = None if archive.id_roots is None else {uri: root for uri, root in archive.id_roots.items() if uri in left}
    return replace(archive, containers=containers, files=files, id_roots=roots)


def both(
    archive: Archive, history: PlanHistory, done: set[str], again: set[str], moves: Moves = NO_MOVES, **policy: object
) -> list[object]:
    """What is proposed with all of an archive, and what with an index; or the first word of the refusal."""
    index = SourceIndex(history, done, relative=archive.id_roots is not None, moves=moves)
    seen = {each.uri for each in (*archive.files, *(each.sources[0] for each in archive.containers))}

    def look(uri: str) -> Stored | None:
        return Stored(uri, 10, "x") if uri in seen else None

    found: list[object] = []
    for each, known in ((archive, None), (left_out(archive, index), index)):
        try:
            how = RemovalPolicy(**policy)  # type: ignore[arg-type]
            found.append(propose(each, history, done, look, again, how, known, moves=moves))
        except ConfigError as error:
            found.append(str(error).split()[0])
    return found


@pytest.mark.parametrize("seed", range(40))
def test_a_history_goes_on_with_an_index_as_it_does_without(seed: int) -> None:
    rng = random.Random(seed)
    relative = bool(seed % 2)
    objects = dict.fromkeys(rng.sample(NAMES, 5), "1")
    plans: list[Plan] = []
    done: set[str] = set()
    n_left_out = 0
    place = ROOT
    for night in range(8):
        moves = NO_MOVES
        if rng.random() < 0.2:  # to another bucket, so that absolute ids stay, too
            old, place = place, f"s3://bucket-{night}/in/"
            moves = Moves(((old, place),)) if rng.random() < 0.6 else NO_MOVES
        for name in rng.sample(NAMES, rng.randint(0, 3)):
            match rng.choice(["add", "change", "remove", "back"]):
                case "remove":
                    objects.pop(name, None)
                case "change" if name in objects:
                    objects[name] = str(night)
                case "add" | "back":
                    objects[name] = "1"
        history = PlanHistory(tuple(plans))
        archive = archive_of(objects, relative=relative, place=place)
        again = {f"{ROOT}{name}" for name in rng.sample(NAMES, rng.choice([0, 0, 1]))}
        slots = frozenset(rng.sample(list(history.current), 1)) if history.plans and rng.random() < 0.2 else frozenset()
        share = rng.choice([0.2, 1.0, 1.0])
        whole, fast = both(archive, history, done, again, moves, slots=slots, prune=bool(slots), max_removed=share)
        assert whole == fast
        index = SourceIndex(history, done, relative=relative, moves=moves)
        n_left_out += len(archive.files) - len(left_out(archive, index).files)
        if isinstance(whole, Proposal) and whole.new:
            plans.append(Plan(f"run {night}", f"2026-11-{night + 1:02d}", whole.new))
            history = PlanHistory(tuple(plans))
        done |= {name for name in history.names if rng.random() < 0.7}
    assert n_left_out or seed % 7 or place != ROOT


def test_a_group_with_a_removed_member_is_left_out_until_the_member_is_back() -> None:
    before = archive_of({"0.wav": "1", "1.wav": "1"}, relative=False)
    history = planned(propose(before, PlanHistory(), set(), lambda _: None))
    now = archive_of({"0.wav": "1"}, relative=False)
    history = planned(propose(now, history, set(history.names), lambda _: None, (), RemovalPolicy(1.0)), history)
    (shard,) = history.current.values()
    assert [etag for _, _, etag in shard.entry.work["sources"]] == ["1", REMOVED]

    index = SourceIndex(history, history.names, relative=False)
    archive, rest, settled = index.settle(left_out(now, index), (), ())
    assert (archive.files, len(rest), settled) == ((), 0, {shard.slot})

    index = SourceIndex(history, history.names, relative=False)
    archive, rest, settled = index.settle(left_out(before, index), (), ())
    assert (archive.files, list(rest), settled) == (before.files, [shard.slot], set())


def test_an_object_that_changed_between_two_listings_is_not_left_out() -> None:
    archive = archive_of({"a.tar": "1"}, relative=False)
    history = planned(propose(archive, PlanHistory(), set(), lambda _: None))
    index = SourceIndex(history, history.names, relative=False)
    changed = archive_of({"a.tar": "2"}, relative=False)
    left_out(archive, index)
    assert propose(left_out(changed, index), history, set(history.names), lambda _: None, index=index) == propose(
        changed, history, set(history.names), lambda _: None
    )


def test_an_id_of_a_source_that_was_left_out_is_not_given_to_another() -> None:
    archive = archive_of({"a.tar": "1", "0.wav": "1"}, relative=False)
    history = planned(propose(archive, PlanHistory(), set(), lambda _: None))
    index = SourceIndex(history, history.names, relative=False)
    left_out(archive, index)
    other = Archive((), (Stored("s3://other/in/0.wav", 10, "1"),), {})
    proposal = propose(other, history, set(history.names), lambda _: None, index=index)

    (apart,) = (Shard.from_content(entry.work) for entry in proposal.new)
    assert (apart.kind, apart.names) == (SHARED, (("s3://bucket/in/0.wav", "s3://other/in/0.wav"),))


def planned(proposal: Proposal, history: PlanHistory | None = None) -> PlanHistory:
    plans = history.plans if history else ()
    return PlanHistory((*plans, Plan(f"run {len(plans)}", "2026-11-29", proposal.new)))
