"""Fixtures of decoder processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.decoding import idle
from tests.support.decoders import (
    FAULTS,
)


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Decoders' processes with the faults above, where a file's bytes ask for one; the folder that they can reach."""
    folder = tmp_path / "faults"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.syspath_prepend(str(folder))
    idle.end_all()
    yield folder
    idle.end_all()
