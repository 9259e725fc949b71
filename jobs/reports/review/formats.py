"""Annotation formats: how the review queue is written for people, and how their annotations are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jobs.reports.review.annotations import Annotation, Row
from jobs.reports.review.csv_sheet import read_csv, write_csv
from jobs.reports.review.label_studio import read_tasks, write_tasks


@dataclass(frozen=True)
class AnnotationFormat:
    """A format: writes the queue's rows, and reads the filled-in file; reading raises only :class:`SchemaError`."""

    write: Callable[[Iterable[Row]], bytes]
    read: Callable[[bytes, str], list[Annotation]]


FORMATS = {
    "csv": AnnotationFormat(write_csv, read_csv),
    "label-studio": AnnotationFormat(write_tasks, read_tasks),
}


def format_of(uri: str, name: str | None) -> AnnotationFormat:
    """Return the format of a file: the one that is named, or that of the file's suffix."""
    return FORMATS[name or ("label-studio" if uri.lower().endswith(".json") else "csv")]
