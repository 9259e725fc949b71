"""Compare two heads on the development corpus: fit each on `train`, evaluate both on `eval`, with intervals.

    python -m bench.two_heads [--a "--c 1"] [--b "--recipe pascu2024"] [--keep FOLDER] [embed flags …]

Embeds the corpus once, fits a head with each set of `fit` flags, scores, and writes the figures of `evaluate` into
docs/results.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.dev_corpus import CORPUS, RESULTS, job, pack
from bench.marked import write_between
from jobs.reports.evaluation.page import HEADLINE
from tests.support.seaweedfs import s3_server

BEGIN, END = "<!-- two_heads: begin -->", "<!-- two_heads: end -->"
SEARCHED = ""
PAPER = "--recipe pascu2024"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, score, compare, and write the tables; return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.two_heads", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder with metadata.csv [default: %(default)s]")
    parser.add_argument("--a", default=SEARCHED, help="flags of `fit` for head A [default: none, the folds choose]")
    parser.add_argument("--b", default=PAPER, help="flags of `fit` for head B [default: %(default)s]")
    parser.add_argument("--keep", type=Path, help="folder that gets report.html and report.json")
    parser.add_argument("--no-write", action="store_true", help="print the tables, leave docs/results.md alone")
    known, embed = parser.parse_known_args(arguments)
    embed = embed or ["--backbone", "melstats"]
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as folder, s3_server(Path(folder) / "s3") as store:
        os.environ.update(store)
        pack(known.corpus, "s3://bench/dev", Path(folder) / "labels.csv")
        report = chain(os.environ | store, Path(folder), embed, (known.a, known.b))
        if known.keep:
            shutil.copytree(Path(folder) / "report", known.keep, dirs_exist_ok=True)
    text = tables(f"python -m bench.two_heads {shlex.join(embed)}", (known.a, known.b), report)
    print(text)
    if not known.no_write:
        write_between(RESULTS, BEGIN, END, text)
    return 0


def chain(environment: dict[str, str], folder: Path, embed: list[str], flags: tuple[str, str]) -> dict[str, Any]:
    """Embed, fit and score twice, and evaluate; return the report, the first head first."""
    labels, scores, report = str(folder / "labels.csv"), "s3://bench/scores", folder / "report"
    embeddings = "s3://bench/embeddings"
    job(environment, "embed", "--input", "s3://bench/dev/", *embed, "--output", embeddings)
    heads = []
    for name, how in zip("ab", flags, strict=True):
        head = str(folder / f"{name}.json")
        job(environment, "fit", "--embeddings", embeddings, "--labels", labels, "--output", head, *shlex.split(how))
        job(environment, "score", "--embeddings", embeddings, "--head", head, "--output", scores)
        heads += ["--head", head, "--head-id", json.loads(Path(head).read_text())["head_id"]]
    what = ("--scores", scores, "--labels", labels, "--embeddings", embeddings, "--audio")
    job(environment, "evaluate", *what, *heads, "--output", str(report))
    content: dict[str, Any] = json.loads((report / "report.json").read_text())
    return content


def tables(command: str, flags: tuple[str, str], report: dict[str, Any]) -> str:
    """Format the report as Markdown."""
    a, b = report["heads"]
    difference = report["comparisons"][0]["metrics"]
    how = [f"fit {each}".strip() for each in flags]
    lines = [
        f"`{command}`, {datetime.datetime.now(datetime.UTC).date()}. Head A: `{how[0]}`; head B: `{how[1]}`."
        f" {a['counts']['bonafide']} bona fide recordings of {a['counts']['bonafide_clusters']} "
        f"speakers or sources, {a['counts']['spoof']} spoof recordings of {a['counts']['spoof_clusters']} systems.",
        "",
        "| figure | A | B | B less A |",
        "| --- | --- | --- | --- |",
    ]
    for name, metric in HEADLINE.items():
        cells = [cell(each["headline"][name], metric.form) for each in (a, b)]
        both = cell(difference[name], metric.form, sign="+") if name in difference else "–"
        lines.append(f"| {metric.name} | {cells[0]} | {cells[1]} | {both} |")
    lines += [
        "",
        *shortcuts(report),
        "",
        "What the report warns of:",
        "",
        *(f"- {text}" for text in report["warnings"]),
    ]
    return "\n".join(lines)


def shortcuts(report: dict[str, Any]) -> list[str]:
    """Format the error rates of the shortcuts as lines of Markdown."""
    lines = ["| shortcut alone, EER | learnt on `train` | learnt in folds of `eval` |", "| --- | --- | --- |"]
    for each in report["shortcuts"]:
        cells = [cell(each[way], "share") if each[way] else "–" for way in ("learnt_on_others", "in_folds")]
        lines.append(f"| {each['name']} | {cells[0]} | {cells[1]} |")
    return lines


def cell(found: dict[str, Any], form: str, sign: str = "") -> str:
    """Format a figure with its interval; shares in percent."""

    def text(value: float) -> str:
        return f"{100 * value:{sign}.1f}" if form == "share" else f"{value:{sign}.3f}"

    if found["value"] is None:
        return "–"
    interval = "" if found["low"] is None else f" ({text(found['low'])} to {text(found['high'])})"
    return text(found["value"]) + interval


if __name__ == "__main__":
    sys.exit(main())
