"""demo: the whole chain on a small archive that it makes, in about a minute and without a network."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from detector.errors import ConfigError
from detector.head import Head
from detector.schema import BONAFIDE, SPOOF
from jobs.demo.archive import write_archive
from jobs.embedding.config import EmbeddingConfig
from jobs.embedding.run import embed
from jobs.fitting.config import FitConfig
from jobs.fitting.run import fit
from jobs.reports.nightly.config import NightlyConfig
from jobs.reports.nightly.run import nightly
from jobs.verbs import evaluate

log = logging.getLogger(__name__)

MADE_BY_US = ".bonafide-demo"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Run the whole chain on a small artificial archive: embed, fit, nightly, evaluate."""

    output: Annotated[str, "local folder for the archive, the tables and the report; made anew each time"] = (
        "bonafide-demo"
    )


def run(settings: Settings) -> int:
    """Run the demo, print where its results are, and return the exit code."""
    folder = _fresh(Path(settings.output).absolute())
    archive = write_archive(folder)
    training, output, head = (str(folder / name) for name in ("training-tables", "tables", "head.json"))
    log.info("demo 1 of 4: embed %s", archive.training)
    embed(EmbeddingConfig(input=(str(archive.training),), output=training, **asdict(Head.starter().embed_config)))
    log.info("demo 2 of 4: fit a head")
    fit(FitConfig(embeddings=(training,), labels=str(archive.labels), output=head))
    log.info("demo 3 of 4: the night's run over %s", archive.tonight)
    nightly(NightlyConfig(input=(str(archive.tonight),), head=head, output=output))
    log.info("demo 4 of 4: evaluate")
    evaluate.run(evaluate.Settings(scores=(output,), labels=str(archive.labels), output=str(folder)))
    _print_summary(folder / "tables")
    shown = Path(settings.output)
    (page,) = sorted((folder / "tables" / "runs").glob("*.html"))
    print(
        f"page: {shown / page.relative_to(folder)}\nreport: {shown / 'report.html'}\n"
        f"tables: {shown / 'tables'}/{{embeddings,scores,failures}}/**/*.parquet"
    )
    return 0


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
        if not (folder / MADE_BY_US).exists():
            raise ConfigError(f"{folder}: not empty, and not made by the demo. Give another --output.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MADE_BY_US).touch()
    return folder
