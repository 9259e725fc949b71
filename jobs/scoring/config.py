"""Settings of a scoring run, of a check and of an explanation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from detector.config import CHANNELS, STARTER
from detector.decoders import MAX_SECONDS
from detector.errors import ConfigError
from jobs.config import (
    LOADER_HELP,
    MAX_SECONDS_HELP,
    ConfinementConfig,
    CostConfig,
    ModelConfig,
    OutputConfig,
    RunConfig,
    SegmentsConfig,
    check_max_seconds,
)
from jobs.inputs.config import MISSING, MISSING_HELP, LinkConfig, check_missing

SPAN_SUFFIXES = (".json", ".txt")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The head that judges, and the prior it assumes."""

    head: Annotated[str, "head.json that `fit` wrote, or starter, which is built in"] = STARTER
    prior: Annotated[float | None, "share of spoof to assume in the archive, 0 to 1 [default: the head's]"] = None
    require_signature: Annotated[str | None, "public key, PEM; a head that this key did not sign is refused"] = None
    backbone: Annotated[str | None, LOADER_HELP] = None

    def __post_init__(self) -> None:
        if self.prior is not None and not 0.0 < self.prior < 1.0:
            raise ConfigError(f"prior {self.prior}; expected a share between 0 and 1.")


@dataclass(frozen=True, kw_only=True)
class ScoringConfig(HeadConfig, ModelConfig, OutputConfig, SegmentsConfig, RunConfig, CostConfig):
    """Settings that `score` and `nightly` share."""

    channels: Annotated[
        str | None, "mix, first or each, as for `embed` [default: as the embeddings that the head was fitted on]"
    ] = None

    def __post_init__(self) -> None:
        if self.channels is not None and self.channels not in CHANNELS:
            raise ConfigError(f"channels {self.channels!r} is not known; expected one of {', '.join(CHANNELS)}.")
        HeadConfig.__post_init__(self)
        SegmentsConfig.__post_init__(self)
        RunConfig.__post_init__(self)
        CostConfig.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(LinkConfig, ScoringConfig):
    """Score embeddings, or recordings (which are embedded first, as the head's recipe says)."""

    embeddings: Annotated[str | None, "the --output of an `embed` run"] = None
    input: Annotated[tuple[str, ...], "archive, as for `embed`, instead of --embeddings; repeatable"] = ()
    manifest: Annotated[str | None, "Parquet manifest, instead of --embeddings"] = None
    missing: Annotated[str, MISSING_HELP] = MISSING[0]

    def __post_init__(self) -> None:
        LinkConfig.__post_init__(self)
        ScoringConfig.__post_init__(self)
        check_missing(self.missing)
        if (self.embeddings is not None) == bool(self.input or self.manifest):
            raise ConfigError("give either --embeddings, or --input or --manifest.")


@dataclass(frozen=True, kw_only=True)
class CheckConfig(HeadConfig, ModelConfig, ConfinementConfig):
    """Print a verdict on a few recordings, one line each; nothing is written.

    Exit codes: 0 all are accepted as bona fide, 1 some are flagged as spoof, 3 none is flagged, and some are undecided
    or unreadable.
    """

    file: Annotated[tuple[str, ...], "recordings; - is standard input"] = field(metadata={"positional": True})
    json: Annotated[bool, "print one JSON object a line", "what to write"] = False
    max_seconds: Annotated[float, MAX_SECONDS_HELP] = MAX_SECONDS
    device: Annotated[str, "cpu or cuda, or a numbered one such as cuda:1"] = "cpu"

    def __post_init__(self) -> None:
        HeadConfig.__post_init__(self)
        ConfinementConfig.__post_init__(self)
        check_max_seconds(self.max_seconds)


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(ModelConfig, ConfinementConfig):
    """Explain a head's verdict on one recording: windows, score, threshold, nearest training rows; as a page, too."""

    head: Annotated[str, "head.json that `fit` wrote, or with --output a head's name"] = field(
        metadata={"positional": True}
    )
    uri: Annotated[str | None, "recording: a file, or container#member"] = field(
        default=None, metadata={"positional": True}
    )
    utterance: Annotated[
        str | None,
        "utterance_id whose stored verdict and segments under --output are explained, without the encoder; URI, which "
        "may be left out, is then only drawn and played",
        "what to read",
    ] = None
    channel: Annotated[
        int | None, "the one channel to explain, from 0 [default: as the head hears]", "what to read"
    ] = None
    output: Annotated[str | None, "tables whose heads may be called by name", "the head"] = None
    page: Annotated[str | None, "page to write, .html, which needs no network", "what to write"] = None
    spans: Annotated[
        str | None,
        "file of the marked windows to write: tasks of Label Studio, .json, or a label track of Audacity, .txt",
        "what to write",
    ] = None
    prior: Annotated[float | None, "share of spoof to assume, 0 to 1 [default: the head's]"] = None
    require_signature: Annotated[str | None, "public key, PEM; a head that this key did not sign is refused"] = None
    backbone: Annotated[str | None, LOADER_HELP, "the head"] = None
    embeddings: Annotated[tuple[str, ...], "tables that the head was fitted on, to name its nearest rows"] = ()
    labels: Annotated[str | None, "labels that the head was fitted on, to name its nearest rows"] = None
    nearest: Annotated[int, "number of training rows to name"] = 5
    max_seconds: Annotated[float, MAX_SECONDS_HELP] = MAX_SECONDS

    def __post_init__(self) -> None:
        ConfinementConfig.__post_init__(self)
        check_max_seconds(self.max_seconds)
        if self.uri is None and self.utterance is None:
            raise ConfigError("give a recording, or --output and --utterance for a verdict that is stored.")
        given = (self.channel, self.prior)
        if self.utterance is not None and (self.output is None or any(each is not None for each in given)):
            raise ConfigError("--utterance needs --output, and neither --channel nor --prior: its row has both.")
        if self.spans is not None and not self.spans.lower().endswith(SPAN_SUFFIXES):
            raise ConfigError(f"spans {self.spans!r}; expected a name that ends in {' or '.join(SPAN_SUFFIXES)}.")
