"""The page of hostile inputs shows what was recorded, including failures."""

from __future__ import annotations

import re

from tests.hostile.table import BEGIN, END, PAGE, table

ROW = {"number": "B02", "given": "a link", "expected": "a row", "seen": "`not_a_file`", "wall_seconds": 1.0}


def test_an_input_is_one_row_with_the_maximum_of_its_tests() -> None:
    rows = [
        ROW | {"test": "b", "passed": True, "cpu_seconds": 0.1, "decoder_mb": 90.0, "reader_mb": 0.0},
        ROW | {"test": "a", "passed": True, "cpu_seconds": 0.3, "decoder_mb": 80.0, "reader_mb": 3.0},
        ROW | {"test": "c", "passed": False, "cpu_seconds": 0.2, "decoder_mb": 70.0, "reader_mb": 1.0, "number": "B01"},
    ]

    first, _, _, _, *found = table(rows).splitlines()

    assert first.startswith("2 of 3 inputs ended as expected")
    assert found == [
        "| B01 | a link | a row | **failed** `not_a_file` | 0.2 | 70 | 1 |",
        "| B02 | a link (2) | a row | `not_a_file` | 0.3 | 90 | 3 |",
    ]


def test_every_number_from_b01_to_b36_is_on_the_page() -> None:
    found = re.search(f"{BEGIN}\n(.*){END}", PAGE.read_text(), re.S)

    assert found is not None
    assert set(re.findall(r"^\| (B\d\d) ", found[1], re.M)) == {f"B{number:02d}" for number in range(1, 37)}
    assert "**failed**" not in found[1]
