"""The decorator that marks a test as a drill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.drills.runs import SLACK

CI_DRILLS = "D05 D22 D48".split()


def drill(
    number: str, *, injects: str, holds: str, limit: float, every_change: bool = True
) -> Callable[[Callable[..., None]], Any]:
    """Mark a test as a drill: its number, its row in the table, and its limit in seconds, fixtures aside.

    One of :data:`CI_DRILLS` runs with every change, unless ``every_change`` says that it takes too long.
    """
    marks = [getattr(pytest.mark, number), pytest.mark.drill(number=number, injects=injects, holds=holds, limit=limit)]
    marks += [
        pytest.mark.timeout(limit * SLACK, func_only=True),
        *([pytest.mark.ci_drill] if number in CI_DRILLS and every_change else []),
    ]

    def decorate(test: Callable[..., None]) -> Any:
        for mark in marks:
            test = mark(test)
        return test

    return decorate
