"""Settings of a retraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from detector.errors import ConfigError
from detector.training.config import TrainingConfig
from jobs.config import (
    LABELS_HELP,
    LOADER_HELP,
    MATCH,
    MATCH_HELP,
    ModelConfig,
    OutputConfig,
    RunConfig,
    check_match,
)
from jobs.inputs.config import InputConfig


@dataclass(frozen=True, kw_only=True)
class RetrainConfig(InputConfig, TrainingConfig, ModelConfig, OutputConfig, RunConfig):
    """Embed labelled recordings, fit a head on them, and publish it if it is no worse than the published one."""

    head: Annotated[str, "published head.json: it names the encoder, and is replaced if the new head is no worse"]
    labels: Annotated[str, LABELS_HELP]
    match: Annotated[str, MATCH_HELP] = MATCH[0]
    split: Annotated[str, "split whose rows are fitted on"] = "train"
    held_out: Annotated[str, "split whose rows compare the two heads; no head may be fitted on it"] = "eval"
    margin: Annotated[
        float, "publish if the 95 % interval of the new head's Cllr minus the published one's ends below this; bits"
    ] = 0.02
    draws: Annotated[int, "draws of speakers and systems for the interval"] = 1_000
    sign_key: Annotated[str | None, "private key that signs the head, PEM; `keygen` makes one"] = None
    require_signature: Annotated[
        str | None, "public key, PEM; a published head that this key did not sign is refused"
    ] = None

    backbone: Annotated[str | None, LOADER_HELP, "the head"] = None

    def __post_init__(self) -> None:
        for kind in (InputConfig, TrainingConfig, RunConfig):  # each checks its own fields
            kind.__post_init__(self)
        check_match(self.match)
        if self.split == self.held_out:
            raise ConfigError(
                f"split {self.split!r} is held out, too; expected two splits, one to fit on and one to compare on."
            )
        if not self.margin >= 0:
            raise ConfigError(f"margin {self.margin}; expected 0 bits or more.")
        if self.require_signature and not self.sign_key:
            raise ConfigError(
                "--require-signature without --sign-key: runs that require the signature would refuse the new head."
            )
