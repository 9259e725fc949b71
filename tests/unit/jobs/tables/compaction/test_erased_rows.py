"""Rows that were erased from the output leave its copy, and nothing is called proven that is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

from jobs import storage
from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest
from tests.support.compaction import (
    TINY,
    Run,
    assert_same,
    etags,
    held,
    in_a_folder,
    objects,
    shards,
)
from tests.support.tables import KEY, SLOTS, commit, plan

VICTIM = "2026/03.tar#0004.flac"


@in_a_folder
def test_what_was_erased_goes_from_the_copy_while_its_shard_is_planned_again(
    root: str, copy: str, bonafide: Run
) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1")
    bonafide("compact", output, "--to", copy)
    assert bonafide("erase", "a1#0", "a!0", "--output", output)[0] == 0
    history = plan(output, a="2")

    code, out, err = bonafide("compact", output, "--to", copy)

    assert code == 0, err
    assert "1 shards are planned and not done; they wait" in out
    assert find_mentions(copy, ErasureRequest(("a1#0", "a!0")))[0] == []
    assert_same(output, copy)
    assert bonafide("verify", copy)[0] == 0
    commit(output, history.current[SLOTS["a"]], 2)
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)


@in_a_folder
def test_of_several_earlier_states_the_last_that_was_committed_counts(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    shards(output, n_failures=2, a="2")
    plan(output, a="3")

    assert bonafide("compact", output, "--to", copy)[0] == 0

    assert_same(output, copy)


@in_a_folder
def test_rows_without_a_marker_are_never_reported_as_proven(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1")
    bonafide("compact", output, "--to", copy)
    before = objects(copy)
    history = plan(output, a="2")
    (marker,) = (each for each in storage.listing(f"{output}/_commits") or [] if SLOTS["a"] in each.uri)
    storage.remove(marker.uri)  # as gc did before it kept the last committed one

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 75
    assert "rows of 1 shards cannot be compared with the output" in err.splitlines()[-1]
    assert objects(copy) == before
    commit(output, history.current[SLOTS["a"]], 2)
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)


@in_a_folder
def test_while_new_rows_are_placed_the_erased_ones_are_not_called_gone(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    assert bonafide("erase", "a1#0", "--output", output)[0] == 0
    commit(output, plan(output, a="2").current[SLOTS["a"]], 2)
    storage.remove(f"{output}/_commits/embeddings-{KEY}/{SLOTS['a']}-000002.json")  # as before it was put there

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 75
    assert "its rows were replaced meanwhile" in err.splitlines()[-1]


@in_a_folder
def test_a_shard_that_has_no_rows_any_more_leaves_an_object_without_any(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    commit(output, plan(output, a="1").current[SLOTS["a"]], 3, 2)
    bonafide("compact", output, "--to", copy)
    commit(output, plan(output, a="2").current[SLOTS["a"]], 3, 0)

    for _ in range(2):
        assert bonafide("compact", output, "--to", copy)[0] == 0
        assert "failures" not in held(copy)
        assert len(etags(f"{copy}/failures")) == 1
        assert_same(output, copy)
        assert bonafide("verify", copy)[0] == 0


def test_what_is_erased_from_the_output_goes_from_the_copy_with_the_next_compaction(
    output: str, copy: str, bonafide: Run
) -> None:
    bonafide("compact", output, "--to", copy, "--object-mib", TINY)
    before = objects(copy)
    assert find_mentions(copy, ErasureRequest((VICTIM,)))[0]
    assert bonafide("erase", VICTIM, "--output", output)[0] == 0

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 0, err
    assert find_mentions(copy, ErasureRequest((VICTIM,)))[0] == []
    assert_same(output, copy)
    after = objects(copy)
    assert after.keys() == before.keys()
    assert sum(before[uri] != after[uri] for uri in before) == 2  # one of embeddings, one of scores
    assert bonafide("verify", copy)[0] == 0


@in_a_folder
def test_the_next_compaction_removes_the_draft_of_a_killed_one(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    whole = Path(next(uri for uri in objects(copy) if "/embeddings/" in uri))
    draft = whole.with_name(f".{whole.name}.123-0011aabb.part")
    draft.write_bytes(whole.read_bytes())
    os.utime(draft, (1e9, 1e9))
    assert bonafide("erase", VICTIM, "--output", output)[0] == 0

    assert bonafide("compact", output, "--to", copy)[0] == 0

    assert not draft.exists()


@in_a_folder
def test_erase_in_a_copy_says_where_to_erase(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    before = etags(copy)

    code, _, err = bonafide("erase", VICTIM, "--output", copy)

    assert code == 65
    assert f"is a copy of {output}; erase there, then run `compact` again" in err.splitlines()[-1]
    assert etags(copy) == before


@in_a_folder
def test_erase_in_a_copy_whose_objects_are_gone_says_the_same(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    for uri in objects(copy):
        storage.remove(uri)

    code, _, err = bonafide("erase", VICTIM, "--output", copy)

    assert code == 65
    assert f"is a copy of {output}; erase there" in err.splitlines()[-1]


def test_drafts_go_whatever_their_clock_says_and_other_objects_are_named(tmp_path: Path, bonafide: Run) -> None:
    output, copy = f"{tmp_path}/tables", f"{tmp_path}/copy"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    draft, other = Path(copy, ".fut.123-abcdef01.part"), Path(copy, "foreign.bin")
    for each in (draft, other):
        each.write_bytes(b"rows that were erased since")
        os.utime(each, (time.time() + 7200, time.time() + 7200))

    code, out, err = bonafide("compact", output, "--to", copy)

    assert code == 0, err
    assert not draft.exists()
    assert f"{other}: is not of the copy" in out
    other.unlink()
    assert "is not of the copy" not in bonafide("compact", output, "--to", copy)[1]
