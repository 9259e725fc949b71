"""Settings of how a run works: machines, sizes, dates. They never change a score."""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, TypeVar

from detector.backbones import BATCH_SECONDS
from detector.decoders import MAX_SECONDS
from detector.errors import ConfigError
from detector.windows import Windows
from jobs.telemetry.webhook import Webhook

Config = TypeVar("Config")

DEFAULT_WINDOWS = Windows()
CONFINEMENT = ("require", "prefer", "off")
RUNNERS = ("auto", "local", "ray")
AUTO, LOCAL, RAY = RUNNERS

LABELS_HELP = "manifest, CSV, JSONL or Parquet: utterance_id,label[,split,system,speaker,source,language,codec]"
"""Columns of labels, spelt out here so that --help need not import pyarrow; a test holds them to `detector.schema`."""

MATCH = ("exact", "suffix")
MATCH_HELP = (
    "how labels find their recordings: exact, by equal ids, or suffix, by the longest common end of the paths in both, "
    "for an archive that was moved or copied since"
)

SHARED_HELP = (
    "let others read what is written on local disks, as the umask allows; else you alone may (modes 0700 and 0600), "
    "except of an output that others may read already"
)

MIN_BITRATE = 100.0  # bit/s; the lowest rate of speech in use is 700, of Codec 2
MAX_SECONDS_HELP = "a recording longer than this is `too_long`; s, at most 12 h"

LOADER_HELP = (
    "encoder of your own, package.module:loader, if the head was fitted on its embeddings; a head that names a loader "
    "is refused unless you name the same one"
)


def extract_config(settings: Any, kind: type[Config]) -> Config:
    """Copy the fields of ``kind`` out of larger settings that inherit them."""
    return kind(**{each.name: getattr(settings, each.name) for each in fields(kind)})  # type: ignore[arg-type]


def check_max_seconds(seconds: float) -> None:
    """Raise :class:`ConfigError` unless recordings may be so long."""
    if not 0.0 < seconds <= MAX_SECONDS:
        raise ConfigError(f"max_seconds {seconds}; expected more than 0, and {MAX_SECONDS:g} at most.")


def check_place_of_copy(output: str, to: str) -> None:
    """Raise :class:`ConfigError` unless a compacted copy has a place apart from its output."""
    from jobs.storage import real_folder  # only now: --help needs none of it

    place, copy = map(real_folder, (output, to))
    if place.startswith(copy) or copy.startswith(place):
        raise ConfigError(
            f"{to}: lies within the output, or the output in it. A copy needs a place of its own, or readers would see "
            "every row twice."
        )


def range_of(text: str) -> tuple[int, int]:
    """Return the least and the most of a range that :func:`check_range` accepts.

    Examples
    --------
    >>> range_of("2:64"), range_of("4")
    ((2, 64), (4, 4))
    """
    least, _, most = text.partition(":")
    return int(least), int(most or least)


def check_range(name: str, text: str) -> None:
    """Raise :class:`ConfigError` unless a setting is a number from 1 on, or two, the lower first."""
    is_range = re.fullmatch(r"[1-9][0-9]{0,5}(:[1-9][0-9]{0,5})?", text) is not None
    if not is_range or range_of(text)[0] > range_of(text)[1]:
        raise ConfigError(f"{name} {text!r}; expected a number from 1 on, or LEAST:MOST, such as 2:64.")


def check_match(match: str) -> None:
    """Raise :class:`ConfigError` unless a setting is one of :data:`MATCH`."""
    if match not in MATCH:
        raise ConfigError(f"match {match!r}; expected one of {', '.join(MATCH)}.")


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


@dataclass(frozen=True, kw_only=True)
class ConfinementConfig:
    """Settings of what a decoder must have given up before it parses a recording."""

    confinement: Annotated[
        str,
        "what decoders give up before they parse a recording: all that they do not need, or the run ends with 65 "
        "(require); as much as the machine lets them (prefer); nothing (off)",
    ] = "prefer"

    def __post_init__(self) -> None:
        if self.confinement not in CONFINEMENT:
            raise ConfigError(f"confinement {self.confinement!r}; expected {', '.join(CONFINEMENT)}.")


