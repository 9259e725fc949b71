"""The drills can fail: every bug that is planted is caught by the test that its patch names.

Each `planted/*.patch` begins with a line that says what it breaks, and one that names the tests that catch it:

    The marker is written before the rows.
    caught-by: tests/drills/test_simulation.py::test_every_single_fault_at_every_request_is_survived

The named tests must pass on the tree as it is, and fail on a copy with the patch. `make drills-check` shows the table;
`python -m tests.drills.check 03 17` checks these two.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support import ROOT

PLANTED = Path(__file__).parent / "planted"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", "*_cache", "planted")
PASSED, FAILED = 0, 1  # pytest's exit codes; with any other nothing was tested
TEST_SECONDS = 60  # for tests that are no drills, because a bug may be an endless loop
LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Planted:
    """A bug, and the tests that catch it."""

    patch: Path
    breaks: str
    caught_by: tuple[str, ...]

    @classmethod
    def read(cls, patch: Path) -> Planted:
        """Parse the head of a patch."""
        breaks, caught_by, *_ = patch.read_text().splitlines()
        assert caught_by.startswith("caught-by: "), f"{patch.name}: its second line names no test"
        return cls(patch, breaks, tuple(shlex.split(caught_by.removeprefix("caught-by: "))))


@dataclass(frozen=True)
class Outcome:
    """The result of a run of tests."""

    code: int
    seconds: float
    said: str

    @property
    def why(self) -> str:
        """The first line that explains the failure."""
        return next((line[1:].strip() for line in self.said.splitlines() if line.startswith("E  ")), "")


def run_tests(tree: Path, tests: tuple[str, ...], *flags: str) -> Outcome:
    """Run tests in a tree, with the modules of that tree."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        *flags,
        "-p",
        "no:cacheprovider",
        f"--timeout={TEST_SECONDS}",
        "-m",
        "",  # drills too
        *tests,
    ]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.monotonic()
    try:
        ended = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )
        code, said = ended.returncode, ended.stdout + ended.stderr
    except subprocess.TimeoutExpired:
        code, said = FAILED, f"no end after {LIMIT_SECONDS:.0f} s"
    return Outcome(code, time.monotonic() - started, said)


def plant(planted: Planted, folder: Path) -> Outcome:
    """Run a bug's tests on a copy of the tree with the bug."""
    tree = folder / planted.patch.stem
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    applied = subprocess.run(
        ["patch", "-p1", "--quiet", "--no-backup-if-mismatch", "-i", str(planted.patch)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if applied.returncode:
        return Outcome(-1, 0.0, f"does not apply: {applied.stdout}{applied.stderr}")
    return run_tests(tree, planted.caught_by, "-x")


def main(arguments: list[str] | None = None) -> int:
    """Check every planted bug, or those with the given numbers; return 1 if one is not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills.check", description="Is every planted bug caught?")
    parser.add_argument("number", nargs="*", help="of the patches to check [default: all]")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="also print the failure that caught each")
    asked = parser.parse_args(arguments)
    bugs = [Planted.read(patch) for patch in sorted(PLANTED.glob("*.patch"))]
    bugs = [bug for bug in bugs if not asked.number or bug.patch.name.partition("-")[0] in asked.number]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="planted-") as folder, ThreadPoolExecutor(asked.processes) as pool:
        tests = tuple(sorted({test for bug in bugs for test in bug.caught_by}))
        clean = pool.submit(run_tests, ROOT, tests)
        outcomes = list(pool.map(partial(plant, folder=Path(folder)), bugs))
    unseen = [bug for bug, outcome in zip(bugs, outcomes, strict=True) if outcome.code != FAILED]
    for bug, outcome in zip(bugs, outcomes, strict=True):
        verdict = {FAILED: "caught", PASSED: "NOT CAUGHT"}.get(outcome.code, "BROKEN")
        print(f"{bug.patch.stem:34} {verdict:10} {outcome.seconds:4.0f} s  {bug.breaks}")
        if asked.verbose and verdict == "caught":
            print(f"    {outcome.why[:240]}")
        if verdict == "BROKEN":
            print(outcome.said[-2_000:])
    if clean.result().code != PASSED:
        print(f"the tests do not pass on the tree as it is:\n{clean.result().said[-4_000:]}")
    print(f"{len(bugs) - len(unseen)} of {len(bugs)} planted bugs caught, in {time.monotonic() - started:.0f} s")
    return 1 if unseen or not bugs or clean.result().code != PASSED else 0


if __name__ == "__main__":
    sys.exit(main())
