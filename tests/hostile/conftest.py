"""The fixture of tests of hostile inputs: each test is guarded and measured, and recorded if the table is requested."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.harness import CPU_SECONDS, MEMORY_BYTES, Guard, Lab, snapshot

PASSED = pytest.StashKey[bool]()


@pytest.fixture
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Provide a folder, and fail if the test writes outside it, runs a program, or exceeds its limits."""
    canary = tmp_path / "outside"
    canary.mkdir()
    (canary / "canary.txt").write_text("untouched")
    before = snapshot(canary)
    mark = request.node.get_closest_marker("hostile")
    lab = Lab(tmp_path / "lab", given=mark.kwargs["given"])
    lab.folder.mkdir()
    begun = time.monotonic()
    with Guard(lab.folder) as guard:
        yield lab
    wall = time.monotonic() - begun
    bounded = guard.cpu_seconds < CPU_SECONDS and max(guard.decoder_bytes, guard.reader_bytes) < MEMORY_BYTES
    clean = not guard.events and snapshot(canary) == before
    measured = {
        "given": lab.given,
        "seen": "; ".join(dict.fromkeys(lab.seen)),
        "cpu_seconds": round(guard.cpu_seconds, 2),
        "wall_seconds": round(wall, 2),
        "decoder_mb": guard.decoder_bytes / 1e6,
        "reader_mb": guard.reader_bytes / 1e6,
    }
    _record(request.node, measured, passed=request.node.stash.get(PASSED, False) and bounded and clean)
    assert guard.events == []
    assert snapshot(canary) == before
    assert guard.cpu_seconds < CPU_SECONDS
    assert max(guard.decoder_bytes, guard.reader_bytes) < MEMORY_BYTES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


def _record(item: Any, measured: dict[str, Any], *, passed: bool) -> None:
    """Append a row to the file that BONAFIDE_HOSTILE_RECORD names; tests/hostile/table.py reads it."""
    place, mark = os.environ.get("BONAFIDE_HOSTILE_RECORD"), item.get_closest_marker("hostile")
    if place and mark:
        row = {**mark.kwargs, **measured, "test": item.name, "passed": passed}
        with open(place, "a") as file:
            file.write(json.dumps(row) + "\n")
