"""Label Studio: the review queue as tasks to import, and the annotations that it exports."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from detector.errors import SchemaError
from detector.schema import BONAFIDE, LABELS, SPOOF
from jobs.inputs.parts import LATEST_SECONDS, Part
from jobs.reports.review.annotations import (
    EARLY_SECONDS,
    QUEUE_FIELDS,
    REVIEWER_FIELDS,
    Annotation,
    Row,
    parse_label,
)
from jobs.reports.review.players import link_of
from jobs.scoring.marks import Window

CHOICE, PART, AUDIO = "label", "part", "audio"  # names of the tags in the labelling interface
LABELLING_INTERFACE = f"""\
<View>
  <Audio name="{AUDIO}" value="${AUDIO}"/>
  <Text name="why" value="$why"/>
  <Choices name="{CHOICE}" toName="{AUDIO}" choice="single" showInline="true">
    <Choice value="bonafide"/> <Choice value="spoof"/> <Choice value="unsure"/>
  </Choices>
  <Labels name="{PART}" toName="{AUDIO}">
    <Label value="bonafide"/> <Label value="spoof"/>
  </Labels>
</View>
"""
"""The labelling interface that the tasks are for."""


def write_tasks(rows: Iterable[Row]) -> bytes:
    """Write the queue as tasks: `data`, and the head's verdict as a prediction.

    References
    ----------
    Label Studio's documentation, Import pre-annotated data: https://labelstud.io/guide/predictions
    """
    tasks = []
    for row in rows:
        data = {name: row.get(name) for name in ("utterance_id", *REVIEWER_FIELDS, *QUEUE_FIELDS)}
        tasks.append({"data": data | {AUDIO: link_of(row["uri"]) or row["uri"]}, "predictions": [_prediction(row)]})
    return (json.dumps(tasks, indent=1) + "\n").encode()


def _prediction(row: Row) -> dict[str, Any]:
    return {
        "model_version": row["head_id"],
        "score": max(row["p_spoof"], 1.0 - row["p_spoof"]),
        "result": [
            {"from_name": CHOICE, "to_name": AUDIO, "type": "choices", "value": {"choices": [row["predicted_label"]]}},
            *(_region(number, window, row.get("start")) for number, window in enumerate(row.get("marked") or ())),
        ],
    }


def _region(number: int, window: Window, file_start: float | None) -> dict[str, Any]:
    """Return a marked window as a region; its times are those of the file, of which the recording may be a part."""
    first = file_start or 0.0
    times = {"start": first + window.start_seconds, "end": first + window.end_seconds}
    label = SPOOF if window.p_spoof > 0.5 else BONAFIDE
    return {
        "id": f"{PART}-{number}",
        "from_name": PART,
        "to_name": AUDIO,
        "type": "labels",
        "score": max(window.p_spoof, 1.0 - window.p_spoof),
        "value": {**times, "channel": 0, "labels": [label]},
    }


def read_tasks(content: bytes, where: str) -> list[Annotation]:
    """Read a JSON export: every annotation that was not cancelled, and a task without one as not labelled.

    Raises
    ------
    SchemaError
        If it is no such export, or has an unknown label.

    References
    ----------
    Label Studio's documentation, Task format: https://labelstud.io/guide/task_format
    """
    annotations = []
    for number, task in enumerate(_tasks(content, where), start=1):
        place = f"{where} task {number}"
        try:
            name, data = task["data"]["utterance_id"], task["data"]
            completed = [each for each in task["annotations"] if not each.get("was_cancelled", False)]
            facts = {each: data[each] for each in REVIEWER_FIELDS if isinstance(data.get(each), str) and data[each]}
            labels = [(_label(each["result"], place), _reviewer(each.get("completed_by"))) for each in completed]
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise SchemaError(
                f"{place}: {type(error).__name__} {error}; expected data.utterance_id and annotations. "
                f"Export as JSON, not as JSON-MIN."
            ) from error
        if not isinstance(name, str):
            raise SchemaError(f"{place}: its utterance_id is {type(name).__name__}; expected text.")
        annotations += [Annotation(name, label, reviewer, place, facts) for label, reviewer in labels or [(None, "")]]
    return annotations


def read_regions(content: bytes, where: str) -> list[tuple[str, list[Part]]]:
    """Read the labelled regions of a JSON export by recording: those of every annotation that was not cancelled.

    Raises
    ------
    SchemaError
        If it is no such export, or has an unknown label or an impossible time.

    References
    ----------
    Label Studio's documentation, Labels for audio: https://labelstud.io/tags/labels
    """
    found = []
    for number, task in enumerate(_tasks(content, where), start=1):
        place = f"{where} task {number}"
        try:
            name, first = str(task["data"]["utterance_id"]), float(task["data"].get("start") or 0.0)
            completed = [each for each in task["annotations"] if not each.get("was_cancelled", False)]
            values = [each["value"] for done in completed for each in done["result"] if each["from_name"] == PART]
            rows = [(float(each["start"]), float(each["end"]), each["labels"]) for each in values]
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise SchemaError(
                f"{place}: {type(error).__name__} {error}; expected data.utterance_id, and annotations whose regions "
                f"have a start, an end and labels. Export as JSON, not as JSON-MIN."
            ) from error
        found.append((name, [_part(start - first, end - first, labels, place) for start, end, labels in rows]))
    return found


def _part(start: float, end: float, labels: Any, where: str) -> Part:
    if not isinstance(labels, list) or len(labels) != 1 or labels[0] not in LABELS:
        raise SchemaError(f"{where}: a region is labelled {str(labels)[:40]}; expected {' or '.join(LABELS)}, one.")
    start = max(start, 0.0) if start > -EARLY_SECONDS else start
    if not 0.0 <= start < end <= LATEST_SECONDS:
        raise SchemaError(
            f"{where}: a region from {start} to {end} s of its recording; expected its end after its start."
        )
    return Part(start, end, str(labels[0]))


def _tasks(content: bytes, where: str) -> list[Any]:
    try:
        tasks = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{where}: not JSON: {error}. Expected Label Studio's export as JSON.") from error
    if not isinstance(tasks, list):
        raise SchemaError(f"{where}: {type(tasks).__name__}; expected a list of tasks, Label Studio's export as JSON.")
    return tasks


def _label(result: list[dict[str, Any]], where: str) -> str | None:
    chosen = [each["value"]["choices"] for each in result if each["from_name"] == CHOICE]
    if len(chosen) > 1 or any(len(choices) != 1 for choices in chosen):
        raise SchemaError(f"{where}: {chosen}; expected one choice.")
    return parse_label(str(chosen[0][0]), where) if chosen else None


def _reviewer(completed_by: Any) -> str:
    """Return the user's number, or the address if the export holds whole users."""
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or completed_by.get("id") or "")
    return "" if completed_by is None else str(completed_by)
