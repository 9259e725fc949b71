"""Runs require, prefer or do without confined decoders, and say what they got."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.errors import ConfigError
from jobs.decoding import confinement, idle
from jobs.execution.confinement_level import ConfinementLevel
from tests.attack import lab
from tests.attack.lab import Kernel
from tests.support.decoders import FLAC, in_decoder

OLD_CONTAINER = Kernel(0, False, "none")  # its profile answers ENOSYS to calls that it does not know


@pytest.fixture(autouse=True)
def _no_levels() -> Iterator[None]:
    idle.end_all()
    confinement.set_mode(confinement.OFF)
    confinement.set_mode(confinement.PREFER)
    yield
    confinement.set_mode(confinement.PREFER)


@pytest.fixture
def in_old_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.inject(tmp_path / "injected", {}, OLD_CONTAINER)
    monkeypatch.syspath_prepend(tmp_path / "injected")


@pytest.mark.usefixtures("in_old_container")
def test_a_run_that_requires_confinement_ends_where_there_is_none() -> None:
    confinement.set_mode(confinement.REQUIRE)

    with pytest.raises(ConfigError, match=r"--confinement require: decoders are not confined: .* Use Linux 5\.13"):
        in_decoder(FLAC)


@pytest.mark.usefixtures("in_old_container")
def test_a_run_that_prefers_confinement_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        in_decoder(FLAC)
        idle.end_all()

    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith("decoders are not confined: a hostile recording")
    assert confinement.level() == "none"


def test_a_run_may_do_without(caplog: pytest.LogCaptureFixture) -> None:
    confinement.set_mode(confinement.OFF)

    in_decoder(FLAC)

    assert confinement.level() == "none"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    confinement.set_mode(confinement.PREFER)
    in_decoder(FLAC)  # the idle process, which is not confined, is not used again
    assert confinement.level() != "none"


def test_the_weakest_machine_is_the_level_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    run = ConfinementLevel(confinement.PREFER)

    with caplog.at_level(logging.INFO):
        for levels in ([], ["full"], ["full"], ["full", "landlock-3"], ["seccomp"]):
            run.update(levels)

    assert run.level == "landlock-3"
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.WARNING]


def test_levels_are_ordered() -> None:
    levels = ["none", "landlock-1", "landlock-3", "landlock-12", "seccomp", "full"]

    assert [confinement.weakest(levels[index:]) for index in range(6)] == levels


def test_a_decoder_takes_no_module_from_the_working_folder(tmp_path: Path) -> None:
    # `python -m` puts the working folder before all others, and there lies what others left
    (tmp_path / "soundfile.py").write_text("raise SystemExit('not soundfile')")
    program = (
        "import os, sys\n"
        "from tests.support.decoders import FLAC, in_decoder\n"
        "os.chdir(sys.argv[1]); sys.path.insert(0, sys.argv[1])\n"
        "print(len(in_decoder(FLAC)[0]))"
    )

    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )

    assert (result.stdout.strip(), result.returncode) == ("5", 0), result.stderr
