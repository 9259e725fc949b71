"""The golden rows of the drills, computed by a plain loop, are those of an undisturbed run, with Ray and a store."""

from __future__ import annotations

import pytest

from tests.drills.golden import Archive
from tests.drills.lab import Quiet


def test_the_golden_rows_hold_every_kind_of_failure(drill_archive: Archive) -> None:
    # 12 shards of 10, one in 20 of them bad
    assert (len(drill_archive.golden.embeddings), len(drill_archive.golden.failures)) == (114, 6)
    assert set(drill_archive.golden.failures["error"].to_pylist()) == {
        "not_audio",
        "empty",
        "nonfinite_audio",
        "decode_error",
    }


@pytest.mark.long  # with every change D48 compares the rows of an undisturbed run, and D01 those of one on Ray
def test_an_undisturbed_run_has_the_rows_of_a_plain_loop(quiet: Quiet, drill_archive: Archive) -> None:
    # the fixture compared them: all columns but run_id, bit for bit
    assert sum(request.kind == "audio GET" for request in quiet.requests) == drill_archive.n_shards
