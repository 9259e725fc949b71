"""The nearest training rows: what a head was fitted on that is most like a recording, with labels and groups."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.head import Head
from detector.head_checks import refuse_large
from detector.schema import LABEL_COLUMNS, UNKNOWN
from detector.training.config import TrainingConfig
from jobs import storage
from jobs.config import MATCH
from jobs.scoring.config import ExplainConfig
from jobs.tables.labelled import Labelled, Labels, renamed_for
from jobs.tables.ledger import Ledger


def nearest_rows(
    head: Head, embedding: npt.NDArray[np.float32] | None, settings: ExplainConfig, head_uri: str
) -> list[str]:
    """List the training rows that are nearest in standardised embeddings, with their labels and groups.

    The report beside a head is signed by nobody, so nothing is opened because it is named there.
    """
    stated = _fit_settings(head_uri)
    uris, labels = settings.embeddings, settings.labels
    if embedding is None or not uris or not labels:
        named = [stated.get("embeddings"), stated.get("labels")]
        where = f"; its report names {named[0]} and {named[1]}" if all(named) else ""
        return [f"nearest training rows: give the --embeddings and --labels that the head was fitted on{where}"]
    if len(head.layers) > 1:
        return ["nearest training rows: not found for a fused head"]
    config = TrainingConfig(min_seconds=head.min_seconds, silence_dbfs=head.silence_dbfs)
    tables = [Ledger(storage.normal(uri), "embeddings", head.fingerprint) for uri in uris]
    renamed = renamed_for(storage.normal(labels), tables, stated.get("match", MATCH[0]))
    rows = Labelled(tables, Labels.read(storage.normal(labels), stated.get("split"), renamed), config)
    scale = np.array(head.scale)
    nearest: list[tuple[float, int]] = []
    for index, block in rows.blocks():
        distances = np.sqrt(np.square((block - embedding) / scale).mean(axis=1))
        nearest = sorted([*nearest, *zip(distances.tolist(), index.tolist(), strict=True)])[: settings.nearest]
    lines = [f"nearest of {rows.n_rows} training rows (root mean square distance, in standard deviations):"]
    texts = rows.labels.texts(row for _, row in nearest)
    for (distance, _), row in zip(nearest, texts, strict=True):
        facts = ", ".join(f"{name} {row[name]}" for name in LABEL_COLUMNS[2:] if row[name] not in UNKNOWN)
        lines.append(f"{distance:8.3f}  {row['label']:8}  {row['utterance_id']}  ({facts})")
    return lines


def _fit_settings(head: str) -> dict[str, Any]:
    """Read the settings of `fit` from the report next to the head; empty if there is none, or one too large for it."""
    uri = storage.normal(head).removesuffix(".json") + ".report.json"
    try:
        stored = storage.stat(uri)
        refuse_large(stored.size if stored else 0, uri)
        report = json.loads(storage.read_bytes(uri))
        return dict(report["settings"])
    except (storage.NotFoundError, ValueError, KeyError, TypeError):
        return {}
