"""Annotation formats: how the review queue is written for people, and how their annotations are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from detector.errors import ConfigError
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


@dataclass(frozen=True, kw_only=True)
class ReviewConfig:
    """The tables, and the format of the files that reviewers work on."""

    output: Annotated[str, "the --output of the nightly run"]
    format: Annotated[str | None, "csv or label-studio [default: label-studio if the name ends in .json, else csv]"] = (
        None
    )

    def __post_init__(self) -> None:
        if self.format not in (None, *FORMATS):
            raise ConfigError(f"format {self.format!r}; expected one of {', '.join(FORMATS)}.")

    def format_of(self, uri: str) -> AnnotationFormat:
        """Return the format of a file: the one that is set, or that of the file's name."""
        return FORMATS[self.format or ("label-studio" if uri.lower().endswith(".json") else "csv")]
