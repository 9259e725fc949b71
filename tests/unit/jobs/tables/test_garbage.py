"""gc removes what dead attempts left, after the grace time, and never what a run may still need."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from jobs import storage
from tests.support.tables import KEY, SLOTS, commit, place, plan

Run = Callable[..., tuple[int, str, str]]


def names(output: str) -> set[str]:
    found = storage.listing(output) or []
    return {stored.uri.removeprefix(f"{output}/") for stored in found if "/_garbage/" not in stored.uri}


@pytest.fixture
def output(root: str) -> str:
    """A shard that was replaced, one that was not, one that is planned and half written."""
    history = plan(root, a="1", b="1")
    for name in "ab":
        commit(root, history.current[SLOTS[name]], 2, 1)
    history = plan(root, b="2", c="1")
    commit(root, history.current[SLOTS["b"]], 3)
    storage.write_bytes(place(root, "c"), storage.read_bytes(place(root, "a")))  # killed before its marker
    return root


def alien(output: str) -> str:
    """An object that no plan knows, under a name as we make them."""
    uri = f"{output}/embeddings/backbone=b/{KEY}-{'f' * 16}.parquet"
    storage.write_bytes(uri, b"PAR1")
    return uri


def test_markers_of_replaced_shards_and_objects_of_no_plan_go_and_all_else_stays(output: str, bonafide: Run) -> None:
    before = names(output)
    alien(output)

    code, out, _ = bonafide("gc", output, "--grace-hours", 0)

    assert code == 0
    assert "removed 2 objects" in out
    assert before - names(output) == {f"_commits/embeddings-{KEY}/{SLOTS['b']}-000001.json"}
    assert bonafide("verify", output)[0] == 0


def test_rows_that_a_marker_leaves_out_go(output: str, bonafide: Run) -> None:
    # a run that found another verdict was killed between its two tables
    stray = place(output, "a", "failures/run_date=2026-01-02")
    storage.write_bytes(stray, storage.read_bytes(place(output, "a", "failures/run_date=2026-01-01")))
    assert bonafide("verify", output)[0] == 65

    bonafide("gc", output, "--grace-hours", 0)

    assert storage.stat(stray) is None
    assert storage.stat(place(output, "a", "failures/run_date=2026-01-01")) is not None
    assert bonafide("verify", output)[0] == 0


def test_garbage_is_kept_for_the_grace_period_and_removed_only_if_unchanged(output: str, bonafide: Run) -> None:
    uri = alien(output)

    for _ in range(2):
        assert "removed 0 objects" in bonafide("gc", output)[1]
    storage.write_bytes(uri, b"PAR1 written anew by somebody")
    time.sleep(3.2)  # a store's clock may count whole seconds
    # the marks are old enough now, but only the marker is what they saw
    bonafide("gc", output, "--grace-hours", 2 / 3600)

    assert storage.stat(uri) is not None
    assert f"_commits/embeddings-{KEY}/{SLOTS['b']}-000001.json" not in names(output)


def test_a_dry_run_lists_and_touches_nothing(output: str, bonafide: Run) -> None:
    uri = alien(output)
    before = {stored.uri: stored.etag for stored in storage.listing(output) or []}

    code, out, _ = bonafide("gc", output, "--grace-hours", 0, "--dry-run")

    assert code == 0
    assert uri in out.splitlines()
    assert "2 objects are garbage" in out
    assert {stored.uri: stored.etag for stored in storage.listing(output) or []} == before


def test_files_that_are_not_named_as_ours_are_left_alone(output: str, bonafide: Run) -> None:
    mine = f"{output}/scores/run_date=2026-01-01/my-export.parquet"
    storage.write_bytes(mine, b"PAR1")

    bonafide("gc", output, "--grace-hours", 0)

    assert storage.stat(mine) is not None


def test_a_negative_grace_is_refused(output: str, bonafide: Run) -> None:
    assert bonafide("gc", output, "--grace-hours", -1)[0] == 65


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--abandon", "2026-01-01-00000001")])
def test_a_place_that_is_no_output_is_refused_and_left_as_it_is(
    root: str, bonafide: Run, more: tuple[str, ...]
) -> None:
    # a schedule whose prefix is misspelt would be green for years
    storage.write_bytes(f"{root}/notes.txt", b"mine")

    code, _, error = bonafide("gc", root, *more)

    assert code == 65
    assert f"{root}: no tables of ours here. Give the --output of a run." in error
    assert names(root) == {"notes.txt"}
    assert storage.listing(f"{root}/_garbage") is None


def test_what_dead_attempts_left_goes_although_no_plan_is_there(root: str, bonafide: Run) -> None:
    alien(root)

    assert bonafide("gc", root, "--grace-hours", 0)[0] == 0
    assert names(root) == set()
