"""How a run goes: machines, sizes, dates. Changing these never changes a score."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, TypeVar

from detector.backbones import BATCH_SECONDS
from detector.errors import ConfigError
from jobs.telemetry.webhook import Webhook

Config = TypeVar("Config")

LABELS_HELP = "manifest, CSV, JSONL or Parquet: utterance_id,label[,split,system,speaker,source,language,codec]"
"""Columns of labels, spelt out here so that --help need not import pyarrow; a test holds them to `detector.schema`."""


def extract_config(settings: Any, kind: type[Config]) -> Config:
    """Copy the fields of ``kind`` out of larger settings that inherit them."""
    return kind(**{each.name: getattr(settings, each.name) for each in fields(kind)})  # type: ignore[arg-type]


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How Ray runs the work, and when a run counts as failed."""

    encoders: Annotated[int | None, "actors that hold the encoder [default: one a GPU, else one a CPU]"] = None
    encoder_cpus: Annotated[float | None, "CPUs an encoder reserves [default: 1, less where decode would starve]"] = (
        None
    )
    encoder_gpus: Annotated[float, "GPUs an encoder reserves, on --device cuda"] = 1.0
    decode_cpus: Annotated[float, "CPUs a decode task reserves; as many tasks run as fit"] = 0.5
    device: Annotated[str, "auto, cpu or cuda; auto takes a GPU where the cluster has one"] = "auto"
    batch_seconds: Annotated[float, "audio in one forward pass on a GPU; a CPU takes a segment at a time; s"] = (
        BATCH_SECONDS
    )
    window_mib: Annotated[
        int | None, "audio that an encoder gets at once, and sorts by length; MiB [default: 8, on a GPU 32]"
    ] = None
    object_store_mib: Annotated[int, "audio in flight, where Ray is started on this machine; MiB"] = 256
    run_date: Annotated[str, "date of the run's partitions, YYYY-MM-DD, UTC [default: today]"] = field(
        default_factory=_today
    )
    store_patience: Annotated[float, "seconds to go on asking a store that fails, before the run ends with 69"] = 300.0
    stall_seconds: Annotated[float, "no progress for so long, or 10 × the p99 of a shard's time, ends with 75; s"] = (
        120.0
    )
    max_failures: Annotated[float, "share of inputs that may fail before the run ends with exit code 3"] = 0.05
    webhook: Annotated[str | None, "file with a URL to tell of the run's end, and the secret that signs it"] = None

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device {self.device!r}; expected auto, cpu or cuda.")
        if not self.batch_seconds > 0 or (self.encoders is not None and self.encoders < 1):
            raise ConfigError(
                f"batch_seconds {self.batch_seconds}, encoders {self.encoders}; expected more than 0, and 1 or more."
            )
        if self.window_mib is not None and self.window_mib < 1:
            raise ConfigError(f"window_mib {self.window_mib}; expected 1 or more.")
        reserved = (self.decode_cpus > 0, self.encoder_cpus is None or self.encoder_cpus >= 0, self.encoder_gpus > 0)
        if not all(reserved):  # NaN is neither
            raise ConfigError(
                f"decode_cpus {self.decode_cpus}, encoder_gpus {self.encoder_gpus}, encoder_cpus {self.encoder_cpus}; "
                f"expected the first two above 0, the third 0 or more."
            )
        if not (self.store_patience >= 0 and self.stall_seconds > 0):
            raise ConfigError(
                f"store_patience {self.store_patience}, stall_seconds {self.stall_seconds}; expected 0 or more, and "
                f"more than 0."
            )
        if self.object_store_mib < 80:
            raise ConfigError(f"object_store_mib {self.object_store_mib}; Ray needs 80 or more.")
        try:
            known = datetime.date.fromisoformat(self.run_date).isoformat() == self.run_date
        except ValueError:
            known = False
        if not known:
            raise ConfigError(f"run_date {self.run_date!r}; expected a day as YYYY-MM-DD.")
        if self.webhook is not None:
            Webhook.read(self.webhook)
        if not 0.0 <= self.max_failures <= 1.0:
            raise ConfigError(f"max_failures {self.max_failures}; expected a share between 0 and 1.")


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Where the tables go."""

    output: Annotated[str, "folder or prefix that gets the tables"]
    new_table: Annotated[bool, "let this encoder's embeddings stand beside those of another in the same output"] = False


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Where the encoder's weights lie. Which weights they are counts, not where."""

    model: Annotated[str | None, "checkpoint for huggingface: folder, s3:// prefix, or hub name with --revision"] = None
    revision: Annotated[str | None, "commit of a hub checkpoint, 40 hexadecimal digits"] = None
