"""The demo: a nightly run over a small archive with the head that comes with bonafide, judged by the true labels."""

from __future__ import annotations

import csv
import logging
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from detector.config import STARTER
from detector.errors import ConfigError
from jobs.config import CONFINEMENT
from jobs.demo.archive import write_archive
from jobs.reports.evaluation.config import EvaluationConfig
from jobs.reports.evaluation.evaluation import write_report
from jobs.reports.nightly.config import NightlyConfig
from jobs.reports.nightly.run import nightly
from jobs.telemetry.names import say

log = logging.getLogger(__name__)

MARKER = ".bonafide-demo"
FAILED, UNDECIDED = "failed", "not decided"


def run_demo(output: Path, confinement: str = CONFINEMENT[1]) -> None:
    """Make the archive, score it and evaluate the scores; print the verdicts, and where the results are."""
    folder = _fresh(output.absolute())
    archive = write_archive(folder)
    tables = folder / "tables"
    log.info("demo 1 of 2: the nightly run over %s", archive.recordings)
    inputs = (str(archive.recordings),)
    nightly(NightlyConfig(input=inputs, head=STARTER, output=str(tables), confinement=confinement))
    log.info("demo 2 of 2: evaluate")
    write_report(EvaluationConfig(scores=(str(tables),), labels=str(archive.labels), output=str(folder)))
    (page,) = sorted((tables / "runs").glob("*.html"))
    say(
        *("", *verdicts(tables), "", summary(tables, archive.labels)),
        f"page: {output / page.relative_to(folder)}",
        f"report: {output / 'report.html'}",
        f"tables: {output / 'tables'}/{{embeddings,scores,failures}}/**/*.parquet",
    )


def verdicts(tables: Path) -> list[str]:
    """The verdict on every recording as lines of a table: file, verdict, probability of spoof, and why."""
    scored = [_scored(row) for row in pq.read_table(tables / "scores").to_pylist()]
    failed = [(row["member"], FAILED, "", row["error"]) for row in pq.read_table(tables / "failures").to_pylist()]
    rows = [("file", "verdict", "p_spoof", "why"), *sorted(scored + failed)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in rows]


def summary(tables: Path, labels: Path) -> str:
    """How many of the labelled recordings were decided, and how many of these rightly."""
    with labels.open(newline="") as file:
        truth = {row["utterance_id"]: row["label"] for row in csv.DictReader(file)}
    rows = [row for row in pq.read_table(tables / "scores").to_pylist() if row["utterance_id"] in truth]
    decided = [row for row in rows if not row["reject"]]
    right = sum(row["label"] == truth[row["utterance_id"]] for row in decided)
    return f"{len(rows)} recordings of speech: {len(decided)} decided, {right} of these rightly"


def _scored(row: dict[str, Any]) -> tuple[str, str, str, str]:
    probability = "" if row["p_spoof"] is None else f"{row['p_spoof']:.2f}"
    if row["reject"]:
        return row["member"], UNDECIDED, probability, row["reject_reason"]
    return row["member"], row["label"], probability, f"score {row['score']:+.1f}"


def _fresh(folder: Path) -> Path:
    """Return an empty folder; a folder with content is removed only if an earlier demo made it."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise ConfigError(f"{folder}: not empty, and not made by the demo. Give another --output.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
    return folder