@dataclass(frozen=True, kw_only=True)
class RunConfig(ConfinementConfig):
    """Settings of where and how the work is run, and of when a run counts as failed."""

    runner: Annotated[
        str,
        "what runs the work: one worker process on this machine (local); Ray (ray); or local for small work on CPUs "
        "without RAY_ADDRESS, else ray (auto). The rows are the same",
    ] = AUTO
    local_recordings: Annotated[int, "most recordings or containers for which --runner auto takes local"] = 300
    encoders: Annotated[
        str | None,
        "actors that hold an encoder: N, or LEAST:MOST, to begin with few and grow with the cluster [default: one for "
        "each GPU, or one for each CPU if there is none]",
    ] = None
    decoders: Annotated[
        str | None, "with Ray: decode tasks at once, N or LEAST:MOST [default: 1 at least, and as many as fit]"
    ] = None
    wait_for_gpus: Annotated[
        float, "with RAY_ADDRESS: wait for GPUs and CPUs that the cluster's autoscaler brings, then end with 75; s"
    ] = 900.0
    assemblers: Annotated[
        int | None, "with Ray: actors that put shards together and commit them [default: one for every 8 encoders]"
    ] = None
    encoder_cpus: Annotated[
        float | None, "CPUs that an encoder reserves [default: 1, or less to leave enough for decoding]"
    ] = None
    encoder_gpus: Annotated[float, "GPUs that an encoder reserves, with --device cuda"] = 1.0
    decode_cpus: Annotated[float, "CPUs that a decode task reserves; as many tasks run as fit"] = 0.5
    device: Annotated[str, "auto, cpu or cuda; auto takes a GPU if the cluster has one"] = "auto"
    batch_seconds: Annotated[float, "audio in one forward pass on a GPU; on a CPU, a pass takes one segment; s"] = (
        BATCH_SECONDS
    )
    window_mib: Annotated[
        int | None,
        "audio that an encoder receives at once and sorts by length; MiB "
        "[default: 2; on GPUs 4 for each encoder, at least 32, at most 512]",
    ] = None
    object_store_mib: Annotated[
        int | None,
        "memory for audio between decoders and encoders, if Ray is started on this machine; MiB "
        "[default: 16 windows for each encoder, at least 256, at most 4,096]",
    ] = None
    run_date: Annotated[str, "date of the run's partitions, YYYY-MM-DD, UTC [default: today]"] = field(
        default_factory=_today
    )
    store_patience: Annotated[float, "time to retry requests to a store that fails, before the run ends with 69; s"] = (
        300.0
    )
    stall_seconds: Annotated[
        float, "end with 75 after this time, or 10 × the p99 of a shard's time, without progress; s"
    ] = 120.0
    max_failures: Annotated[float, "share of inputs that may fail before the run ends with exit code 3, 0 to 1"] = 0.05
    max_removed: Annotated[
        float, "share of a place's files and containers that may be gone since the last run, or it ends with 65, 0 to 1"
    ] = 0.2
    moved: Annotated[
        tuple[str, ...],
        "OLD=NEW: the archive that was in folder or prefix OLD is in NEW now, and keeps its ids and rows; said once; "
        "repeatable",
    ] = ()
    prune: Annotated[bool, "take rows of recordings that are gone from the archive out of the tables"] = False
    max_seconds: Annotated[float, MAX_SECONDS_HELP] = MAX_SECONDS
    max_source_hours: Annotated[
        float | None,
        "audio of one source (a folder below the input) within one shard, after which its recordings are rows "
        "`over_quota`; h [default: no limit]",
    ] = None
    min_bitrate: Annotated[
        float,
        "stored bits of a file or container for each second of its audio, beyond a minute; recordings with fewer are "
        "rows `over_quota`; 0 allows any; bit/s",
    ] = MIN_BITRATE
    redo: Annotated[
        str | None,
        "embed again what other libraries have computed: codecs as in the tables, or libsndfile, libavcodec, soxr, "
        "torch; what has no windows (with --segments): segments; or whatever is named: codec=NAME, prefix=URI, "
        "shard=URI; separated by commas",
    ] = None
    accept_drift: Annotated[
        bool, "go on although the canaries give something else than before; the run's record says what"
    ] = False
    webhook: Annotated[
        str | None, "file of two lines: the URL to notify when the run ends, and the secret that signs the message"
    ] = None

    def __post_init__(self) -> None:
        ConfinementConfig.__post_init__(self)
        if self.runner not in RUNNERS or self.local_recordings < 0:
            raise ConfigError(
                f"runner {self.runner!r}, local_recordings {self.local_recordings}; expected {', '.join(RUNNERS)}, and "
                f"0 or more."
            )
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device {self.device!r}; expected auto, cpu or cuda.")
        if self.assemblers is not None and self.assemblers < 1:
            raise ConfigError(f"assemblers {self.assemblers}; expected 1 or more.")
        if not self.batch_seconds > 0:
            raise ConfigError(f"batch_seconds {self.batch_seconds}; expected more than 0.")
        for name in ("encoders", "decoders"):
            if (text := getattr(self, name)) is not None:
                check_range(name, text)
        if not self.wait_for_gpus >= 0:
            raise ConfigError(f"wait_for_gpus {self.wait_for_gpus}; expected 0 or more.")
        if self.window_mib is not None and self.window_mib < 1:
            raise ConfigError(f"window_mib {self.window_mib}; expected 1 or more.")
        reserved = (self.decode_cpus > 0, self.encoder_cpus is None or self.encoder_cpus >= 0, self.encoder_gpus > 0)
        if not all(reserved):  # false for NaN, too
            raise ConfigError(
                f"decode_cpus {self.decode_cpus}, encoder_gpus {self.encoder_gpus}, encoder_cpus {self.encoder_cpus}; "
                f"expected the first two above 0, the third 0 or more."
            )
        if not (self.store_patience >= 0 and self.stall_seconds > 0):
            raise ConfigError(
                f"store_patience {self.store_patience}, stall_seconds {self.stall_seconds}; expected 0 or more, and "
                f"more than 0."
            )
        if self.object_store_mib is not None and self.object_store_mib < 80:
            raise ConfigError(f"object_store_mib {self.object_store_mib}; Ray needs 80 or more.")
        try:
            is_a_day = datetime.date.fromisoformat(self.run_date).isoformat() == self.run_date
        except ValueError:
            is_a_day = False
        if not is_a_day:
            raise ConfigError(f"run_date {self.run_date!r}; expected a day as YYYY-MM-DD.")
        check_max_seconds(self.max_seconds)
        if self.max_source_hours is not None and not self.max_source_hours > 0.0:
            raise ConfigError(f"max_source_hours {self.max_source_hours}; expected more than 0.")
        if not 0.0 <= self.min_bitrate < math.inf:
            raise ConfigError(f"min_bitrate {self.min_bitrate}; expected 0 or more.")
        if self.webhook is not None:
            Webhook.read(self.webhook)
        for name in ("max_failures", "max_removed"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} {getattr(self, name)}; expected a share between 0 and 1.")

    @property
    def encoder_range(self) -> tuple[int, int] | None:
        """The least and the most encoders; None if the cluster decides."""
        return None if self.encoders is None else range_of(self.encoders)

    @property
    def decoder_range(self) -> tuple[int, int | None]:
        """The least and the most decode tasks at once; without a most, as many as fit."""
        return (1, None) if self.decoders is None else range_of(self.decoders)

    @property
    def max_source_seconds(self) -> float:
        """The quota of a source in a shard, in seconds; infinite if there is none."""
        return math.inf if self.max_source_hours is None else self.max_source_hours * 3600.0


