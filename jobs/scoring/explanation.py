"""The explanation of one verdict: scores by segment, thresholds, and the training rows that are nearest."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.api import Detector, Verdict
from detector.audio import SAMPLE_RATE, Excerpt
from detector.backbones import load_backbone
from detector.config import CHANNELS
from detector.embedding import join_layers
from detector.errors import ConfigError, ShardError, UtteranceError
from detector.head import Head
from detector.head_checks import refuse_large
from detector.rejection import entropy_bits, log_odds, p_spoof
from detector.schema import LABEL_COLUMNS, UNKNOWN
from detector.training.config import TrainingConfig
from jobs import storage
from jobs.config import MATCH, ModelConfig, extract_config
from jobs.decoding import confinement
from jobs.decoding.queue import DecodeQueue
from jobs.inputs.checkpoint import local_folder
from jobs.inputs.containers import CONTAINERS, container_kind, shortened
from jobs.scoring.config import ExplainConfig
from jobs.scoring.heads import read_head, recipes_for
from jobs.tables.heads import file_of, named_head
from jobs.tables.labelled import Labelled, Labels, renamed_for
from jobs.tables.ledger import Ledger
from jobs.telemetry.names import say


def explain(settings: ExplainConfig) -> int:
    """Print the explanation, and return the exit code."""
    named = named_head(storage.normal(settings.output), settings.head) if settings.output else None
    uri = file_of(named) if named else settings.head
    head = read_head(uri, settings.require_signature, settings.backbone)
    if named and head.head_id != named.head_id:
        raise ConfigError(
            f"{uri}: is head {head.head_id} now, and {named.name} is {named.head_id}. Put that back, or give the path "
            f"of a head's file."
        )
    folder = local_folder(extract_config(settings, ModelConfig))
    recipes_for(head, folder, head.model, uri)
    backbone = load_backbone(head.embed_config, folder, layers=head.layers)
    config = head.embed_config
    channel = None if config.channels == CHANNELS[0] else 0
    confinement.set_mode(settings.confinement)
    with DecodeQueue(config.segment_seconds, settings.max_seconds) as queue:
        recording = queue.put(io.BytesIO(_recording(settings.uri)), settings.uri, Excerpt(channel=channel))
        try:
            segments = list(recording.segments())
        except UtteranceError as error:
            raise ConfigError(f"{settings.uri}: {error.error}: {error.message}.") from error
    detector = Detector(head, backbone)
    embeddings, n_frames = detector.embed(segments)
    embedding = join_layers(embeddings, n_frames, config.pooling, len(head.layers))
    verdict = detector.judge_embedding(embedding, recording.facts, settings.prior, channel)
    say(
        f"{settings.uri}: {verdict.seconds:.2f} s",
        f"head {head.head_id} ({head.model}), prior {verdict.prior:g} spoof",
        "",
    )
    if verdict.score is None:
        say(f"no score: {verdict.reject_reason}")
        return 0
    say(*_verdict(head, verdict))
    say("", "  from      to     score   p_spoof   entropy       ood")
    start = 0.0
    for segment, vector, n in zip(segments, embeddings, n_frames, strict=True):
        end = start + len(segment) / SAMPLE_RATE
        numbers = _numbers(head, vector, verdict.prior) if n else "  too short for a frame"
        say(f"{start:6.1f}  {end:6.1f}{numbers}")
        start = end
    say("", *_nearest(head, embedding, settings, uri))
    return 0


def _verdict(head: Head, verdict: Verdict) -> list[str]:
    low, high = head.reject_band(verdict.prior)
    rows = [
        ("score", f"{verdict.score:.3f} nats", f"spoof is under {log_odds(verdict.prior):.2f}"),
        ("p_spoof", f"{verdict.p_spoof:.4f}", f"label {verdict.label}"),
        (
            "entropy",
            f"{verdict.entropy_bits:.3f} bits",
            f"uncertain is above {head.max_entropy_bits:.3f}: scores from {low:.2f} to {high:.2f}",
        ),
        ("ood", f"{verdict.ood:.3f}", f"out of distribution is above {head.max_ood:g}"),
        ("reject", verdict.reject_reason or "no", ""),
    ]
    return [f"{name:8} {value:>12}   {about}".rstrip() for name, value, about in rows]


def _numbers(head: Head, embedding: npt.NDArray[np.float32], prior: float) -> str:
    row = embedding[None].astype(np.float64)
    score, ood = head.scores(row), head.ood(row)
    if not np.isfinite([score, ood]).all():
        return "  out_of_distribution"
    values = (score, p_spoof(score, prior), entropy_bits(score, prior), ood)
    return "".join(f"{value[0]:10.3f}" for value in values)


def _recording(uri: str) -> bytes:
    """Read a file, or a member of a container."""
    place, _, member = uri.partition("#")
    if not member or storage.stat(storage.normal(uri)) is not None:  # a file's own name may hold the sign
        return storage.read_bytes(storage.normal(uri))
    stored = storage.stat(storage.normal(place))
    if stored is None:
        raise storage.NotFoundError(f"{place}: not found. Check the spelling.")
    found: list[bytes] = []
    try:
        with storage.opened(stored) as file:
            for each in CONTAINERS[container_kind(place) or "tar"].members(file, stored):
                if member in (each.name, shortened(each.name)):
                    if isinstance(each.content, UtteranceError):
                        raise each.content
                    found.append(each.content.read())
    except (ShardError, UtteranceError) as error:
        if not found:
            raise ConfigError(f"{uri}: cannot be read: {error}.") from error
    if not found:
        raise ConfigError(f"{uri}: no such member of the container. Give its name as the tables have it.")
    if len(found) > 1:
        raise ConfigError(f"{uri}: {len(found)} members have this name, and nothing tells which is meant. Rename one.")
    return found[0]


def _nearest(
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
