"""What the detector's tests share: a small checkpoint of every family and norm, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import FAMILIES, write_checkpoint

CHECKPOINTS = [f"{family}-{norm}" for family in FAMILIES for norm in ("group", "layer")]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by name, `wav2vec2-group` to `wavlm-layer`. Nobody may write into them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        f"{family}-{norm}": write_checkpoint(folder / f"{family}-{norm}", family, norm=norm)
        for family, norm in (name.split("-") for name in CHECKPOINTS)
    }
