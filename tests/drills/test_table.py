"""The page of drills says what was recorded, and what failed."""

from __future__ import annotations

import re

from tests.drills.table import BEGIN, END, PAGE, table

ROW = {"number": "D02", "injects": "kills", "holds": "the same bits", "limit": 60, "wall_seconds": 12.34}


def test_a_drill_is_one_row_with_the_slowest_recovery_and_the_sum_of_its_times() -> None:
    rows = [
        ROW | {"test": "b", "passed": True, "recover_seconds": 1.0},
        ROW | {"test": "a", "passed": True, "recover_seconds": 2.5, "measured": "3 | 4"},
        ROW | {"test": "c", "passed": False, "number": "D01"},
    ]

    first, _, _, _, *found = table(rows).splitlines()

    assert first.startswith("1 of 2 drills passed")
    assert found == [
        "| D01 | kills | **failed** |  |  | 12 |",
        "| D02 | kills | the same bits | 3 &#124; 4 | 2.5 | 25 |",
    ]


def test_the_page_has_a_place_for_the_table() -> None:
    assert re.search(f"{BEGIN}\n.*{END}", PAGE.read_text(), re.S)
