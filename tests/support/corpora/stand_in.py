"""A stand-in for a corpus: a few files in its layout, and the rows that they must give, written by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detector.schema import LABEL_COLUMNS

Files = dict[str, str]
Fact = str | None
Rows = dict[str, tuple[Fact, ...]]


@dataclass(frozen=True)
class StandIn:
    """Files by path, with their text (audio is empty: no importer reads it), and rows by path.

    A row is label, split, system, speaker, source, language, codec. ``inputs`` are what is given, below the root.
    """

    files: Files
    rows: Rows
    inputs: tuple[str, ...] = ("",)
    subsets: tuple[str, ...] = ()


def lay(root: Path, files: Files) -> Path:
    """Write the files of a stand-in."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def audio(*paths: str) -> Files:
    return dict.fromkeys(paths, "")


def facts(row: tuple[Fact, ...]) -> dict[str, Fact]:
    return dict(zip(LABEL_COLUMNS, row, strict=True))
