"""A Python that lacks a package: the command says which, and ends with the contract's code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs.errors import from_text, to_text
from tests.support import ROOT

# None in sys.modules is what Python itself raises ModuleNotFoundError for
WITHOUT = (
    "import runpy, sys; sys.modules[{!r}] = None; sys.argv[1:] = {!r}; runpy.run_module('jobs', run_name='__main__')"
)


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("numpy", ["embed", "--help"]),
        ("packaging", ["verify", "/nowhere"]),
        ("fsspec", ["verify", "gs://nowhere"]),
        ("soxr", ["explain", "head.json", "a.wav"]),
        ("ray", ["submit", "--", "nightly"]),
    ],
)
def test_a_missing_package_is_named_on_the_last_line_with_65(package: str, command: list[str]) -> None:
    program = WITHOUT.format(package, command)

    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 65, ended.stderr
    assert f"this Python has no package {package}; bonafide needs it. Install bonafide there" in ended.stderr
    assert ended.stderr.strip().splitlines()[-1].startswith(f"error 65: {sys.executable}: ")
    assert "Traceback" not in ended.stderr


def test_a_worker_that_lacks_a_package_says_so_too() -> None:
    found = from_text(to_text(ModuleNotFoundError("No module named 'soxr'", name="soxr")))

    assert type(found).__name__ == "ConfigError"
    assert "has no package soxr" in str(found)


def test_a_module_of_ours_that_is_missing_is_a_defect() -> None:
    found = from_text(to_text(ModuleNotFoundError("No module named 'jobs.none'", name="jobs.none")))

    assert type(found).__name__ == "DefectError"
