"""Runs without Ray that embed an archive, and what they leave; for tests of canaries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector import canaries
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.head import Head
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.decoding.canaries import hear
from jobs.embedding import canaries as run_canaries
from jobs.embedding.result import EmbeddingRun
from jobs.execution import stages
from jobs.inputs.config import InputConfig
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)


def archive_in(folder: Path) -> Path:
    """Two containers: a FLAC at 16 kHz, and a WAV of GSM at 8 kHz."""
    folder.mkdir()
    write_tar(folder / "0.tar", {"a.flac": encoded(tone(2.0))})
    write_tar(folder / "1.tar", {"b.wav": encoded(tone(2.0, seed=1), kind="WAV", subtype="GSM610", rate=8_000)})
    return folder


def embed(
    archive: Path, output: Path, recipe: Recipe = RECIPE, head: Head | None = None, **settings: Any
) -> EmbeddingRun:
    inputs, where = InputConfig(input=(str(archive),)), OutputConfig(output=str(output))
    judge = None if head is None else head.scores
    config = RunConfig(**{"run_date": "2026-11-29"} | settings)
    return embed_archive(InProcessRunner(), inputs, recipe, ModelConfig(), where, config, judge)


def objects(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def imitate(versions: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    installed = canaries.versions()
    monkeypatch.setattr(canaries, "versions", lambda: installed | versions)


def drift_of_gsm(monkeypatch: pytest.MonkeyPatch, libsndfile: str = "1.2.3") -> None:
    """Decode GSM in another way from now on, by this libsndfile."""
    imitate({"libsndfile": libsndfile}, monkeypatch)
    heard = hear()
    moved = replace(heard["gsm610-8000.wav"], samples=heard["gsm610-8000.wav"].samples + np.float32(0.01))
    drifted = heard | {"gsm610-8000.wav": moved}
    monkeypatch.setattr(run_canaries, "hear", lambda: drifted)
    monkeypatch.setattr(stages, "hear", lambda _seconds: drifted)


def add(archive: Path) -> None:
    write_tar(archive / "2.tar", {"c.flac": encoded(tone(2.0, seed=2))})
