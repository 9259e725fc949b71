"""Progress: a bar in a terminal, a line every few seconds in a plain log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from jobs.telemetry import metrics

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
    n_bytes : int
        Bytes of all of them, where :meth:`read` tells how many are done.
    """

    def __init__(self, what: str, total: int, n_bytes: int = 0) -> None:
        self._what = what
        self._total = total
        self._n_bytes = n_bytes
        self._read = self._first_read = 0
        self._reading_since = 0.0
        self._done = self._rows = self._segments = 0
        self._audio_seconds = 0.0
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total, desc=what, unit="shard", file=sys.stderr) if sys.stderr.isatty() else None

    def shard(self, rows: int, audio_seconds: float = 0.0) -> None:
        """One more shard is done."""
        self._done += 1
        metrics.count("bonafide_shards_committed_total", verb=self._what)
        metrics.set_gauge("bonafide_shards_left", self._total - self._done, verb=self._what)
        self._rows += rows
        self._audio_seconds += audio_seconds
        if self._bar is not None:
            self._bar.update()
        self._show(at_once=self._done == self._total)

    def segments(self, count: int) -> None:
        """So many segments came back, of shards that may be far from done."""
        self._segments += count
        self._show()

    def read(self, n_bytes: int) -> None:
        """Recordings of so many bytes are done, of shards that may be far from it."""
        if n_bytes and not self._read:  # what came before it was getting started
            self._first_read, self._reading_since = n_bytes, time.monotonic()
        self._read += n_bytes
        self._show()

    def _show(self, at_once: bool = False) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._detail())
        elif time.monotonic() - self._last >= LINE_SECONDS or at_once:
            self._last = time.monotonic()
            log.info("%s: %d of %d shards, %s%s", self._what, self._done, self._total, self._detail(), self._left())

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()

    def _detail(self) -> str:
        seconds = time.monotonic() - self._start
        detail = f"{self._rows} rows"
        if self._segments:
            detail += f", {self._segments} segments encoded ({self._segments / seconds:.0f} a second)"
        if self._audio_seconds:
            minutes, pace = self._audio_seconds / 60, self._audio_seconds / seconds
            detail += f", {minutes:.1f} min of audio at {pace:.0f} × real time"
        return detail

    def _left(self) -> str:
        left = self._total - self._done
        if not left:
            return ""
        if self._read > self._first_read:
            pace = (self._read - self._first_read) / max(time.monotonic() - self._reading_since, 1e-3)
            return f", about {max(self._n_bytes - self._read, 0) / pace:.0f} s left"
        return f", about {left * (time.monotonic() - self._start) / self._done:.0f} s left" if self._done else ""


@contextmanager
def progress(what: str, total: int, n_bytes: int = 0) -> Iterator[Progress]:
    """Show progress while the block runs."""
    shown = Progress(what, total, n_bytes)
    try:
        yield shown
    finally:
        shown.close()
