"""Importing: checks the labels that reviewers gave, and writes a list that `fit` reads."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from detector.errors import ConfigError, SchemaError
from detector.schema import LABELS
from jobs import storage
from jobs.inputs.labels import read_labels
from jobs.inputs.results import write_result
from jobs.reports.review.annotations import UNSURE, Annotation
from jobs.reports.review.config import ImportConfig
from jobs.reports.review.formats import format_of
from jobs.reports.review.label_list import COLUMNS, write_labels
from jobs.tables import ledger
from jobs.tables.ledger import Ledger
from jobs.telemetry.names import say

MAX_NAMED = 5  # in an error message

LabelRow = dict[str, Any]


def import_labels(config: ImportConfig) -> None:
    """Check the annotations, write the list, and print how many labels there are.

    Raises
    ------
    SchemaError
        If a file cannot be read, an id has no score, or two labels of one recording differ.
    """
    annotations: list[Annotation] = []
    for each in config.from_:
        uri = storage.normal(each)
        annotations += format_of(uri, config.format).read(storage.read_bytes(uri), uri)
    refuse_unknown_ids({each.utterance_id: each.where for each in annotations}, storage.normal(config.output))
    labelled = [each for each in annotations if each.label is not None]
    decided = [each for each in labelled if each.label != UNSURE]
    _refuse_disagreement(decided)
    older = _read_older(config.older)
    new = _label_rows(decided, config.split if any(row["split"] for row in older.values()) else None)
    if not new:
        raise SchemaError(f"{', '.join(config.from_)}: no row has a label yet. Fill in bonafide, spoof or unsure.")
    rows = _merged(older, new)
    uri = storage.normal(config.labels)
    _refuse_lost(uri, {row["utterance_id"] for row in rows})
    write_result(uri, write_labels(rows, uri))
    counts = [sum(row["label"] == label for row in new.values()) for label in LABELS]
    say(
        f"{len(new)} recordings labelled: {counts[0]} bonafide, {counts[1]} spoof; "
        f"{len(labelled) - len(decided)} unsure, left out; {len(annotations) - len(labelled)} not labelled yet",
        f"{len(rows)} labels with {len(older)} older ones: {uri}",
    )


def refuse_unknown_ids(places: dict[str, str], output: str) -> None:
    """Refuse ids without a score, named with their places: an id that was edited would never join an embedding."""
    unknown = dict(places)
    names = pa.array(list(unknown), pa.string())
    for head_id in ledger.keys(output, "scores"):
        table = Ledger(output, "scores", head_id)
        for marker in table.committed():
            for batch in table.batches(marker, "scores", ["utterance_id"]):
                for name in batch["utterance_id"].filter(pc.is_in(batch["utterance_id"], names)).to_pylist():
                    unknown.pop(name, None)
            if not unknown:
                return
    raise SchemaError(
        f"{len(unknown)} id(s) have no score in {output}: {_examples(unknown)}. "
        f"Leave ids as they were exported, and give the --output that they were exported from."
    )


def _refuse_disagreement(annotations: list[Annotation]) -> None:
    first: dict[str, Annotation] = {}
    disagreements = {}
    for each in annotations:
        other = first.setdefault(each.utterance_id, each)
        if other.label != each.label:
            disagreements[each.utterance_id] = f"{_describe(other)}, {_describe(each)}"
    if disagreements:
        raise SchemaError(
            f"{len(disagreements)} recording(s) have two labels: {_examples(disagreements)}. Let the reviewers agree, "
            f"or write {UNSURE} into one of the files."
        )


def _describe(annotation: Annotation) -> str:
    return f"{annotation.label} by {annotation.reviewer or 'an unnamed reviewer'} ({annotation.where})"


def _examples(texts: dict[str, str]) -> str:
    """Name the first few ids, each with its text."""
    named = "; ".join(f"{name!r}: {text}" for name, text in list(texts.items())[:MAX_NAMED])
    n_more = len(texts) - MAX_NAMED
    return named + (f"; and {n_more} more" if n_more > 0 else "")


def _read_older(uris: Iterable[str]) -> dict[str, LabelRow]:
    """Read the rows of older lists, by id."""
    rows: dict[str, LabelRow] = {}
    for uri in map(storage.normal, uris):
        for row in read_labels(uri).to_pylist():
            other = rows.setdefault(row["utterance_id"], row)
            if other["label"] != row["label"]:
                raise SchemaError(
                    f"{uri}: {row['utterance_id']!r} is {row['label']}, but {other['label']} in another list. "
                    f"Correct one of the lists."
                )
    return rows


def _label_rows(annotations: list[Annotation], split: str | None) -> dict[str, LabelRow]:
    """Return rows of a label list by id; each fact is that of the first reviewer who gave it."""
    rows: dict[str, LabelRow] = {}
    for each in annotations:
        row = rows.setdefault(each.utterance_id, dict.fromkeys(COLUMNS) | {"split": split})
        row |= {"utterance_id": each.utterance_id, "label": each.label}
        row |= {name: value for name, value in each.facts.items() if not row[name]}
    return rows


def _refuse_lost(uri: str, names: Set[str]) -> None:
    """Refuse to replace a list by one that lacks labels of it."""
    try:
        lost = sorted(set(read_labels(uri)["utterance_id"].to_pylist()) - names) if storage.stat(uri) else []
    except SchemaError:
        return  # it is no list of labels
    if lost:
        raise ConfigError(
            f"{uri}: {len(lost)} labels would be lost with the list that stands there, first that of {lost[0]!r}. Give "
            f"it as --older, too, or give the new list another name."
        )


def _merged(older: dict[str, LabelRow], new: dict[str, LabelRow]) -> list[LabelRow]:
    """Return all rows by id, each id once; an older row stays as it is."""
    conflicts = {
        name: f"{row['label']} now" for name, row in new.items() if older.get(name, row)["label"] != row["label"]
    }
    if conflicts:
        raise SchemaError(
            f"{len(conflicts)} recording(s) have the other label in an older list: {_examples(conflicts)}. "
            f"Correct one of the two."
        )
    return [row for _, row in sorted((new | older).items())]
