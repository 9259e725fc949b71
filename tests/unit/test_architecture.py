"""The house: imports point one way, and Ray, torch and storage are each known to one module."""

import subprocess
import sys
from pathlib import Path

from tests.support import ROOT


def test_imports_keep_the_contracts_of_pyproject() -> None:
    linter = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stdout
    assert "9 kept, 0 broken" in result.stdout
