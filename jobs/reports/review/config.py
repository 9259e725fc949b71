"""Settings of exporting a review queue and of importing its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from detector.errors import ConfigError
from jobs.config import LOADER_HELP, SHARED_HELP

FORMATS = ("csv", "label-studio")
LABEL_SUFFIXES = (".parquet", ".jsonl", ".csv")
PART_SUFFIXES = (".parquet", ".csv")
VOICES_SUFFIXES = (".csv", ".parquet")
MAX_ROWS = 200


@dataclass(frozen=True, kw_only=True)
class ReviewConfig:
    """The tables, and the format of the files that reviewers work on."""

    output: Annotated[str, "the --output of the nightly run", "what to read"]
    format: Annotated[str | None, "csv or label-studio [default: label-studio if the name ends in .json, else csv]"] = (
        None
    )
    shared: Annotated[bool, SHARED_HELP] = False

    def __post_init__(self) -> None:
        if self.format not in (None, *FORMATS):
            raise ConfigError(f"format {self.format!r}; expected one of {', '.join(FORMATS)}.")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ReviewConfig):
    """Write a run's review queue as a table or as tasks, for people to label."""

    to: Annotated[str, "file to write"]
    run: Annotated[str | None, "run_id of the run [default: the latest complete one]"] = None
    head: Annotated[str | None, "head that scored the run, by name or file [default: the active one]"] = None
    backbone: Annotated[str | None, LOADER_HELP, "the head"] = None
    rows: Annotated[int, "recordings to write at most, the most uncertain first"] = MAX_ROWS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows < 1:
            raise ConfigError(f"rows {self.rows}; expected 1 or more.")


@dataclass(frozen=True, kw_only=True)
class PartsConfig:
    """Read parts of recordings that people labelled, check them, and write one table of parts."""

    output: Annotated[str, "the --output of the nightly run", "what to read"]
    from_: Annotated[
        tuple[str, ...], "Label Studio's export, .json, or a label track of Audacity, any other name; repeatable"
    ]
    to: Annotated[str, "table of parts to write: .parquet or .csv"]
    shared: Annotated[bool, SHARED_HELP] = False

    def __post_init__(self) -> None:
        if not self.to.lower().endswith(PART_SUFFIXES):
            raise ConfigError(f"to {self.to!r}; expected a name that ends in {' or '.join(PART_SUFFIXES)}.")


@dataclass(frozen=True, kw_only=True)
class VoicesConfig:
    """Write the flagged recordings of unknown systems, and which of them are alike, as a table."""

    output: Annotated[str, "the --output of the nightly run", "what to read"]
    to: Annotated[str, "file to write: .csv or .parquet"]
    shared: Annotated[bool, SHARED_HELP] = False
    head: Annotated[str | None, "head that scored them, by name or file [default: the active one]"] = None
    backbone: Annotated[str | None, LOADER_HELP, "the head"] = None
    rows: Annotated[int, "recordings to compare at most: those of the newest runs that have no more"] = 10_000

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ConfigError(f"rows {self.rows}; expected 1 or more.")
        if not self.to.lower().endswith(VOICES_SUFFIXES):
            raise ConfigError(f"to {self.to!r}; expected a name that ends in {', '.join(VOICES_SUFFIXES)}.")


@dataclass(frozen=True, kw_only=True)
class ImportConfig(ReviewConfig):
    """Read labels that people gave, check them, and write a list that `fit --labels` reads."""

    from_: Annotated[tuple[str, ...], "file that was filled in; repeatable, such as one file for each reviewer"]
    labels: Annotated[str, "list to write: .parquet, .jsonl or .csv", "what to write"]
    older: Annotated[tuple[str, ...], "list whose labels are kept, because `fit` reads one list; repeatable"] = ()
    split: Annotated[str, "split of the new rows, if the older ones have splits"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.labels.lower().endswith(LABEL_SUFFIXES):
            raise ConfigError(f"labels {self.labels!r}; expected a name that ends in {', '.join(LABEL_SUFFIXES)}.")
