"""Every planted bug can be planted in the code as it is now, and names tests that are there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.drills.check import ROOT, Planted

PATCHES = sorted((Path(__file__).parent / "planted").glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_planted_bug_fits_the_code_and_names_tests_that_are_there(patch: Path) -> None:
    applied = subprocess.run(
        ["git", "apply", "--check", str(patch)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert applied.stderr == ""
    for test in Planted.read(patch).caught_by:
        path, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text()
