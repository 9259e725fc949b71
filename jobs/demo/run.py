"""The demo: the whole chain on a small artificial archive, in about a minute and without a network."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from detector.errors import ConfigError
from detector.head import Head
from detector.schema import BONAFIDE, SPOOF
from jobs.demo.archive import write_archive
from jobs.embedding.config import EmbeddingConfig
from jobs.embedding.run import embed
from jobs.fitting.config import FitConfig
from jobs.fitting.run import fit
from jobs.reports.evaluation.config import EvaluationConfig
from jobs.reports.evaluation.evaluation import write_report
from jobs.reports.nightly.config import NightlyConfig
from jobs.reports.nightly.run import nightly

log = logging.getLogger(__name__)

MARKER = ".bonafide-demo"


def run_demo(output: Path) -> None:
    """Make the archive, embed it, fit a head, score and evaluate; print where the results are."""
    folder = _fresh(output.absolute())
    archive = write_archive(folder)
    training, tables, head = (str(folder / name) for name in ("training-tables", "tables", "head.json"))
    log.info("demo 1 of 4: embed %s", archive.training)
    embed(EmbeddingConfig(input=(str(archive.training),), output=training, **asdict(Head.starter().embed_config)))
    log.info("demo 2 of 4: fit a head")
    fit(FitConfig(embeddings=(training,), labels=str(archive.labels), output=head))
    log.info("demo 3 of 4: the nightly run over %s", archive.new)
    nightly(NightlyConfig(input=(str(archive.new),), head=head, output=tables))
    log.info("demo 4 of 4: evaluate")
    write_report(EvaluationConfig(scores=(tables,), labels=str(archive.labels), output=str(folder)))
    _print_summary(folder / "tables")
    (page,) = sorted((folder / "tables" / "runs").glob("*.html"))
    print(
        f"page: {output / page.relative_to(folder)}\nreport: {output / 'report.html'}\n"
        f"tables: {output / 'tables'}/{{embeddings,scores,failures}}/**/*.parquet"
    )


def _print_summary(output: Path) -> None:
    scores = pq.read_table(output / "scores").to_pylist()
    failures = pq.read_table(output / "failures").to_pylist()
    rejected = [row["reject_reason"] for row in scores if row["reject"]]
    reasons = ", ".join(f"{rejected.count(reason)} {reason}" for reason in sorted(set(rejected)))
    failed = ", ".join(f"{row['member']} {row['error']}" for row in sorted(failures, key=lambda row: row["member"]))
    accepted = [row["label"] for row in scores if not row["reject"]]
    print(
        f"\nthe demo's artificial archive of {len(scores) + len(failures)} recordings:\n"
        f"scored: {accepted.count(BONAFIDE)} bonafide, {accepted.count(SPOOF)} spoof\n"
        f"rejected: {len(rejected)} ({reasons})\n"
        f"failed: {len(failures)} ({failed})"
    )


def _fresh(folder: Path) -> Path:
    """Return an empty folder; a folder with content is removed only if an earlier demo made it."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise ConfigError(f"{folder}: not empty, and not made by the demo. Give another --output.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
    return folder
