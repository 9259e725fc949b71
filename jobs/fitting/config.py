"""Settings of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from detector.config import MAX_PARTS
from detector.errors import ConfigError
from detector.training.config import TrainingConfig
from jobs.config import LABELS_HELP, MATCH, MATCH_HELP, SHARED_HELP, check_match


@dataclass(frozen=True, kw_only=True)
class FitConfig(TrainingConfig):
    """Fit a head on labelled embeddings; calibrate it on rows of held-out systems and speakers."""

    embeddings: Annotated[
        tuple[str, ...],
        "the --output of an `embed` or `nightly` run; of several tables in it, the one that does best on the folds is "
        "used; repeatable: the rows of all outputs are fitted on, each id once",
    ]
    labels: Annotated[str, LABELS_HELP]
    match: Annotated[str, MATCH_HELP] = MATCH[0]
    output: Annotated[str, "head to write, …/head.json or its folder; the report is written next to it"]
    shared: Annotated[bool, SHARED_HELP] = False
    split: Annotated[str, "split whose rows are fitted on, if the labels have splits"] = "train"
    fingerprint: Annotated[
        str | None, "fingerprint of the embeddings to use, if the output has several [default: all are tried]"
    ] = None
    fuse: Annotated[
        int,
        "fuse the heads of this many tables, those that do best on the folds: layers or encoders that the output has; "
        "1 takes the best alone",
    ] = 1
    parts: Annotated[
        str | None,
        "labelled parts: CSV, JSONL or Parquet with utterance_id,start_seconds,end_seconds,label. Recordings that are "
        "spoofed in part choose the rule by which windows (embed --segments) say that a recording contains spoof; the "
        "head learns nothing else from them",
    ] = None
    search_rows: Annotated[
        int,
        "rows at most for choosing settings and for leaving systems out: sampled by hash of the id, from all groups",
    ] = 20_000
    sample_rows: Annotated[int | None, "rows to fit on, about; sampled in the same way [default: all]"] = None
    memory_mib: Annotated[
        int, "embeddings larger than this are not held in memory but read again for every pass; MiB"
    ] = 2_048
    sign_key: Annotated[str | None, "private key that signs the head, PEM; `keygen` makes one"] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_match(self.match)
        if not 1 <= self.fuse <= MAX_PARTS:
            raise ConfigError(f"fuse {self.fuse}; expected 1 to {MAX_PARTS} tables.")
        if self.fuse > 1 and (self.recipe is not None or self.fingerprint is not None):
            raise ConfigError("fuse joins several tables, and recipe and fingerprint name one; omit one of them.")
        if self.fuse > 1 and self.certify_over is not None:
            raise ConfigError(
                "fuse and certify_over: a promise over groups is certified for one table; omit one of them."
            )
        if self.fuse > 1 and self.parts is not None:
            raise ConfigError("fuse and parts: windows are judged by the head of one table; omit one of them.")
        if self.fuse > 1 and self.attribution:
            raise ConfigError("fuse and attribution: systems are told apart in one table; omit one of them.")
        if self.search_rows < 1 or self.memory_mib < 0 or (self.sample_rows is not None and self.sample_rows < 1):
            raise ConfigError(
                f"search_rows {self.search_rows}, sample_rows {self.sample_rows}, memory_mib {self.memory_mib}; "
                f"expected 1 or more, 1 or more, 0 or more."
            )
