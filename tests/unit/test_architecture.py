"""Imports point one way, each large library is known to one place, and modules stay short."""

import statistics
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

PRODUCT = ("detector", "jobs", "cluster")


def lines_by_module(*folders: str) -> dict[str, int]:
    """Count the lines of every module below the folders, by its path."""
    modules = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules}


def test_imports_keep_the_contracts_of_pyproject() -> None:
    linter = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stdout
    assert "11 kept, 0 broken" in result.stdout


def test_no_module_has_more_than_400_lines() -> None:
    assert {path: n for path, n in lines_by_module(*PRODUCT, "tests", "bench").items() if n > 400} == {}


def test_the_median_of_the_products_modules_is_150_lines_at_most() -> None:
    lengths = [n for path, n in lines_by_module(*PRODUCT).items() if not path.endswith("__init__.py")]

    assert statistics.median(lengths) <= 150
