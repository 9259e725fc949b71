"""Nights over an archive that changes say what a plain recount of its files says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import week
from bench.agreement import Week

SMALL = (week.first_night, week.replace_some, week.second_head)


def test_two_nights_and_a_second_head_agree_with_a_recount(tmp_path: Path) -> None:
    assert len(list(week.walk(Week(tmp_path, with_copy=False), SMALL))) == len(SMALL)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_step_of_a_week_agrees_with_a_recount(tmp_path: Path) -> None:
    assert len(list(week.walk(Week(tmp_path)))) == len(week.STEPS)
