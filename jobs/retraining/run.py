"""A retraining: labelled recordings in; a new head in the published one's place, if it is shown to be no worse."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from detector.errors import ConfigError
from detector.head import Head
from jobs import storage
from jobs.embedding.config import EmbeddingConfig
from jobs.embedding.run import embed
from jobs.fitting.config import FitConfig
from jobs.fitting.run import fit
from jobs.reports.evaluation.config import EvaluationConfig
from jobs.reports.evaluation.evaluation import write_report
from jobs.retraining.config import RetrainConfig
from jobs.retraining.publication import METRIC, no_worse, publish
from jobs.scoring.config import ScoreConfig
from jobs.scoring.heads import embeddings_of, read_head
from jobs.scoring.run import score
from jobs.tables import run_records
from jobs.telemetry.names import say

DECISION = "decision.json"


def retrain(settings: RetrainConfig) -> int:
    """Fit, compare, publish or keep, print why, and return the exit code."""
    uri = storage.normal(settings.head)
    standing = storage.stat(uri)
    if standing is None:
        raise ConfigError(f"{uri}: no head is published here. Make the first one by `embed` and `fit`.")
    published = read_head(uri, settings.require_signature, settings.backbone)
    if len(published.embed_configs) > 1:
        raise ConfigError(f"{uri}: a fused head, which `retrain` does not fit. Use `fit --fuse`, and publish its head.")
    if published.contains_rule:
        raise ConfigError(
            f"{uri}: says of recordings whether they contain spoof (`fit --parts`), which `retrain` does not fit. Fit "
            f"the next one by `fit`, too, and publish it."
        )
    code = embed(_settings(EmbeddingConfig, settings, **asdict(published.embed_config)))
    if code != 0:
        return code
    folder = storage.join(storage.normal(settings.output), "retraining", settings.run_date)
    key = embeddings_of(settings.output, published).key
    own: dict[str, Any] = {"embeddings": (settings.output,), "output": folder, "fingerprint": key}
    if published.systems is not None and not settings.attribution:
        own |= {"attribution": True, "false_attribution": published.systems.false_attribution}
    fit(_settings(FitConfig, settings, **own))
    candidate_uri = storage.join(folder, "head.json")
    candidate = read_head(candidate_uri, backbone=settings.backbone)
    if candidate.head_id == published.head_id:
        say(f"nothing to publish: the new head is the published one, {published.head_id}")
        return 0
    decision = _decision(settings, folder, {uri: published, candidate_uri: candidate})
    decision_uri = storage.join(folder, DECISION)
    storage.write_bytes(decision_uri, (json.dumps(decision, indent=1, sort_keys=True) + "\n").encode())
    if decision["publish"]:
        publish(standing, published, candidate_uri)
    say(decision["because"], f"head: {uri}", f"decision: {decision_uri}")
    return 0


def _settings(kind: type[Any], settings: RetrainConfig, **others: Any) -> Any:
    """Make another step's settings from the fields that these share with it, and ``others``."""
    names = {each.name for each in fields(kind)}
    ours = {name: value for name, value in vars(settings).items() if name in names}
    return kind(**{**ours, **others})


def _decision(settings: RetrainConfig, folder: str, heads: dict[str, Head]) -> dict[str, Any]:
    """Score the held-out rows with both heads, the published one first, and compare them."""
    for uri in heads:
        own = {"input": (), "manifest": None, "require_signature": None, "prior": None}
        score(_settings(ScoreConfig, settings, embeddings=settings.output, head=uri, **own))
    published, candidate = (head.head_id for head in heads.values())
    judging = EvaluationConfig(
        scores=(settings.output,),
        labels=settings.labels,
        match=settings.match,
        output=folder,
        split=settings.held_out,
        head_id=(published, candidate),
        head=tuple(heads),
        backbone=() if settings.backbone is None else (settings.backbone,),
        draws=settings.draws,
    )
    (comparison,) = write_report(judging)["comparisons"]
    found = comparison["metrics"][METRIC]
    is_no_worse = no_worse(found["high"], settings.margin)
    interval = "{value:+.3f} ({low:+.3f} to {high:+.3f})"
    difference = "undefined" if found["high"] is None else interval.format(**found)
    return {
        "published": published,
        "candidate": candidate,
        "metric": METRIC,
        "difference": found,
        "margin": settings.margin,
        "publish": is_no_worse,
        "because": f"{'published' if is_no_worse else 'not published, ' + published + ' stays'}: "
        f"head {candidate} less {published}, Cllr {difference} bits on split {settings.held_out!r}; "
        f"the interval must end below {settings.margin:+g}",
        "settings": run_records.settings_of(settings),
        "versions": run_records.versions(),
    }
