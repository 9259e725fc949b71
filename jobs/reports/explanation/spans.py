"""Spans: the marked windows of one recording as a file for Audacity or Label Studio, for a person to correct."""

from __future__ import annotations

from detector.errors import ConfigError
from jobs import storage
from jobs.inputs.results import write_result
from jobs.reports.review.label_studio import write_tasks
from jobs.reports.review.label_track import write_track
from jobs.scoring.explanation import Explanation
from jobs.telemetry.names import say


def write_spans(explanation: Explanation, to: str, uri: str | None) -> None:
    """Write the marked windows: as tasks of Label Studio for a name that ends in .json, else as a label track.

    Raises
    ------
    ConfigError
        If the recording has no score, so that nothing is marked.
    """
    verdict = explanation.verdict
    if verdict.score is None:
        raise ConfigError(f"{explanation.name}: no score ({verdict.reject_reason}), so there are no spans to write.")
    if to.lower().endswith(".json"):
        row = {
            "utterance_id": explanation.name,
            "uri": storage.normal(uri) if uri else explanation.uri,
            "member": None if uri else explanation.member,
            "head_id": explanation.head.head_id,
            "why": "explained",
            "predicted_label": verdict.label,
            "marked": explanation.marked,
            "start": explanation.excerpt.start or None,
            "end": explanation.excerpt.end,
            "channel": explanation.excerpt.channel,
            **{name: getattr(verdict, name) for name in ("score", "p_spoof", "entropy_bits", "ood", "seconds")},
        }
        content = write_tasks([row])
    else:
        content = write_track(explanation.name, explanation.marked, explanation.excerpt.start)
    write_result(storage.normal(to), content)
    say(f"spans: {to}")
