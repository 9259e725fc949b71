"""An output with a few nights, and the place of its copy."""

from __future__ import annotations

import pytest

from tests.support.compaction import (
    nights,
)


@pytest.fixture
def output(root: str) -> str:
    nights(f"{root}/tables", "2026-11-22")
    return f"{root}/tables"


@pytest.fixture
def copy(root: str) -> str:
    return f"{root}/copy"
