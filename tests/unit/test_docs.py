"""The pages say what the code does: exit codes, and figures beside their commands."""

from __future__ import annotations

import re

from detector import metrics
from jobs.cli import EXIT_CODES
from jobs.reports.evaluation.page import HEADLINE
from tests.support import ROOT

CONTRACT = (ROOT / "docs" / "data-contract.md").read_text()


def test_every_exit_code_is_documented() -> None:
    codes = {int(code) for code in re.findall(r"\b(\d+) [a-z]", CONTRACT.split("\n## Exit codes\n")[1])}

    assert codes == {0, 2, 3, 70, *EXIT_CODES.values()}


def test_results_stand_beside_their_command() -> None:
    table = (ROOT / "docs" / "results.md").read_text().split("<!-- dev_corpus: begin -->")[1].split("<!--")[0]
    header, _, *rows = (line.strip("|").split("|") for line in table.strip().splitlines())

    assert rows
    assert all(len(row) == len(header) and "python -m bench.dev_corpus" in row[0] for row in rows)


def test_two_heads_stand_beside_their_command_with_every_metric_and_its_interval() -> None:
    block = (ROOT / "docs" / "results.md").read_text().split("<!-- two_heads: begin -->")[1].split("<!--")[0]
    figures = {line.split("|")[1].strip(): line for line in block.splitlines() if line.startswith("| ")}

    assert "`python -m bench.two_heads" in block
    assert {metric.name for metric in HEADLINE.values()} <= set(figures)
    assert figures["EER"].count(" to ") == 3  # either head, and the difference


def test_every_metric_is_explained() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()

    assert [name for name in metrics.__all__ if name[0].islower() and f"`{name}`" not in page] == []
