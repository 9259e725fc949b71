"""B04, B05, B07: sparse members of tars whose maps lie, never end, or claim far more than is stored."""

from __future__ import annotations

import pytest

from tests.hostile.harness import AFTER, BEFORE, Lab, alone, hostile, packed
from tests.support.audio import encoded, tone
from tests.support.sparse_tars import BLOCK, FORMS, Extents, extended, sparse_member

WAV = encoded(tone(1.0), kind="WAV", subtype="PCM_16")
UP_TO_FIRST = packed([BEFORE])[: BLOCK + len(BEFORE[1]) + -len(BEFORE[1]) % BLOCK]  # a tar that goes on

LYING: dict[str, tuple[Extents, int]] = {
    "overlap": ([(0, 2 * BLOCK), (BLOCK, BLOCK)], 3 * BLOCK),
    "are not in order": ([(4 * BLOCK, BLOCK), (0, BLOCK)], 2 * BLOCK),
    "end beyond the file": ([(0, BLOCK), (len(WAV), BLOCK)], 2 * BLOCK),
    "are of less than is stored": ([(0, BLOCK)], 4 * BLOCK),
    "are of more than is stored": ([(0, 8 * BLOCK)], BLOCK),
    "are of 2^60 bytes": ([(0, 1 << 60)], BLOCK),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", LYING)
@hostile("B04", expected="row `bad_archive` for this member alone")
def test_a_sparse_map_that_lies_is_a_row_between_whole_neighbours(lab: Lab, what: str, form: str) -> None:
    extents, n_stored = LYING[what]
    lab.given = f"a sparse member whose extents {what}"
    member = sparse_member("m.wav", WAV, extents, form, stored=WAV[:n_stored])

    read = lab.read(UP_TO_FIRST + member + packed([AFTER]))

    assert read.errors() == [("a.flac", None), ("m.wav", "bad_archive"), ("z.flac", None)]
    assert (read.samples[0], read.samples[2]) == (alone(BEFORE[1])[0], alone(AFTER[1])[0])
    lab.saw("read: `bad_archive`")


ENDLESS = {
    "60,000 extents, in blocks": sparse_member("m.wav", bytes(1), [(1, 0)] * 60_000, "gnu", stored=b""),
    "1,000 extents, in version 0.0": sparse_member("m.wav", bytes(1), [(1, 0)] * 1_000, "0.0", stored=b""),
    "10,000 extents, in version 0.1": sparse_member("m.wav", bytes(1), [(1, 0)] * 10_000, "0.1", stored=b""),
    "1,000,000 extents, in version 1.0": sparse_member("m.wav", bytes(1), [(1, 0)] * 1_000_000, "1.0", stored=b""),
    "words in place of numbers": extended([("GNU.sparse.map", "a,b"), ("GNU.sparse.size", "9")]) + packed([AFTER]),
}


@pytest.mark.parametrize("what", ENDLESS)
@hostile("B05", expected="row `bad_archive`; headers stay within their limit")
def test_a_sparse_map_beyond_the_limits_ends_the_shard(lab: Lab, what: str) -> None:
    lab.given = f"a sparse map of {what}"

    read = lab.read(UP_TO_FIRST + ENDLESS[what] + packed([AFTER]))

    assert read.errors() == [("a.flac", None), (None, "bad_archive")]
    lab.saw("read: `bad_archive`")


@pytest.mark.parametrize("form", FORMS)
@hostile("B07", given="a sparse member of 1 TB in a block", expected="row `bad_archive` for this member alone")
def test_a_sparse_file_that_is_nearly_all_hole_is_a_bomb(lab: Lab, form: str) -> None:
    member = sparse_member("m.wav", WAV, [(0, BLOCK)], form, size=10**12)

    read = lab.read(UP_TO_FIRST + member + packed([AFTER]))

    assert read.errors() == [("a.flac", None), ("m.wav", "bad_archive"), ("z.flac", None)]
    lab.saw("read: `bad_archive`")


@hostile("B07", given="1,000 sparse members of 60 MB, a block each", expected="rows `bad_archive`, in bounded time")
def test_sparse_members_share_what_a_tar_may_swell_to(lab: Lab) -> None:
    holes = [sparse_member(f"m{n}.wav", WAV, [(0, BLOCK)], "gnu", size=60_000_000) for n in range(1_000)]

    read = lab.read(UP_TO_FIRST + b"".join(holes) + packed([AFTER]))

    assert read.errors()[0] == ("a.flac", None)
    assert read.errors()[-1] == ("z.flac", None)
    assert [error for _, error in read.errors()].count("bad_archive") > 990
    lab.saw("read: `bad_archive`")
