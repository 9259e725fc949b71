"""The pages for users list the columns, errors and reasons of the schema."""

from __future__ import annotations

import re

import pytest

from detector.contract import COMMAND, CONTRACT_PAGE, SQL_PAGE, contract_page, sql_page
from detector.failures import FAILURE_ERRORS
from detector.schema import REJECT_REASONS, TABLES

PAGE = CONTRACT_PAGE.read_text()


def section(title: str) -> str:
    """The page's text under a heading."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """The rows of a section's tables whose first cell is a `name`."""
    rows = [re.split(r"\s*\|\s*", line[2:-2]) for line in text.splitlines() if line.startswith("| `")]
    return [[row[0].strip("`"), *row[1:]] for row in rows]


def test_the_pages_are_as_they_are_generated() -> None:
    assert contract_page(PAGE) == PAGE, f"docs/data-contract.md differs from the schema: run `{COMMAND}`"
    page = SQL_PAGE.read_text()
    assert page == sql_page(page), f"docs/sql.md differs from the schema: run `{COMMAND}`"


@pytest.mark.parametrize("table", TABLES)
def test_the_page_lists_every_column_with_who_fills_it_and_what_it_means(table: str) -> None:
    listed = [row for row in cells(section(table)) if len(row) == 6]

    assert [row[0] for row in listed] == [column.name for column in TABLES[table]]
    assert [(row[2], row[3], row[4], row[5]) for row in listed] == [
        (column.unit, "yes" if column.nullable else "no", column.filled_by, column.text) for column in TABLES[table]
    ]


def test_the_page_lists_every_error_with_its_meaning() -> None:
    listed = {row[0]: row[1] for row in cells(section("failures")) if len(row) == 2}

    assert listed == FAILURE_ERRORS


def test_the_page_names_every_reason_to_reject() -> None:
    (meaning,) = [row[5] for row in cells(section("scores")) if row[0] == "reject_reason"]

    assert re.findall("`([a-z_]+)`", meaning) == list(REJECT_REASONS)


def test_a_page_that_lacks_a_column_gets_it_back() -> None:
    without = "\n".join(line for line in PAGE.splitlines() if not line.startswith("| `clipped_share`")) + "\n"
    sql = SQL_PAGE.read_text()

    assert contract_page(without) == PAGE != without
    assert sql_page(sql.replace('"clipped_share" double, ', "").replace(",\n  `clipped_share` double", "")) == sql
