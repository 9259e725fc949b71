"""Meters: what a run tells Prometheus while it is at work, through Ray's own metrics.

They cost an addition a commit, or a look at the board, and are lost with the process: what stands after a run is its
record. Ray exports each with `ray_` before its name, on the metrics port of the node where it was told.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """A number that is told: one that only grows (`counter`), or one that stands (`gauge`).

    Labels have few values each: never an utterance, a shard or a run.
    """

    kind: Literal["counter", "gauge"]
    about: str
    labels: tuple[str, ...] = ()


METRICS = {
    "bonafide_audio_seconds_total": Metric("counter", "audio whose embeddings are committed, s"),
    "bonafide_rows_total": Metric("counter", "rows committed, by what became of the recording", ("verb", "outcome")),
    "bonafide_shards_committed_total": Metric("counter", "shards committed", ("verb",)),
    "bonafide_shards_left": Metric("gauge", "shards that are planned and not done", ("verb",)),
    "bonafide_shards_open": Metric("gauge", "shards of which some has come back from the encoders, and some has not"),
    "bonafide_encoders": Metric("gauge", "encoders that have told of themselves"),
    "bonafide_encoders_waiting_share": Metric("gauge", "share of the encoders' time without work, 0 to 1"),
    "bonafide_store_retries_total": Metric("counter", "requests to the store that were tried again"),
    "bonafide_workers_lost_total": Metric("counter", "passes that ended with work to do again", ("verb",)),
    "bonafide_alarms_total": Metric("counter", "shards that were computed twice, with results that differ"),
}
"""All there are, by the names that `cluster/prometheus` and `cluster/grafana` know them by, less Ray's `ray_`."""


def count(name: str, value: float = 1.0, **labels: str) -> None:
    """Add to a counter; without Ray, nothing happens."""
    if value and (meter := _meter(name)) is not None:
        meter.inc(value, labels)


def set_gauge(name: str, value: float, **labels: str) -> None:
    """Set a gauge; without Ray, nothing happens."""
    if (meter := _meter(name)) is not None:
        meter.set(value, labels)


def count_up_to(name: str, total: float) -> None:
    """Bring a counter to a total that this process keeps; without Ray, nothing happens."""
    if _meter(name) is not None:
        count(name, total - _REACHED.get(name, 0.0))
        _REACHED[name] = total


_REACHED: dict[str, float] = {}


def _meter(name: str) -> Any:
    ray = sys.modules.get("ray")  # who has not imported it has not joined a cluster
    return _made(name) if ray is not None and ray.is_initialized() else None


@cache
def _made(name: str) -> Any:
    import ray.util.metrics

    meter = METRICS[name]
    kind = {"counter": ray.util.metrics.Counter, "gauge": ray.util.metrics.Gauge}[meter.kind]
    return kind(name, description=meter.about, tag_keys=meter.labels)
