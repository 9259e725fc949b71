"""The pages say what the code does: exit codes, and figures beside their commands."""

from __future__ import annotations

import re
from pathlib import Path

from jobs.cli import EXIT_CODES

ROOT = Path(__file__).parents[1]
CONTRACT = (ROOT / "docs" / "data-contract.md").read_text()


def test_every_exit_code_is_documented() -> None:
    codes = {int(code) for code in re.findall(r"\b(\d+) [a-z]", CONTRACT.split("\n## Exit codes\n")[1])}

    assert codes == {0, 2, 3, 70, *EXIT_CODES.values()}


def test_results_stand_beside_their_command() -> None:
    table = (ROOT / "docs" / "results.md").read_text().split("<!-- dev_corpus: begin -->")[1].split("<!--")[0]
    header, _, *rows = (line.strip("|").split("|") for line in table.strip().splitlines())

    assert rows
    assert all(len(row) == len(header) and "python -m bench.dev_corpus" in row[0] for row in rows)
