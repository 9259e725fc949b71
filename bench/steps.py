"""Seconds of the steps of a benchmark that may be stopped and started again: each step counts until it is done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StepSeconds:
    """Seconds by step, kept in a file: those of all attempts up to the one that ended well, and none after it.

    Examples
    --------
    >>> import tempfile
    >>> steps = StepSeconds(Path(tempfile.mkdtemp(), "seconds.json"))
    >>> with steps.step("embed"):
    ...     pass
    >>> before = steps.of("embed")
    >>> with steps.step("embed"):  # done already: nothing is to do, and nothing counts
    ...     time.sleep(0.01)
    >>> steps.of("embed") == before, steps.of("fit")
    (True, 0.0)
    """

    path: Path

    def of(self, name: str) -> float:
        """Seconds of a step; 0 if it was never begun."""
        return float(self._read().get(name, {}).get("seconds", 0.0))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the seconds of what is done inside; it is done if no exception leaves it."""
        known = self._read().get(name, {"seconds": 0.0, "done": False})
        started, done = time.monotonic(), False
        try:
            yield
            done = True
        finally:
            if not known["done"]:
                entry = {"seconds": round(float(known["seconds"]) + time.monotonic() - started, 3), "done": done}
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.write_text(json.dumps(self._read() | {name: entry}, indent=1) + "\n")

    def _read(self) -> dict[str, dict[str, float | bool]]:
        content: dict[str, dict[str, float | bool]] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return content
