"""Hostile acts from inside a decoder are refused at every level, as far as the level says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.decoding import confinement
from tests.attack import lab
from tests.attack.acts import ACTS, LIMITS
from tests.attack.inside import DONE, REFUSED
from tests.attack.lab import Attacked, Kernel
from tests.attack.table import BEGIN, END, PAGE, table
from tests.support import ROOT

LANDLOCK = pytest.mark.needs("a kernel with Landlock")
KERNELS = [
    pytest.param(Kernel(None, True, "full"), id="full", marks=LANDLOCK),
    pytest.param(Kernel(1, True, "full"), id="full with Landlock 1", marks=[LANDLOCK, pytest.mark.long]),
    pytest.param(Kernel(3, True, "full"), id="full with Landlock 3", marks=[LANDLOCK, pytest.mark.long]),
    pytest.param(Kernel(0, True, "seccomp"), id="seccomp"),
    pytest.param(Kernel(None, False, f"landlock-{lab.ours()}"), id="landlock", marks=LANDLOCK),
    pytest.param(Kernel(3, False, "landlock-3"), id="landlock-3", marks=[LANDLOCK, pytest.mark.long]),
    pytest.param(Kernel(1, False, "landlock-1"), id="landlock-1", marks=[LANDLOCK, pytest.mark.long]),
    pytest.param(Kernel(0, False, "none"), id="none"),
]
KILLED = "the decoder's process died of SIGSYS"


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, Any]]:
    with lab.victims(tmp_path) as found:
        yield found


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_act_is_refused_that_the_level_says_is(
    tmp_path: Path, places: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kernel: Kernel
) -> None:
    lab.inject(tmp_path / "injected", places, kernel)
    monkeypatch.syspath_prepend(tmp_path / "injected")
    monkeypatch.setattr(confinement, "_levels", set())

    decoder = Attacked()
    found = {name: decoder.attempt(name) for name in ACTS if ACTS[name].refused_by & kernel.refuses}
    still = decoder.attempt("may_still")
    decoder.end()

    assert decoder.level == kernel.level
    assert {name: each for name, each in found.items() if each not in (REFUSED, KILLED)} == {}
    assert still == DONE
    if kernel.has_filter:
        assert set(found) == set(ACTS)


def test_without_confinement_the_acts_do_harm(
    tmp_path: Path, places: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.inject(tmp_path / "injected", places, Kernel(0, False, "none"))
    monkeypatch.syspath_prepend(tmp_path / "injected")

    decoder = Attacked()
    found = {name: decoder.attempt(name) for name in ACTS if not ACTS[name].depends}
    decoder.end()

    harmless = {name: each for name, each in found.items() if each != DONE}
    assert set(harmless) <= {name for name in ACTS if LIMITS in ACTS[name].refused_by} | {"execute", "execute_at"}
    assert (found["execute"], found["execute_at"]) == (
        "the decoder's process ended with exit code 0",
    ) * 2  # /bin/true took its place


@pytest.mark.parametrize("kernel", [each for each in KERNELS if each.id in ("full", "seccomp", "landlock")])
def test_the_way_out_by_the_home_folder_ends_at_its_first_step(
    tmp_path: Path, places: dict[str, Any], kernel: Kernel
) -> None:
    # the command was run with `python -m` in $HOME: its folder of modules was readable, a token of the cluster lay
    # there, and MPTCP led to the dashboard, which takes jobs from whoever has the token
    lab.inject(tmp_path / "injected", places, kernel)
    (tmp_path / "injected" / "night.py").write_text(
        "import json\nfrom tests.attack.lab import Attacked\ndecoder = Attacked()\n"
        "print(json.dumps([decoder.attempt(name) for name in ('read_token', 'mptcp')]))\ndecoder.end()\n"
    )
    home = tmp_path / "home"
    folders = os.pathsep.join(map(str, (tmp_path / "injected", ROOT)))

    result = subprocess.run(
        [sys.executable, "-m", "night"],
        cwd=home,
        env=os.environ | {"HOME": str(home), "PYTHONPATH": folders},
        capture_output=True,
        text=True,
    )

    token, connection = json.loads(result.stdout)
    assert token == REFUSED
    assert connection == (REFUSED if kernel.has_filter else DONE)  # Landlock knows TCP, and not MPTCP


def test_the_page_lists_every_act() -> None:
    page = PAGE.read_text()

    assert page.partition(BEGIN)[2].partition(END)[0].strip() == table()  # else: python -m tests.attack.table
