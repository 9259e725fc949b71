"""The tables that benchmarks write into pages, each between two marks."""

from __future__ import annotations

from pathlib import Path


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two marks of a page; each mark stands there once.

    Examples
    --------
    >>> import tempfile
    >>> page = Path(tempfile.mkdtemp(), "page.md")
    >>> _ = page.write_text("Figures: <b>old<e> as measured.")
    >>> write_between(page, "<b>", "<e>", "new")
    >>> page.read_text()
    'Figures: <b>\\nnew\\n<e> as measured.'
    """
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")
