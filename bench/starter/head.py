"""Fit the starter's head, and compare it with other encoders on speech that none of them was fitted on.

    python -m bench.starter.head [--corpora ../shared/corpus] [--aasist FOLDER] [--work build/starter]

Embeds `dev`, `more` and `pages` with the starter, with an encoder of its shape and random weights, with the starter of
an earlier release, with LFCC statistics and with melstats; fits a head for each on the rows of bench/starter/rows.py,
and scores `eval` and `pages`. The starter's head is written to detector/starter, and the figures to docs/starter.md.
With `--aasist`, a folder with a copy of clovaai/aasist, its published weights score the same recordings. What is
embedded and scored in the work folder is not computed again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import WhisperModel

from bench.dev_corpus import CORPUS, ROOT
from bench.marked import write_between
from bench.reproduce import bonafide
from bench.starter import aasist, figures, rows
from bench.starter.convert import PREPROCESSING, config_of
from bench.starter.figures import Judged
from detector import starter
from detector.metrics.trials import Trials
from jobs.inputs.labels import read_labels
from jobs.reports.evaluation.trials import join_scores_with_labels, to_trials

PAGE = ROOT / "docs" / "starter.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
OLD = "a36240d"  # the last commit with the encoder that was pretrained on 46 minutes
FIT = ("--nuisance-directions", "15", "--c", "0.01", "--standardise", "--target-risk", "0.15")  # docs/starter.md: why
FEWER = ("--search-rows", "2000")  # for rivals, no table shows what `fit` finds by leaving each system out
STARTER, OLD_STARTER, RANDOM, LFCC, MELSTATS = "starter", "old starter", "random", "LFCC", "melstats"
SEGMENTS = ("--segment-seconds", "4")
LFCC_FLAGS = ("--backbone", "bench.starter.lfcc:load", "--pooling", "mean+std", *SEGMENTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed, fit, score, and write the tables; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.starter.head", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, default=CORPUS.parent, help="folder of dev, more and pages")
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="folder for tables")
    parser.add_argument("--aasist", type=Path, help="copy of clovaai/aasist, outside the project")
    parser.add_argument("--no-write", action="store_true", help="print the tables, leave head and docs alone")
    known = parser.parse_args(arguments)
    known.work.mkdir(parents=True, exist_ok=True)
    used = rows.rows_of(known.corpora)
    judges = (rows.TRAIN, rows.EVAL, rows.PAGES)
    listed = rows.write([row for row in used if row["split"] in judges], known.work / "rows.csv")
    heads = {name: fitted(name, flags, listed, known.work) for name, flags in encoders(known.work).items()}
    judged = [trials_of(split, heads, listed, known.work) for split in (rows.EVAL, rows.PAGES)]
    if known.aasist:
        judged = [aasist.beside(each, listed, known.aasist, known.work) for each in judged]
    text = report(judged, heads, used)
    print(text)
    if not known.no_write:
        shutil.copy(heads[STARTER], starter.HEAD)
        write_between(PAGE, BEGIN, END, text)
        (ROOT / "docs" / "starter-risk-coverage.svg").write_text(figures.chart(judged))
    return 0


def encoders(work: Path) -> dict[str, tuple[str, ...]]:
    """Flags of `embed` by encoder, the starter's first."""
    shape, old = work / "random-encoder", work / "old-encoder"
    if not shape.exists():
        torch.manual_seed(1)
        WhisperModel(config_of(2)).save_pretrained(shape)
        (shape / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    if not old.exists():
        for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
            old.mkdir(exist_ok=True)
            blob = ["git", "-C", str(ROOT), "show", f"{OLD}:detector/starter/encoder/{name}"]
            (old / name).write_bytes(subprocess.run(blob, check=True, capture_output=True).stdout)
    return {
        STARTER: ("--backbone", "starter"),
        RANDOM: ("--backbone", "huggingface", "--model", str(shape), *SEGMENTS),
        OLD_STARTER: ("--backbone", "huggingface", "--model", str(old), "--layer", "4"),
        LFCC: LFCC_FLAGS,
        MELSTATS: ("--backbone", "melstats", *SEGMENTS),
    }


def fitted(name: str, flags: tuple[str, ...], listed: Path, work: Path) -> Path:
    """Embed, fit and score with one encoder; return its head."""
    folder = work / name.replace(" ", "-")
    output, head = str(folder / "tables"), folder / "head.json"
    bonafide("embed", "--input", str(listed), *flags, "--output", output)
    how = FIT if name == STARTER else (*FIT, *FEWER)
    bonafide("fit", "--embeddings", output, "--labels", str(listed), *how, "--output", str(head))
    bonafide("score", "--embeddings", output, "--head", str(head), "--output", str(folder / "scores"))
    return head


def trials_of(split: str, heads: dict[str, Path], listed: Path, work: Path) -> Judged:
    """The trials of a split, by encoder."""
    labels = read_labels(str(listed))
    tables = {name: _scores(name, head, labels, split, work) for name, head in heads.items()}
    first = tables[STARTER]
    facts = {name: np.array(first[name].to_pylist(), dtype=np.str_) for name in ("system", "source")}
    pages = {row["utterance_id"]: row["page"] for row in rows.read(listed)}
    facts["page"] = np.array([pages[each] for each in first["utterance_id"].to_pylist()], dtype=np.str_)
    facts["utterance_id"] = np.array(first["utterance_id"].to_pylist(), dtype=np.str_)
    return Judged(split, {name: to_trials(table) for name, table in tables.items()}, facts)


def _scores(name: str, head: Path, labels: pa.Table, split: str, work: Path) -> pa.Table:
    head_id = json.loads(head.read_text())["head_id"]
    uri = str(work / name.replace(" ", "-") / "scores")
    (found,) = join_scores_with_labels([uri], (head_id,), labels, split, allow_missing=False)
    return found.rows


def report(judged: list[Judged], heads: dict[str, Path], used: list[rows.Row]) -> str:
    """All tables as Markdown."""
    both = [each.trials[STARTER] for each in judged]
    together = Trials(*(np.concatenate([getattr(each, name) for each in both]) for name in Trials.__dataclass_fields__))
    share, wrong = figures.flagged(together)
    parts = [
        f"`python -m bench.starter.head`, {datetime.datetime.now(datetime.UTC).date()}. {rows.counts(used)}.",
        _folds(heads),
        *(figures.figures(each) for each in judged),
        f"On `eval` and `pages` together, the starter flags {100 * share:.1f} % of the spoof rows, and "
        f"{100 * wrong:.1f} % of its flags are wrong.",
        *(figures.differences(each, STARTER) for each in judged),
        *(figures.groups(each, STARTER) for each in judged),
    ]
    return "\n\n".join(parts)


def _folds(heads: dict[str, Path]) -> str:
    lines = ["| folds of `train` | chosen | EER, % | ECE, % | Cllr, bits | kept, % | wrong among kept, % |"]
    lines.append("| --- " * 7 + "|")
    for name, head in heads.items():
        found: dict[str, Any] = json.loads(head.with_suffix("").with_suffix(".report.json").read_text())["training"]
        held_out = found["held_out"]
        chosen = f"C = {found['c']:g}{', standardised' if found['standardise'] else ''}"
        cells = [f"{100 * held_out[each]:.1f}" for each in ("equal_error_rate", "expected_calibration_error")]
        cells += [f"{held_out['cllr']:.3f}", f"{100 * found['coverage']:.1f}", f"{100 * (found['risk'] or 0):.1f}"]
        lines.append(f"| {name} | {chosen} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
