"""The page for users says the same, and every failure that is raised is on its list."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

import detector
from detector.schema import FAILURE_ERRORS, FAILURES, LABEL_COLUMNS, MANIFEST, REJECT_REASONS, SCORES, embeddings_schema
from tests.support import ROOT

PAGE = ROOT / "docs" / "data-contract.md"
TABLES = {"embeddings": embeddings_schema(3), "scores": SCORES, "failures": FAILURES, "manifest": MANIFEST}


def section(title: str) -> str:
    """The page's text under a heading."""
    return PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """The rows of a section's tables whose first cell is a `name`."""
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("| `")]
    return [[row[0].strip("`"), *row[1:]] for row in rows]


def spoken(field: pa.Field) -> str:
    """A type as the page calls it."""
    return "fixed-size list of float" if pa.types.is_fixed_size_list(field.type) else str(field.type)


@pytest.mark.parametrize("table", TABLES)
def test_the_page_lists_every_column_with_its_type_and_whether_it_may_be_null(table: str) -> None:
    declared = [[field.name, spoken(field), "yes" if field.nullable else "no"] for field in TABLES[table]]
    columns = {field.name for field in TABLES[table]}

    assert [row[:3] for row in cells(section(table)) if row[0] in columns] == declared
    assert {row[0] for row in cells(section(table))} <= columns | set(FAILURE_ERRORS)


def test_the_page_lists_every_error_with_its_meaning() -> None:
    listed = {row[0]: row[1] for row in cells(section("failures")) if len(row) == 2}

    assert listed == FAILURE_ERRORS


def test_the_page_names_every_reason_to_reject() -> None:
    (meaning,) = [row[3] for row in cells(section("scores")) if row[0] == "reject_reason"]

    assert re.findall("`([a-z_]+)`", meaning) == list(REJECT_REASONS)


def test_every_error_that_is_raised_is_on_the_closed_list() -> None:
    sources = [path.read_text() for path in Path(detector.__file__).parent.rglob("*.py")]
    raised = {word for source in sources for word in re.findall(r'UtteranceError\(\s*"(\w+)"', source)}

    assert raised >= {"empty", "not_audio", "bad_header"}
    assert raised <= set(FAILURE_ERRORS)


def test_embeddings_are_fixed_size_lists_of_float32() -> None:
    kind = embeddings_schema(1_024).field("embedding").type

    assert (kind.list_size, kind.value_type) == (1_024, pa.float32())


def test_what_a_labels_file_may_say_is_in_the_manifest_too() -> None:
    assert set(LABEL_COLUMNS) <= set(MANIFEST.names)
