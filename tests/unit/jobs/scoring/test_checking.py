"""A check: one line for each recording, an exit code that says what came of them, and nothing written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from detector.api import Detector
from detector.backbones import load_backbone
from tests.support import ROOT
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

Run = Callable[..., tuple[int, str, str]]
KINDS = {"FLAC": "a.flac", "WAV": "b.wav", "OGG": "c.ogg"}


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the working directory: three formats, silence, a cut file and one that is no audio."""
    for kind, name in KINDS.items():
        (tmp_path / name).write_bytes(encoded(tone(2.0), kind=kind))
    (tmp_path / "silent.flac").write_bytes(encoded(np.zeros(16_000)))
    (tmp_path / "page.wav").write_bytes(b"<html>404</html>")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def head(folder: Path, score: float, max_entropy_bits: float = 1.0) -> Path:
    """Write a head that gives every recording the same score, in nats."""
    path = folder / f"head{score}.json"
    always = replace(some_head(), calibration=(0.0, score), max_entropy_bits=max_entropy_bits)
    path.write_text(always.to_json())
    return path


def test_the_exit_code_says_whether_anything_is_flagged_or_in_doubt(recordings: Path, bonafide: Run) -> None:
    human, spoof, unsure = head(recordings, 3.0), head(recordings, -3.0), head(recordings, 0.5, 0.3)

    found = {
        "accepted": bonafide("check", "--head", human, *KINDS.values()),
        "flagged": bonafide("check", "--head", spoof, "a.flac", "page.wav"),
        "undecided": bonafide("check", "--head", unsure, "a.flac"),
        "unreadable": bonafide("check", "--head", human, "a.flac", "page.wav"),
    }

    assert {name: (code, out.splitlines()[0]) for name, (code, out, _) in found.items()} == {
        # 1 / (1 + exp(3)) = 0.047, 1 / (1 + exp(-3)) = 0.953, 1 / (1 + exp(0.5)) = 0.378, at a prior of 0.5
        "accepted": (0, "a.flac:  bona fide   p_spoof 0.05"),
        "flagged": (1, "a.flac:    spoof       p_spoof 0.95"),
        "undecided": (3, "a.flac:  undecided   p_spoof 0.38   uncertain"),
        "unreadable": (3, "a.flac:    bona fide   p_spoof 0.05"),
    }
    assert found["unreadable"][1].splitlines()[1].startswith("page.wav:  unreadable                 not_audio: ")
    assert len(found["accepted"][1].splitlines()) == 3


def test_a_check_writes_nothing(recordings: Path, bonafide: Run) -> None:
    human = head(recordings, 3.0)
    before = {path: path.stat().st_mtime_ns for path in recordings.rglob("*")}

    assert bonafide("check", "--head", human, *KINDS.values())[0] == 0

    assert {path: path.stat().st_mtime_ns for path in recordings.rglob("*")} == before


def test_json_has_the_numbers_of_the_python_api_and_the_words_of_failures(recordings: Path, bonafide: Run) -> None:
    (recordings / "head.json").write_text(some_head().to_json())
    detector = Detector(some_head(), load_backbone(some_head().embed_config))

    names = ("a.flac", "silent.flac", "page.wav", "none.wav")
    _, out, _ = bonafide("check", "--json", "--head", "head.json", "--prior", 0.01, *names)

    lines = [json.loads(line) for line in out.splitlines()]
    for name, line in zip(names[:2], lines, strict=False):
        verdict = asdict(detector.score(recordings / name, 0.01))
        assert {key: line[key] for key in verdict} == verdict
    assert [(line["file"], line["verdict"], line["error"]) for line in lines[1:]] == [
        ("silent.flac", "undecided", None),
        ("page.wav", "unreadable", "not_audio"),
        ("none.wav", "unreadable", "missing"),
    ]
    assert {line["head_id"] for line in lines} == {detector.head.head_id}
    assert len({tuple(line) for line in lines}) == 1


@pytest.mark.parametrize("confinement", ["prefer", "off"])
def test_standard_input_is_judged_as_the_file(
    confinement: str, recordings: Path, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    human = head(recordings, 3.0)
    with (recordings / "a.flac").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        code, out, _ = bonafide("check", "--head", human, "--confinement", confinement, "-")

    assert (code, out) == (0, "-:  bona fide   p_spoof 0.05\n")


def test_a_recording_over_the_limit_a_pipe_and_one_that_is_not_there_are_unreadable(
    recordings: Path, bonafide: Run
) -> None:
    os.mkfifo(recordings / "pipe")
    (recordings / "locked.wav").symlink_to(recordings / "gone.wav")

    code, out, _ = bonafide(
        *("check", "--head", head(recordings, 3.0), "--max-seconds", 1.5, "a.flac", "pipe", "locked.wav", "x\n1.wav")
    )

    assert code == 3
    assert [line.replace(":", "").split()[:3] for line in out.splitlines()] == [
        ["a.flac", "unreadable", "too_long"],
        ["pipe", "unreadable", "not_a_file"],
        ["locked.wav", "unreadable", "not_a_file"],
        [r"x\n1.wav", "unreadable", "missing"],
    ]


@pytest.mark.parametrize(
    ("names", "told"),
    [(["."], "a folder"), (["0.tar"], "a container"), (["s3://archive/2026/"], "a folder"), (["-", "-"], "twice")],
)
def test_a_folder_or_container_is_refused_with_the_verbs_that_take_it(
    names: list[str], told: str, recordings: Path, bonafide: Run
) -> None:
    code, out, err = bonafide("check", *names)

    assert (code, out) == (2, "")
    assert told in err.splitlines()[-1]
    assert ("nightly" in err) == (told != "twice")


def test_a_check_imports_neither_ray_nor_what_only_fits_heads(recordings: Path) -> None:
    code = (
        "import sys, jobs.cli; code = jobs.cli.main(sys.argv[1:]); "
        "print(code, sorted({'ray', 'sklearn', 'scipy.stats', 'torch'} & set(sys.modules)))"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code, "check", "--head", str(head(recordings, 3.0)), str(recordings / "a.flac")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout.splitlines()[1] == "0 []"  # melstats needs no torch, either
