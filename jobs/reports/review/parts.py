"""Labelled parts: what reviewers marked in Audacity or Label Studio, as one table of parts."""

from __future__ import annotations

from detector.errors import SchemaError
from detector.schema import LABELS
from jobs import storage
from jobs.inputs.parts import Part, joined, parts_table, write_parts
from jobs.reports.review.config import PartsConfig
from jobs.reports.review.importing import refuse_unknown_ids
from jobs.reports.review.label_studio import read_regions
from jobs.reports.review.label_track import read_track
from jobs.telemetry.names import say


def import_parts(config: PartsConfig) -> None:
    """Check the parts, write the table, and print how many there are.

    Raises
    ------
    SchemaError
        If a file cannot be read, an id has no score, or two labels of one stretch differ.
    """
    found: dict[str, list[Part]] = {}
    places: dict[str, str] = {}
    for each in config.from_:
        uri = storage.normal(each)
        content = storage.read_bytes(uri)
        regions = read_regions(content, uri) if uri.lower().endswith(".json") else [read_track(content, uri)]
        for name, parts in regions:
            found.setdefault(name, []).extend(parts)
            places.setdefault(name, uri)
    labelled = {name: _joined(parts) for name, parts in found.items() if parts}
    if not labelled:
        raise SchemaError(f"{', '.join(config.from_)}: no part has a label yet. Label parts as {' or '.join(LABELS)}.")
    refuse_unknown_ids({name: places[name] for name in labelled}, storage.normal(config.output))
    uri = storage.normal(config.to)
    write_parts(uri, parts_table(labelled.items()))
    n_parts = {label: sum(part.label == label for parts in labelled.values() for part in parts) for label in LABELS}
    say(
        f"{len(labelled)} recordings with labelled parts: "
        + ", ".join(f"{n} {label}" for label, n in n_parts.items())
        + f"; {len(found) - len(labelled)} recordings without",
        f"parts: {uri}",
    )


def _joined(parts: list[Part]) -> list[Part]:
    """Join parts of the same label that touch; several reviewers may have marked the same."""
    return [part for label in LABELS for part in joined([each for each in parts if each.label == label])]
