"""An output of a nightly run to erase from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.nightly_runs import drawn, head, night, recordings
from tests.unit.jobs.erasure.outputs import TAR


@pytest.fixture
def tables(tmp_path: Path) -> str:
    """An output of 40 scored recordings and one that failed, with the run's record and page."""
    output = str(tmp_path / "tables")
    vectors, _ = drawn(40, seed=5)
    (tmp_path / "head.json").write_text(head().to_json())
    night(output, {TAR: recordings(vectors)}, {"broken.flac": "truncated"}, head_uri=str(tmp_path / "head.json"))
    return output
