"""Settings of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from detector.errors import ConfigError
from jobs.config import LABELS_HELP, LOADER_HELP, MATCH, MATCH_HELP, SHARED_HELP, ConfinementConfig, check_match


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(ConfinementConfig):
    """Compare scores with labels: accuracy, calibration, what is left after rejecting, and which head is better."""

    scores: Annotated[tuple[str, ...], "the --output of a `score` or `nightly` run; repeatable, to compare heads"] = ()
    labels: Annotated[str, LABELS_HELP]
    match: Annotated[str, MATCH_HELP] = MATCH[0]
    output: Annotated[str, "folder or prefix that gets report.json and report.html"]
    shared: Annotated[bool, SHARED_HELP] = False
    split: Annotated[str, "split whose rows are compared, if the labels have splits"] = "eval"
    head_id: Annotated[
        tuple[str, ...], "heads whose scores are compared, by id, the reference first; repeatable [default: all]"
    ] = ()
    head: Annotated[
        tuple[str, ...],
        "head to compare and check for what it promises, by name, or by file; repeatable",
    ] = ()
    backbone: Annotated[tuple[str, ...], f"{LOADER_HELP}; repeatable", "the head"] = ()
    embeddings: Annotated[
        str | None, "the --output of `embed`, for rate, codec and level [default: those beside the scores, if any]"
    ] = None
    audio: Annotated[bool, "read the recordings again, for the silence and bandwidth baselines"] = False
    allow_missing: Annotated[bool, "leave out labelled ids that have no score, instead of refusing them"] = False
    draws: Annotated[int, "draws of speakers and systems for the intervals"] = 1_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_match(self.match)
        if not self.scores:
            raise ConfigError("no --scores; give the --output of a `score` or `nightly` run.")
        if self.draws < 2:
            raise ConfigError(f"draws {self.draws}; an interval needs 2 or more.")
