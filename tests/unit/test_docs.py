"""The pages say what the code does: exit codes, figures beside their commands, files and links that are there."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from detector import metrics
from jobs.cli import EXIT_CODES, parse
from jobs.reports.evaluation.page import HEADLINE
from tests.support import ROOT

CONTRACT = (ROOT / "docs" / "data-contract.md").read_text()
PAGES = sorted(
    page for where in ("*.md", "docs/**/*.md", "tests/*.md", "detector/**/*.md") for page in ROOT.glob(where)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def test_every_exit_code_is_documented() -> None:
    codes = {int(code) for code in re.findall(r"\b(\d+) [a-z]", CONTRACT.split("\n## Exit codes\n")[1])}

    assert codes == {0, 1, 2, 3, 70, *EXIT_CODES.values()}


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


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_and_anchor_of_a_page_resolves(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_one_that_the_program_knows(page: Path) -> None:
    lines = re.findall(r"^\$ bonafide ([a-z].*)$", page.read_text(), re.MULTILINE)

    for line in lines:
        if "…" not in line:
            parse(shlex.split(line.partition("  #")[0]))


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text())}

    assert {page for page in ROOT.glob("docs/**/*.md") if page != index} - linked == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_tree_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`((?:detector|jobs|cluster|tests|bench)/[\w/.-]+)`", page.read_text())

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_rooms_of_the_architecture_page_are_those_of_the_tree() -> None:
    drawn = FENCE.findall((ROOT / "docs" / "architecture.md").read_text())[0]
    packages: dict[str, set[str]] = {}
    entries: set[str] = set()
    for line in drawn.splitlines():
        if room := re.match(r"(\w+)/", line):
            entries = packages.setdefault(room[1], set())
        entries |= set(re.findall(r"(?:^|\s{2})(\w+(?:\.py|/))(?=\s|$)", line.strip() if line.startswith(" ") else ""))

    for name in ("detector", "jobs"):
        inside = {f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / name).iterdir()}
        assert packages[name] == {entry for entry in inside if not entry.startswith("__")}


def test_the_drawn_order_of_imports_is_that_of_the_contract() -> None:
    drawn = FENCE.findall((ROOT / "docs" / "architecture.md").read_text())[1].partition("───")[0]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["jobs"])

    # the first thirty columns name rooms; remarks follow
    assert [line[:30].split() for line in drawn.splitlines()[1:]] == [layer.split(" | ") for layer in layers]


def test_the_figures_of_the_readme_are_those_of_the_starter_s_page() -> None:
    figure = re.compile(r"\d+\.\d+ \(\d+\.\d+ to \d+\.\d+\)")
    figures = figure.findall((ROOT / "README.md").read_text())

    assert len(figures) == 3 * 4
    assert set(figures) <= set(figure.findall((ROOT / "docs" / "starter.md").read_text()))
