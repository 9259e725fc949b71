"""Copies of an output that are made while runs write to it: which order is right, and that a lost output comes back."""

from __future__ import annotations

import contextlib
import random
import time

import pytest

from tests.drills.archive import seeded_tars, tar, wav
from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.runs import SLACK
from tests.drills.simulation.copying import (
    MARKERS,
    PLANS,
    SAFE,
    TABLES,
    Objects,
    Order,
    copied,
    history_of,
    trouble_after,
)
from tests.drills.simulation.world import Setup
from tests.drills.store import key_of

BEFORE, REPLACED = {"a": "0ef", "b": "1ee"}, {"a": "2fe"}
LATER = [
    {"a": "0ef", "b": "1ee"},  # the first state is back
    {"a": "2fe", "b": "1ee"},
    {"a": "3ee", "b": "1ee", "c": "4e-"},
    {"b": "3ff"},
]
DANGEROUS: dict[str, Order] = {
    "plans first": (*PLANS, MARKERS, TABLES),
    "plans before tables, as a listing has them": (MARKERS, *reversed(PLANS), TABLES),
    "tables before markers": (TABLES, MARKERS, *PLANS),
    "markers last": (TABLES, *PLANS, MARKERS),
    "plans of embeddings before those of scores": (MARKERS, TABLES, *reversed(PLANS)),
}


def copies(order: Order, count: int = 400) -> list[Objects]:
    """Return copies of two nights that were made in this order, at moments that were drawn, each once."""
    moments = history_of(Setup(BEFORE, scores=True), REPLACED)
    drawn = [copied(moments, order, random.Random(seed)) for seed in range(count)]
    return list({tuple(sorted(each.items())): each for each in drawn}.values())


@pytest.mark.D58
@pytest.mark.parametrize("later", LATER, ids=str)
def test_the_next_night_ends_right_from_a_copy_of_any_moment(later: dict[str, str]) -> None:
    found = copies(SAFE)

    assert len(found) > 40
    assert {trouble_after(Setup(later, scores=True), each) for each in found} == {""}


@pytest.mark.D58
@pytest.mark.parametrize("order", DANGEROUS.values(), ids=DANGEROUS)
def test_any_other_order_may_end_in_wrong_rows(order: Order) -> None:
    troubles = {trouble_after(Setup(later, scores=True), each) for each in copies(order, 200) for later in LATER}

    assert troubles - {""}


def back_up(lab: Lab, to: str) -> None:
    """Copy an output with the three commands of docs/operations.md: objects one by one, as a listing has them."""
    scores, embeddings = "_plans/scores-", "_plans/embeddings-"
    for is_asked in (
        lambda name: not name.startswith("_plans/"),
        lambda name: name.startswith(scores),
        lambda name: name.startswith(embeddings),
    ):
        for name in filter(is_asked, lab.names()):
            lab.store.pipe_file(f"{key_of(to)}/{name}", _read(lab, name))


def _read(lab: Lab, name: str) -> bytes:
    """Read an object; the store lists a key a moment before it can be read."""
    for _ in range(50):
        with contextlib.suppress(FileNotFoundError):
            return lab.store.cat_file(f"{key_of(lab.output)}/{name}")
        time.sleep(0.1)
    raise FileNotFoundError(name)


@drill(
    "D58",
    injects="an output is copied while a night writes to it, and lost with everything in it; the copy is put back",
    holds="`verify` passes on the copy, and the next night, of a grown archive, ends with the undisturbed rows",
    limit=240,
)
def test_an_output_that_is_lost_comes_back_from_its_last_copy(lab: Lab) -> None:
    lab.new_archive(seeded_tars(6, 4))
    copy = f"{lab.output}-copy"
    run = lab.start_embed("--encoders", 1, on=lab.ray())
    lab.wait_for(lambda: len(lab.names("_commits")) >= 1, 120.0 * SLACK, run=run)

    back_up(lab, copy)

    run.wait()
    n_copied = len(lab.store.find(f"{key_of(copy)}/_commits"))
    lab.store.rm(key_of(lab.output), recursive=True)
    for place in lab.store.find(key_of(copy)):
        lab.store.pipe_file(place.replace(key_of(copy), key_of(lab.output)), lab.store.cat_file(place))
    lab.run("verify", lab.output)
    grown = lab.replace("0004.tar", tar({"00.wav": wav(9, 0), "new.wav": wav(9, 1)}))
    lab.allow(grown)
    lab.embed(on=lab.ray())
    lab.run("verify", lab.output)
    lab.assert_same_as_undisturbed(grown)
    lab.held(f"copied with {n_copied} of 6 shards committed")


@drill(
    "D59",
    injects="`--redo shard=…`, then `--redo prefix=…`, over a committed output",
    holds="these shards alone are computed again, with the same vectors; all other objects stay to the byte",
    limit=120,
)
def test_one_shard_is_embedded_again_and_no_other(lab: Lab) -> None:
    archive = lab.new_archive(seeded_tars(4, 3))
    lab.embed(on=lab.ray())

    for redo, names, date in (
        (f"shard={archive.at('0002.tar')}", {"0002.tar"}, "2026-01-02"),
        (f"prefix={archive.at('000')}", set(archive.tars), "2026-01-03"),
    ):
        before = {name: lab.store.cat_file(f"{key_of(lab.output)}/{name}") for name in lab.names()}
        lab.embed("--redo", redo, "--run-date", date, on=lab.ray())
        after = {name: lab.store.cat_file(f"{key_of(lab.output)}/{name}") for name in before}
        changed = {name for name, content in after.items() if before[name] != content}
        again = {
            each["uri"]: each["objects"] for each in lab.markers().values() if each["detail"]["run_id"][:10] == date
        }
        assert again.keys() == {archive.at(name) for name in names}
        assert changed == {place for objects in again.values() for place in objects.values()} & before.keys()
        lab.assert_same_as_undisturbed()
        lab.run("verify", lab.output)
