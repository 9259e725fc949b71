"""An encoder of one's own, as docs/extending.md shows it, is loaded, behaves as a backbone and has a fingerprint."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector.backbones import load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.embedding import embed_segments
from detector.errors import ConfigError
from tests.support import ROOT
from tests.support.audio import tone

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture
def loudness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write the page's encoder to a folder on the Python path."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "loudness.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "loudness.py"
    sys.modules.pop("loudness", None)


CONFIG = EmbedConfig(backbone="loudness:load")


def test_the_encoder_of_the_page_is_loaded_and_behaves_as_every_backbone(loudness: Path) -> None:
    segments = [tone(seconds, seed=seed).astype(np.float32) for seed, seconds in enumerate([0.5, 2.0, 0.032, 0.01])]
    backbone = load_backbone(replace(CONFIG, pooling="mean+std"), layers=(1, 2))

    embeddings, n_frames = embed_segments(backbone, segments)

    assert embeddings.shape == (4, 2 * 2 * 16)  # two layers, mean and deviation, sixteen bands
    assert n_frames.tolist() == [15, 62, 1, 0]
    alone, _ = backbone.embed(segments[1:2])
    assert embeddings[1].tobytes() == alone[0].tobytes()


def test_changed_code_gives_another_fingerprint(loudness: Path) -> None:
    before = recipe_of(CONFIG, None)
    loudness.write_text(loudness.read_text().replace("1e-10", "1e-9"))

    assert before.slug == "loudness-load-last"
    assert recipe_of(CONFIG, None).fingerprint != before.fingerprint


@pytest.mark.parametrize("name", ["no_such_module:load", "loudness:no_such_function", "no_such_package.module:load"])
def test_a_missing_loader_is_refused_by_name(loudness: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(name)):
        load_backbone(replace(CONFIG, backbone=name))


@pytest.mark.parametrize("name", ["no_such_module:load", "no_such_package.module:load"])
def test_a_missing_module_is_refused_before_any_work(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(name)):
        recipe_of(replace(CONFIG, backbone=name), None)
