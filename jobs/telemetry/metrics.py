"""Metrics: numbers that a run exports to Prometheus while it works, through Ray's own metrics.

Reporting one costs an addition. They are lost with the process; the lasting result of a run is its record. Ray exports
each under its name with `ray_` in front, on the metrics port of the node where it was reported: a counter from its
first increment until the node's end, a gauge for 20 s after it was set. So a thread of the driver sets its gauges
again and again.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

REPEAT_SECONDS = 5.0  # Ray reports every 10 s, and forgets a gauge that was in none of two reports


@dataclass(frozen=True)
class Metric:
    """A metric's declaration: a `counter` only grows, a `gauge` has a current value.

    A label has few values: never an utterance, a shard or a run.
    """

    kind: Literal["counter", "gauge"]
    about: str
    labels: tuple[str, ...] = ()


METRICS = {
    "bonafide_audio_seconds_total": Metric("counter", "audio whose embeddings are committed, s"),
    "bonafide_changes_total": Metric(
        "counter",
        "recordings that a scoring run found changed: `new`, `replaced`, `rescored` (another head), `removed`",
        ("change",),
    ),
    "bonafide_rows_total": Metric("counter", "rows committed, by the recording's outcome", ("verb", "outcome")),
    "bonafide_shards_committed_total": Metric("counter", "shards committed", ("verb",)),
    "bonafide_shards_left": Metric("gauge", "shards that are planned, worked on and not committed", ("verb",)),
    "bonafide_shards_open": Metric("gauge", "shards of which the encoders have returned a part"),
    "bonafide_encoders": Metric("gauge", "encoders that have reported"),
    "bonafide_encoders_waiting_share": Metric("gauge", "share of the encoders' time without work, 0 to 1"),
    "bonafide_confinement": Metric("gauge", "1 for the weakest confinement of the run's decoders", ("level",)),
    "bonafide_store_retries_total": Metric("counter", "requests to the store that were tried again"),
    "bonafide_workers_lost_total": Metric("counter", "passes after which some work was missing", ("verb",)),
    "bonafide_alarms_total": Metric("counter", "shards that were computed twice with different results"),
}
"""All metrics, by the names that `cluster/prometheus` and `cluster/grafana` use, without Ray's `ray_`."""


def count(name: str, value: float = 1.0, **labels: str) -> None:
    """Add to a counter; without Ray, do nothing."""
    if value and (metric := _metric(name)) is not None:
        metric.inc(value, labels)


def set_gauge(name: str, value: float, **labels: str) -> None:
    """Set a gauge; without Ray, from the moment this process joins a cluster."""
    _GAUGES[name, tuple(labels.items())] = value
    if (metric := _metric(name)) is not None:
        metric.set(value, labels)


def repeat_gauges() -> None:
    """Set all gauges again; without Ray, do nothing."""
    for (name, labels), value in list(_GAUGES.items()):
        if (metric := _metric(name)) is not None:
            metric.set(value, dict(labels))


@contextmanager
def repeated_gauges() -> Iterator[None]:
    """Let a thread set all gauges again and again while the block runs, whatever this process does meanwhile."""
    has_ended = threading.Event()

    def repeat() -> None:
        while not has_ended.wait(REPEAT_SECONDS):
            repeat_gauges()

    repeat_gauges()
    thread = threading.Thread(target=repeat, name="gauges", daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()  # no gauge may be set while Ray shuts down


def count_up_to(name: str, total: float) -> None:
    """Raise a counter to a total that this process keeps; without Ray, do nothing."""
    if _metric(name) is not None:
        count(name, total - _LAST_TOTALS.get(name, 0.0))
        _LAST_TOTALS[name] = total


_LAST_TOTALS: dict[str, float] = {}
_GAUGES: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}


def _metric(name: str) -> Any:
    ray = sys.modules.get("ray")  # not imported: this process has joined no cluster
    return _created(name) if ray is not None and ray.is_initialized() else None


@cache
def _created(name: str) -> Any:
    import ray.util.metrics

    declared = METRICS[name]
    kind = {"counter": ray.util.metrics.Counter, "gauge": ray.util.metrics.Gauge}[declared.kind]
    return kind(name, description=declared.about, tag_keys=declared.labels)