PRICES = ("price_gpu_hour", "price_core_hour", "price_put_1000", "price_get_1000")


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """Settings of what a run costs: a look ahead, and prices, of which none is assumed."""

    dry_run: Annotated[bool, "print what the run would do and about what it would cost, and write nothing"] = False
    price_gpu_hour: Annotated[float | None, "$ an hour of a GPU, for --dry-run and the run's record"] = None
    price_core_hour: Annotated[float | None, "$ an hour of a core that encodes, likewise"] = None
    price_put_1000: Annotated[float | None, "$ for 1,000 PUT or LIST requests to the store, likewise"] = None
    price_get_1000: Annotated[float | None, "$ for 1,000 GET or HEAD requests to the store, likewise"] = None

    def __post_init__(self) -> None:
        for name in PRICES:
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < math.inf:
                raise ConfigError(f"{name} {value}; expected a price in dollars, 0 or more.")

    @property
    def has_prices(self) -> bool:
        """True if any price is given."""
        return any(getattr(self, name) is not None for name in PRICES)


@dataclass(frozen=True, kw_only=True)
class SegmentsConfig:
    """Settings of the windows that are embedded and scored beside whole recordings."""

    segments: Annotated[
        str | None,
        f"also windows of the recordings, for the table `segments`: WINDOW:HOP in s; alone {DEFAULT_WINDOWS}",
    ] = field(default=None, metadata={"alone": str(DEFAULT_WINDOWS)})

    def __post_init__(self) -> None:
        _ = self.windows

    @property
    def windows(self) -> Windows | None:
        """The windows; None if none are asked for."""
        return None if self.segments is None else Windows.parse(self.segments)


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Settings of where the tables are written."""

    output: Annotated[str, "folder or prefix that gets the tables"]
    new_table: Annotated[bool, "write this encoder's embeddings although the output has those of another encoder"] = (
        False
    )
    shared: Annotated[bool, SHARED_HELP] = False


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Settings of where the encoder's weights are stored. The weights count for a result, not their place."""

    model: Annotated[
        str | None, "checkpoint for --backbone huggingface: folder, s3:// prefix, or hub name with --revision"
    ] = None
    revision: Annotated[str | None, "commit of the checkpoint on the hub, 40 hexadecimal digits"] = None
