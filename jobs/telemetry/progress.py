"""Progress: a bar in a terminal, or a line in the log every few seconds."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import closing
from typing import NoReturn

from tqdm import tqdm

from jobs.telemetry import metrics

LINE_SECONDS = 10.0

log = logging.getLogger(__name__)


class Progress:
    """Progress of a verb: shards done, and within them bytes, recordings and segments; speed, and time left.

    Parameters
    ----------
    verb : str
        Such as `embed`.
    total : int
        Shards to do.
    n_bytes : int
        Bytes of all shards, for callers that count recordings by :meth:`read`: a bar then shows bytes.
    """

    def __init__(self, verb: str, total: int, n_bytes: int = 0) -> None:
        self._verb = verb
        self._total = total
        self._n_bytes = n_bytes
        self._read = self._first_read = self._recordings = 0
        self._reading_since = 0.0
        self._done = self._rows = self._segments = 0
        self._audio_seconds = 0.0
        self._start = self._last = time.monotonic()
        self._bar = self._new_bar() if sys.stderr.isatty() else None
        self._tell_left(total)

    def _new_bar(self) -> tqdm[NoReturn]:
        if not self._n_bytes:
            return tqdm(total=self._total, desc=self._verb, unit="shard", file=sys.stderr)
        return tqdm(total=self._n_bytes, desc=self._verb, unit="B", unit_scale=True, file=sys.stderr)

    def shard(self, rows: int, audio_seconds: float = 0.0) -> None:
        """Count a shard that is done."""
        self._done += 1
        metrics.count("bonafide_shards_committed_total", verb=self._verb)
        self._tell_left(self._total - self._done)
        self._rows += rows
        self._audio_seconds += audio_seconds
        if self._bar is not None:
            is_last = self._done == self._total
            self._bar.update(self._bar.total - self._bar.n if is_last else not self._n_bytes)
        self._show(at_once=self._done == self._total)

    def segments(self, count: int) -> None:
        """Count segments that were encoded, before their shards are done."""
        self._segments += count
        self._show()

    def read(self, n_bytes: int, recordings: int) -> None:
        """Count recordings that are done, and their bytes, before their shards are."""
        if n_bytes and not self._read:  # the time before it was the encoder starting
            self._first_read, self._reading_since = n_bytes, time.monotonic()
        # a recording that is read again, or in excerpts, counts again; a container has bytes that are no recording's
        n_bytes = min(n_bytes, self._n_bytes - self._read)
        self._read += n_bytes
        self._recordings += recordings
        if self._bar is not None:
            self._bar.update(n_bytes)
        self._show()

    def _show(self, at_once: bool = False) -> None:
        if self._bar is not None:
            done = f"{self._done} of {self._total} shards, " if self._n_bytes else ""
            self._bar.set_postfix_str(done + self._detail())
        elif time.monotonic() - self._last >= LINE_SECONDS or at_once:
            self._last = time.monotonic()
            log.info("%s: %d of %d shards, %s%s", self._verb, self._done, self._total, self._detail(), self._left())

    def _tell_left(self, n_shards: int) -> None:
        # from the first moment on: else a run that hangs before its first shard would look like none
        metrics.set_gauge("bonafide_shards_left", n_shards, verb=self._verb)

    def close(self) -> None:
        """End the bar, and the work on what is left."""
        self._tell_left(0)
        if self._bar is not None:
            self._bar.close()

    def _detail(self) -> str:
        seconds = time.monotonic() - self._start
        detail = f"{self._rows} rows"
        if self._n_bytes and self._done < self._total:
            share = 100 * self._read / self._n_bytes
            detail = f"{self._read / 1e6:.1f} of {self._n_bytes / 1e6:.1f} MB ({share:.0f} %), {detail}"
        if self._recordings and self._done < self._total:
            detail += f", {self._recordings} recordings"
        if self._segments:
            detail += f", {self._segments} segments encoded ({self._segments / seconds:.0f} a second)"
        if self._audio_seconds:
            minutes, speed = self._audio_seconds / 60, self._audio_seconds / seconds
            detail += f", {minutes:.1f} min of audio at {speed:.0f} × real time"
        return detail

    def _left(self) -> str:
        left = self._total - self._done
        if not left:
            return ""
        if self._read > self._first_read:
            bytes_per_second = (self._read - self._first_read) / max(time.monotonic() - self._reading_since, 1e-3)
            return f", about {max(self._n_bytes - self._read, 0) / bytes_per_second:.0f} s left"
        return f", about {left * (time.monotonic() - self._start) / self._done:.0f} s left" if self._done else ""


class Steps:
    """Progress of work in equal steps: how many are done, of how many, and the time left.

    Parameters
    ----------
    verb : str
        Such as `fit`.
    total : int
        Steps to do.
    unit : str
        A step for people to read, in the plural.
    """

    def __init__(self, verb: str, total: int, unit: str) -> None:
        self._verb, self._total, self._unit = verb, total, unit
        self._done = 0
        self._start = self._last = time.monotonic()
        self._bar: tqdm[NoReturn] | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=verb, unit=f" {unit}", file=sys.stderr)

    def done(self) -> None:
        """Count a step that is done."""
        self._done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(1)
        elif now - self._last >= LINE_SECONDS or self._done == self._total:
            self._last = now
            left = (self._total - self._done) * (now - self._start) / self._done
            rest = f", about {left:.0f} s left" if self._done < self._total else f", in {now - self._start:.0f} s"
            log.info("%s: %d of %d %s%s", self._verb, self._done, self._total, self._unit, rest)

    def skip(self, count: int) -> None:
        """Take steps out of the total: they need not be done."""
        self._total -= count
        if self._bar is not None:
            self._bar.total = self._total

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


def steps(verb: str, total: int, unit: str) -> closing[Steps]:
    """Show progress in equal steps while the block runs."""
    return closing(Steps(verb, total, unit))


def progress(verb: str, total: int, n_bytes: int = 0) -> closing[Progress]:
    """Show progress while the block runs."""
    return closing(Progress(verb, total, n_bytes))
