"""Progress: a bar in a terminal, a line every few seconds in a plain log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

LINE_SECONDS = 10.0

log = logging.getLogger(__name__)


class Progress:
    """How far some work is: shards done, rows, and seconds of audio.

    Parameters
    ----------
    what : str
        The work, as a verb: `embed`.
    total : int
        Shards to do.
    """

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = self._rows = 0
        self._audio_seconds = 0.0
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total, desc=what, unit="shard", file=sys.stderr) if sys.stderr.isatty() else None

    def shard(self, rows: int, audio_seconds: float = 0.0) -> None:
        """One more shard is done."""
        self._done += 1
        self._rows += rows
        self._audio_seconds += audio_seconds
        if self._bar is not None:
            self._bar.set_postfix_str(self._detail(), refresh=False)
            self._bar.update()
        elif time.monotonic() - self._last >= LINE_SECONDS or self._done == self._total:
            self._last = time.monotonic()
            log.info("%s: %d of %d shards, %s%s", self._what, self._done, self._total, self._detail(), self._left())

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()

    def _detail(self) -> str:
        if not self._audio_seconds:
            return f"{self._rows} rows"
        pace = self._audio_seconds / (time.monotonic() - self._start)
        return f"{self._rows} rows, {self._audio_seconds / 60:.1f} min of audio at {pace:.0f} × real time"

    def _left(self) -> str:
        left = self._total - self._done
        return f", about {left * (time.monotonic() - self._start) / self._done:.0f} s left" if left else ""


@contextmanager
def progress(what: str, total: int) -> Iterator[Progress]:
    """Show progress while the block runs."""
    shown = Progress(what, total)
    try:
        yield shown
    finally:
        shown.close()
