"""A head's file decides nothing of what code is run, and is not read if it is too large."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector import Detector
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.errors import ConfigError
from detector.head_checks import MAX_BYTES
from jobs.scoring.heads import read_head
from tests.support import nightly_runs
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

Run = Callable[..., tuple[int, str, str]]
LOADER = "planted_by_a_head:load"
CODE = """
import pathlib
pathlib.Path(__file__).with_name("imported").touch()
from detector.backbones.melstats import MelStats
def load(config, folder, *, device, batch_seconds, layers):
    return MelStats(config)
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A head with a right digest and id that names a module which Python finds, and a recording."""
    (tmp_path / "planted_by_a_head.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = recipe_of(EmbedConfig(backbone=LOADER), None)
    (tmp_path / "head.json").write_text(some_head(recipe).to_json())
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.flac").write_bytes(encoded(tone(2.0)))
    (tmp_path / "labels.csv").write_text("utterance_id,label\na,spoof\n")
    yield tmp_path
    sys.modules.pop("planted_by_a_head", None)


VERBS = {
    "score": "score --input archive --head head.json --output out",
    "nightly": "nightly --input archive --head head.json --output out",
    "explain": "explain head.json archive/a.flac",
    "check": "check --head head.json archive/a.flac",
    "retrain": "retrain --input archive --labels labels.csv --head head.json --output out",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("named", [None, "melstats", "starter", "planted_by_a_head:other"])
def test_a_loader_that_the_command_line_does_not_name_is_not_imported(
    planted: Path, bonafide: Run, monkeypatch: pytest.MonkeyPatch, verb: str, named: str | None
) -> None:
    monkeypatch.chdir(planted)

    code, _, err = bonafide(*VERBS[verb].split(), *(() if named is None else ("--backbone", named)))

    assert code == 65
    assert f"names code to import, the loader {LOADER}" in err.splitlines()[-1]
    assert f"add --backbone {LOADER}" in err.splitlines()[-1]
    assert not (planted / "imported").exists()
    assert not (planted / "out").exists()


def test_a_loader_that_the_command_line_names_is_used(
    planted: Path, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(planted)

    code, out, err = bonafide(*VERBS["explain"].split(), "--backbone", LOADER)

    assert code == 0, err
    assert "archive/a.flac: 2.00 s" in out
    assert (planted / "imported").exists()


def test_a_head_of_another_encoder_than_the_one_named_is_refused(planted: Path) -> None:
    (planted / "head.json").write_text(some_head().to_json())

    with pytest.raises(ConfigError, match=f"fitted on embeddings of backbone melstats, not of {LOADER}"):
        read_head(str(planted / "head.json"), backbone=LOADER)


def test_evaluate_and_review_read_such_a_head_only_if_its_loader_is_named(tmp_path: Path, bonafide: Run) -> None:
    head = tmp_path / "head.json"
    judge = nightly_runs.head(target_coverage=0.2)
    judge = replace(judge, training=judge.training | {"certificate": {"certified": False}})
    vectors, is_bonafide = nightly_runs.drawn(60, seed=4)
    rows = nightly_runs.recordings(vectors)
    nightly_runs.night(str(tmp_path), {"x": rows}, judge=judge, head_uri=str(head), pages=False)
    head.write_text(replace(judge, recipe=judge.recipe | {"backbone": LOADER}).to_json())
    labels = [
        f"{row.utterance_id},{'bonafide' if each else 'spoof'}" for row, each in zip(rows, is_bonafide, strict=True)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["utterance_id,label", *labels]))
    judged = ("--scores", tmp_path, "--labels", tmp_path / "labels.csv", "--output", tmp_path / "report")
    commands = (
        ("evaluate", *judged, "--head", head, "--draws", 2),
        ("review", "export", "--output", tmp_path, "--to", tmp_path / "queue.csv"),
    )

    for command in commands:
        refused, _, err = bonafide(*command)
        named, _, other = bonafide(*command, "--backbone", LOADER)

        assert refused == named == 65
        assert f"the loader {LOADER}" in err.splitlines()[-1]
        assert f"head {judge.head_id}" in other or "none of those judged here" in other  # it is read, and is another


def test_the_python_api_takes_a_loader_as_an_argument(planted: Path) -> None:
    with pytest.raises(ConfigError, match="names code to import"):
        Detector.load(planted / "head.json")
    assert not (planted / "imported").exists()

    verdict = Detector.load(planted / "head.json", backbone=LOADER).score(encoded(tone(2.0)))

    assert verdict.score is not None


def test_a_file_of_more_than_64_mib_is_refused_by_its_size(tmp_path: Path, bonafide: Run) -> None:
    head = tmp_path / "head.json"
    with head.open("wb") as file:
        os.truncate(file.fileno(), 40 << 30)  # a hole: to read it would take the memory of a machine

    code, _, err = bonafide("explain", head, tmp_path / "a.flac")

    assert code == 65
    assert f"{head}: {40 << 30:,} bytes; a head has at most {MAX_BYTES:,}" in err
    with pytest.raises(ConfigError, match="a head has at most"):
        Detector.load(head)


def test_a_segment_that_cannot_be_measured_is_said_to_be_so() -> None:
    from jobs.scoring.explanation import _numbers

    assert _numbers(some_head(dim=2), np.array([np.nan, 0.0], np.float32), 0.5).strip() == "out_of_distribution"


def test_a_head_says_its_loader_in_its_recipe(planted: Path) -> None:
    assert json.loads((planted / "head.json").read_text())["recipe"]["backbone"] == LOADER
