"""fit: labelled embeddings in, a head and its report out."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detector.config import digest_of
from detector.errors import ConfigError
from detector.head import Head
from detector.schema import BONAFIDE, LABEL_COLUMNS
from detector.training import TrainingConfig, fit_head
from jobs import ledger, runs, storage
from jobs.lists import read_labels

log = logging.getLogger(__name__)

UNKNOWN = (None, "", "-")  # what corpora write where they do not know


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingConfig):
    """Fit a head on labelled embeddings; calibrate it on rows of held-out systems and speakers."""

    embeddings: Annotated[str, "the --output of an `embed` run"]
    labels: Annotated[str, "manifest, CSV, JSONL or Parquet: utterance_id,label[,split,system,speaker,source,language]"]
    output: Annotated[str, "head to write, …/head.json (or its folder); the report goes beside it"]
    split: Annotated[str, "rows to fit on, where the labels have a split"] = "train"
    fingerprint: Annotated[str | None, "which embeddings, where the output holds several"] = None


def run(settings: Settings) -> int:
    """Fit, write head and report, and say how good it is on held-out rows; return the exit code."""
    started = runs.now()
    table, record = _embeddings(settings)
    rows = _labelled(table, settings)
    is_bonafide = np.array(rows["label"].to_pylist()) == BONAFIDE
    vectors = rows["embedding"].combine_chunks()
    embeddings = vectors.flatten().to_numpy().reshape(len(rows), -1).astype(np.float64)
    head, report = fit_head(
        embeddings, is_bonafide, groups_of(rows), settings, recipe=record["recipe"], model=record["model"]
    )
    uri = storage.normal(settings.output)
    uri = uri if uri.endswith(".json") else storage.join(uri, "head.json")
    storage.write_bytes(uri, head.to_json().encode())
    report_uri = uri.removesuffix(".json") + ".report.json"
    content = {
        "head_id": head.head_id,
        "started": started.isoformat(timespec="seconds"),
        "settings": runs.settings_of(settings),
        "versions": runs.versions(),
        "training": report,
        "reject_band_nats": head.reject_band(),
        "trained_on": _trained_on(rows),
    }
    storage.write_bytes(report_uri, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    _say(head, report)
    print(f"head: {uri}\nreport: {report_uri}")
    return 0


def groups_of(rows: pa.Table) -> Any:
    """What may not stand on both sides of a fold: a spoof row's system, a bona fide row's speaker or source.

    A row of which none is known is a group of its own.
    """
    groups = []
    for row in rows.select(["utterance_id", *LABEL_COLUMNS]).to_pylist():
        names = ("speaker", "source") if row["label"] == BONAFIDE else ("system", "speaker", "source")
        known = next((f"{name} {row[name]}" for name in names if row[name] not in UNKNOWN), row["utterance_id"])
        groups.append(f"{row['label']} {known}")
    return np.array(groups)


def _embeddings(settings: Settings) -> tuple[pa.Table, dict[str, Any]]:
    """Embeddings of one recipe under the output, and the record of the run that wrote them."""
    uri = storage.normal(settings.embeddings)
    source = ledger.only(uri, "embeddings", settings.fingerprint, "--fingerprint")
    markers, tables = source.read_all("embeddings")
    if not tables:
        raise ConfigError(f"{uri}: the embedding table has no rows.")
    recipe = {"recipe": markers[0].detail["recipe"], "model": markers[0].detail["model"]}
    columns = ["utterance_id", "seconds", "rms_dbfs", "embedding"]
    return pa.concat_tables(table.select(columns) for table in tables), recipe


def _labelled(table: pa.Table, settings: Settings) -> pa.Table:
    """Rows to fit on: labelled, of the split, long and loud enough for a score."""
    labels = read_labels(storage.normal(settings.labels), settings.split)
    usable = table.filter(
        pc.and_(
            pc.is_valid(table["embedding"]),
            pc.and_(
                pc.greater_equal(table["seconds"], settings.min_seconds),
                pc.greater(table["rms_dbfs"], settings.silence_dbfs),
            ),
        )
    )
    position = {name: index for index, name in enumerate(usable["utterance_id"].to_pylist())}
    labels = labels.sort_by("utterance_id")
    here = [index for index, name in enumerate(labels["utterance_id"].to_pylist()) if name in position]
    log.info(
        "fit: %d labelled rows of split %s, %d of them embedded and usable", len(labels), settings.split, len(here)
    )
    if not here:
        raise ConfigError(
            f"{settings.labels}: none of {len(labels)} labelled ids (split {settings.split!r}) is among "
            f"{len(usable)} usable embeddings. Ids there look like {next(iter(position), 'none')!r}."
        )
    labels = labels.take(here)
    order = [position[name] for name in labels["utterance_id"].to_pylist()]
    return labels.append_column("embedding", usable["embedding"].take(order))


def _trained_on(rows: pa.Table) -> dict[str, Any]:
    counts = {
        name: dict(Counter(f"{row['label']} {row[name]}" for row in rows.select(["label", name]).to_pylist()))
        for name in ("source", "system")
    }
    return {"rows": len(rows), "ids_digest": digest_of(rows["utterance_id"].to_pylist()), **counts}


def _say(head: Head, report: dict[str, Any]) -> None:
    held_out = report["held_out"]
    low, high = head.reject_band()
    print(
        f"head {head.head_id}: {report['bonafide']} bonafide and {report['spoof']} spoof rows in {report['groups']} "
        f"groups\nheld out: EER {held_out['equal_error_rate']:.1%}, Cllr {held_out['cllr']:.3f} bits, "
        f"ECE {held_out['expected_calibration_error']:.1%}"
    )
    if report["target_met"]:
        print(
            f"rejects scores between {low:.2f} and {high:.2f} nats: keeps {report['coverage']:.1%} of the held-out "
            f"rows, {report['risk']:.1%} of them wrong"
        )
    else:
        print(
            f"a risk of {report['target_risk']:g} is not reached at any coverage: the head rejects everything. Wish "
            f"for a --target-coverage or a higher --target-risk, or use a better encoder."
        )
