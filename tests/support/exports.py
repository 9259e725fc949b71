"""Exports: what a Prometheus has of runs that count and set metrics with the product's own code, on a clock of its own.

It does as Ray 2.60 does (`_private/telemetry/open_telemetry_metric_recorder.py`): a process reports every 10 s; its
node shows a counter from its first increment on, for as long as the node lives, and a gauge until it was in no report
for 20 s. A gauge is in the report that follows its being set, and in no later one. What a process has not reported when
it ends is lost.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.telemetry import alarms, ends, metrics
from tests.support.promql import Labels, Samples

REPORT, SCRAPE, GAUGE = 10, 15, 20
"""Seconds between two reports and two scrapes, and for which a gauge is shown."""

BEGIN = 1_800_000_000  # the clock's first second


@dataclass
class Process:
    """A process of a run: what it has counted and set, by name and labels."""

    name: str
    counters: Counter[Labels] = field(default_factory=Counter)
    gauges: dict[Labels, float] = field(default_factory=dict)
    last_totals: dict[str, float] = field(default_factory=dict)
    kept: dict[Any, float] = field(default_factory=dict)


@dataclass
class Meter:
    """A counter or gauge of a process, as Ray's classes have them."""

    process: Process
    name: str

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0  # else Ray refuses it
        self.process.counters[self._labels(tags)] += value

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.process.gauges[self._labels(tags)] = value

    def _labels(self, tags: dict[str, str]) -> Labels:
        assert tuple(tags) == metrics.METRICS[self.name].labels
        own = {"__name__": f"ray_{self.name}", "WorkerId": self.process.name, "SessionName": "session_1"}
        return frozenset((own | tags).items())


class Exports:
    """A cluster's node, a folder of ends, and a Prometheus that scrapes both.

    Attributes
    ----------
    samples : Samples
        What Prometheus has.
    now : int
        The time, seconds since 1970; time passes in :meth:`wait` only.
    scrape : int
        Seconds between two scrapes.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.samples, self.now, self.folder, self.scrape = Samples(), BEGIN, folder, SCRAPE
        self._monkeypatch = monkeypatch
        self._alive: list[Process] = []
        self._counters: dict[Labels, float] = {}
        self._gauges: dict[Labels, tuple[float, int]] = {}
        self._ends: dict[Labels, float] = {}
        monkeypatch.setattr(metrics, "_metric", lambda _name: None)
        monkeypatch.setattr(metrics, "_GAUGES", {})
        monkeypatch.setattr(ends, "time", SimpleNamespace(time=lambda: float(self.now)))

    @contextmanager
    def process(self, name: str) -> Iterator[Process]:
        """Let what is counted and set be of a process that ends with the block."""
        process = Process(name, kept=dict(metrics._GAUGES))
        self._alive.append(process)
        with self.within(process):
            metrics.repeat_gauges()
            yield process
        self._alive.remove(process)

    @contextmanager
    def within(self, process: Process) -> Iterator[None]:
        """Let what is counted and set in the block be of a process that there is."""
        with self._monkeypatch.context() as patch:
            patch.setattr(metrics, "_metric", lambda metric: Meter(process, metric))
            patch.setattr(metrics, "_LAST_TOTALS", process.last_totals)
            patch.setattr(metrics, "_GAUGES", process.kept)
            yield

    def end_node(self) -> None:
        """Let the node go, as the node of a run's own cluster does."""
        self._counters, self._gauges = {}, {}

    def end(self, verb: str, code: int, output: str | None = "s3://archive/tables") -> None:
        """Let a verb end."""
        ends.Ends(self.folder).write(verb, code, output)
        alarms.begin()
        self._ends = {
            frozenset({"__name__": sample.name, **sample.labels}.items()): sample.value
            for path in self.folder.glob("*.prom")
            for family in text_string_to_metric_families(path.read_text())
            for sample in family.samples
        }

    def lose_folder(self) -> None:
        """Let the machine with the folder of ends go."""
        self._ends = {}

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + round(seconds)
        step = math.gcd(REPORT, self.scrape) if self._alive else self.scrape
        for now in range(self.now - self.now % step + step, end + 1, step):
            self.now = now
            if now % metrics.REPEAT_SECONDS == 0:
                self._repeat()
            if self.now % REPORT == 0:
                self._report()
            if self.now % self.scrape == 0:
                self.samples.scrape("node", self.now, self._node())
                self.samples.scrape("ends", self.now, self._ends)
        self.now = end

    def moments(self) -> range:
        """Return the times since the beginning at which Prometheus evaluates rules, at least each four scrapes."""
        return range(BEGIN + 7, self.now, 4 * self.scrape)

    def _repeat(self) -> None:
        for process in self._alive:
            with self.within(process):
                metrics.repeat_gauges()

    def _report(self) -> None:
        for process in self._alive:
            self._counters |= process.counters
            self._gauges |= {labels: (value, self.now) for labels, value in process.gauges.items()}
            process.gauges.clear()

    def _node(self) -> dict[Labels, float]:
        self._gauges = {labels: at for labels, at in self._gauges.items() if self.now - at[1] <= GAUGE}
        return self._counters | {labels: value for labels, (value, _) in self._gauges.items()}
