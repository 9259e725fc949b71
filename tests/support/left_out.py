"""The last line of a test run: how long it took, which tests it left out, and how to run those."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

COMMANDS = {"drill": "`make drills`", "long": "`make drills`", "spark": "`make engines`"}
NAMES = {"drill": "drills", "long": "long tests", "spark": "tests on Spark"}
KEY = "left out"


class LeftOut:
    """Count the tests that the markers deselect, and the reasons of those that are skipped; report both at the end.

    With pytest-xdist only the workers see what is deselected, and each sees all of it: the last one's counts are used.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started = time.monotonic()
        self._deselected: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            name = next((name for name in ("spark", "drill", "long") if item.get_closest_marker(name)), None)
            self._deselected.update([name] if name else [])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
            self._skipped[report.longrepr[2].removeprefix("Skipped: ")] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[KEY] = dict(self._deselected)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._deselected = Counter(getattr(node, "workeroutput", {}).get(KEY, self._deselected))

    def pytest_unconfigure(self) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and not hasattr(self._config, "workerinput"):
            terminal.write_line(told(time.monotonic() - self._started, self._deselected, self._skipped))


def told(seconds: float, deselected: Mapping[str, int], skipped: Mapping[str, int]) -> str:
    """Compose the line."""
    parts = [f"{count} {NAMES[name]} ({COMMANDS[name]})" for name, count in sorted(deselected.items()) if count]
    parts += [f"{count} skipped: {reason}" for reason, count in sorted(skipped.items())]
    return f"took {seconds:.0f} s; left out: {'; '.join(parts) or 'nothing'}"
