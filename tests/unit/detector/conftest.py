"""Fixtures of the tests of the detector: a small checkpoint of every family and norm, written once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checkpoints import write_checkpoint

CHECKPOINTS = [
    f"{family}-{norm}" for family in ("wav2vec2", "hubert", "wavlm", "unispeech-sat") for norm in ("group", "layer")
]
"""Families in two designs, group norm and layer norm, that take samples."""
ONE_DESIGN = ["data2vec-audio", "wav2vec2-bert", "whisper"]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by name, `wav2vec2-group` to `wavlm-layer`, and `data2vec-audio`. Tests must not write into them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    found = {name: write_checkpoint(folder / name, name) for name in ONE_DESIGN}
    for name in CHECKPOINTS:
        family, _, norm = name.rpartition("-")
        found[name] = write_checkpoint(folder / name, family, norm=norm)
    return found
