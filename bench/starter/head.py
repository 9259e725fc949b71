"""Fit the starter's head on `train` of the development corpus, and compare it with two other encoders on `eval`.

    python -m bench.starter.head [--encoder build/starter/checkpoint-250] [--work build/starter-head]

Embeds the corpus with melstats, with an encoder of the starter's shape and random weights, and with the starter: all
layers, with mean, and mean and deviation. For each, `fit` chooses table, layer, C and standardising on grouped folds of
`train`, and sets the reject rule there, strictly: recordings unlike the training rows are rejected. The figures of
`eval` are written into docs/starter.md and the model card, and the head into detector/starter.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Wav2Vec2BertModel

from bench.dev_corpus import CORPUS, ROOT
from bench.reproduce import bonafide
from bench.starter.pretrain import SHAPE, save
from bench.two_heads import cell, shortcuts
from detector import starter
from jobs.reports.evaluation.page import HEADLINE

PAGE = ROOT / "docs" / "starter.md"
CARD = starter.ENCODER.parent / "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
SHOWN = ("equal_error_rate", "area_under_roc", "expected_calibration_error", "cllr", "min_cllr", "coverage", "risk")
COVERAGES = (1.0, 0.9, 0.7, 0.5)
COLUMNS = ("label", "split", "system", "speaker", "source", "language")
POOLINGS = ("mean", "mean+std")
RIVALS = ("melstats", "random", "starter")
STRICT = ("--target-risk", "0.05", "--max-ood", "0.95")  # one in twenty that is like the training rows is rejected, too


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, score, evaluate, and write the tables; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.starter.head", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--encoder", type=Path, help="checkpoint to use as the starter's [default: the present one]")
    parser.add_argument("--work", type=Path, default=Path("build/starter-head"), help="folder for tables and report")
    parser.add_argument("--seed", type=int, default=1, help="of the random encoder")
    known = parser.parse_args(arguments)
    if known.encoder:
        shutil.copytree(known.encoder, starter.ENCODER, dirs_exist_ok=True)
    known.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(known.seed)
    save(Wav2Vec2BertModel(SHAPE), known.work / "random")
    labels = listed(known.corpus, known.work / "labels.csv")
    heads = {name: fitted(name, known, labels) for name in RIVALS}
    report = judged(heads, known.work, labels)
    shutil.copy(heads["starter"], starter.HEAD)
    text = tables(report, {name: json.loads(head.read_text()) for name, head in heads.items()})
    for page in (PAGE, CARD):
        before, rest = page.read_text().split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    print(text)
    return 0


def listed(corpus: Path, labels: Path) -> str:
    """Write labels by utterance id, which is the path of a file; return the file's name."""
    with (corpus / "metadata.csv").open(newline="") as file, labels.open("w", newline="") as target:
        table = csv.writer(target)
        table.writerow(["utterance_id", *COLUMNS])
        for row in csv.DictReader(file):
            table.writerow([str((corpus / row["file"]).absolute()), *(row[name] for name in COLUMNS)])
    return str(labels)


def fitted(name: str, known: argparse.Namespace, labels: str) -> Path:
    """Embed, fit and score with one encoder; return its head."""
    what = {
        "melstats": ("--backbone", "melstats"),
        "random": ("--backbone", "huggingface", "--model", str(known.work / "random"), "--layers", "all"),
        "starter": ("--backbone", "starter", "--layers", "all"),
    }[name]
    output, head = str(known.work / name), Path(known.work, f"{name}.json")
    for pooling in POOLINGS if name != "melstats" else POOLINGS[:1]:
        where = ("--output", output, "--new-table", "--pooling", pooling)
        bonafide(
            "embed", "--input", str(known.corpus / "bonafide"), "--input", str(known.corpus / "spoof"), *what, *where
        )
    bonafide("fit", "--embeddings", output, "--labels", labels, *STRICT, "--output", str(head))
    bonafide("score", "--embeddings", output, "--head", str(head), "--output", str(known.work / "scores"))
    return head


def judged(heads: dict[str, Path], work: Path, labels: str) -> dict[str, Any]:
    """Evaluate the heads on `eval`, the starter's first; return the report."""
    order = [heads[name] for name in reversed(RIVALS)]
    flags = [word for head in order for word in ("--head-id", json.loads(head.read_text())["head_id"])]
    embeddings = str(work / "melstats")
    what = ("--scores", str(work / "scores"), "--labels", labels, "--embeddings", embeddings, "--audio")
    bonafide("evaluate", *what, *flags, "--output", str(work / "report"))
    report: dict[str, Any] = json.loads((work / "report" / "report.json").read_text())
    return report


def tables(report: dict[str, Any], heads: dict[str, dict[str, Any]]) -> str:
    """Format the figures as Markdown."""
    found = {each["head_id"]: each for each in report["heads"]}
    by_name = {name: found[head["head_id"]] for name, head in heads.items()}
    own, counts = by_name["starter"], by_name["starter"]["counts"]
    lines = [
        f"`python -m bench.starter.head`, {datetime.datetime.now(datetime.UTC).date()}: {counts['bonafide']} bona fide "
        f"recordings of {counts['bonafide_clusters']} speakers or sources, {counts['spoof']} spoof recordings of "
        f"{counts['spoof_clusters']} systems, none of them in `train`.",
        "",
        f"| figure | {' | '.join(RIVALS)} |",
        "| --- " * (1 + len(RIVALS)) + "|",
        f"| chosen on `train` | {' | '.join(_chosen(heads[name]) for name in RIVALS)} |",
    ]
    for name in SHOWN:
        cells = [cell(by_name[rival]["headline"][name], HEADLINE[name].form) for rival in RIVALS]
        lines.append(f"| {HEADLINE[name].name} | {' | '.join(cells)} |")
    for coverage in COVERAGES:
        cells = [f"{100 * _risk(by_name[rival], coverage):.1f}" for rival in RIVALS]
        lines.append(f"| wrong among the most certain {coverage:.0%} | {' | '.join(cells)} |")
    lines += ["", "| difference of EER, points | |", "| --- | --- |"]
    names = {head["head_id"]: name for name, head in heads.items()}
    for each in report["comparisons"]:
        difference = cell(each["metrics"]["equal_error_rate"], "share", sign="+")
        lines.append(f"| {names[each['head_id']]} less starter | {difference} |")
    lines += ["", *shortcuts(report)]
    lines += [
        "",
        "| system or source | recordings | EER against all others | wrong | rejected |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in ("system", "source"):
        for group in own["groups"].get(kind, ()):
            rate = group["equal_error_rate"]
            alone = "–" if rate is None or np.isnan(rate) else f"{100 * rate:.0f}"
            wrong = f"{group['wrong']} of {group['scored']}"
            lines.append(f"| {group['name']} | {group['rows']} | {alone} | {wrong} | {group['rejected']} |")
    return "\n".join(lines)


def _chosen(head: dict[str, Any]) -> str:
    recipe, training = head["recipe"], head["training"]
    layer = "" if recipe["layer"] < 0 and not recipe["weights"] else f"layer {recipe['layer']}, "
    return f"{layer}{recipe['pooling']}, C = {training['c']:g}{', standardised' if training['standardise'] else ''}"


def _risk(head: dict[str, Any], coverage: float) -> float:
    curve = head["curves"]["risk_coverage"]
    return float(np.interp(coverage, curve["coverage"], curve["risk"]))


if __name__ == "__main__":
    sys.exit(main())
