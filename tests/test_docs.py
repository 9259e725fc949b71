"""docs/data-contract.md says what detector/schema.py declares, and docs/results.md has figures."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from detector.schema import FAILURE_ERRORS, FAILURES, MANIFEST, REJECT_REASONS, SCORES, embeddings_schema
from jobs.cli import EXIT_CODES

ROOT = Path(__file__).parents[1]
CONTRACT = (ROOT / "docs" / "data-contract.md").read_text()

SCHEMAS = {"embeddings": embeddings_schema(4), "scores": SCORES, "failures": FAILURES, "manifest": MANIFEST}


def section(title: str) -> str:
    return CONTRACT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def documented(title: str) -> list[tuple[str, str, bool]]:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (yes|no) \|", section(title), re.MULTILINE)
    return [(name, kind, null == "yes") for name, kind, null in rows]


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_column_is_documented_with_its_type(table: str) -> None:
    def kind(field: pa.Field) -> str:
        return "fixed-size list of float" if pa.types.is_fixed_size_list(field.type) else str(field.type)

    assert documented(table) == [(field.name, kind(field), field.nullable) for field in SCHEMAS[table]]


def test_every_failure_error_and_reject_reason_is_documented() -> None:
    errors = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", section("failures"), re.MULTILINE))

    assert errors == FAILURE_ERRORS
    assert all(f"`{reason}`" in section("scores") for reason in REJECT_REASONS)


def test_every_exit_code_is_documented() -> None:
    codes = {int(code) for code in re.findall(r"\b(\d+) [a-z]", section("Exit codes"))}

    assert codes == {0, 2, 3, 70, *EXIT_CODES.values()}


def test_results_stand_beside_their_command() -> None:
    table = (ROOT / "docs" / "results.md").read_text().split("<!-- dev_corpus: begin -->")[1].split("<!--")[0]
    header, _, *rows = (line.strip("|").split("|") for line in table.strip().splitlines())

    assert rows
    assert all(len(row) == len(header) and "python -m bench.dev_corpus" in row[0] for row in rows)
