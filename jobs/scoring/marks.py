"""Marks: the windows of a recording, by score, and those of them that a person should listen to first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from detector.contributions import FrameLogits
from detector.head import Head
from detector.metrics import Floats
from detector.rejection import p_spoof

MARKED = 8
"""Windows that are marked in one recording at most."""


class Window(NamedTuple):
    """A part of a recording with its score."""

    start_seconds: float
    end_seconds: float
    score: float
    p_spoof: float

    def overlaps(self, other: Window) -> bool:
        """Return True if two windows share time."""
        return self.start_seconds < other.end_seconds and other.start_seconds < self.end_seconds


def windows_of(times: Iterable[Sequence[float]], scores: Floats, prior: float) -> Iterator[Window]:
    """Yield windows from their starts and ends and their scores, at a prior; one without a finite score is left out."""
    for (start, end), score, probability in zip(times, scores, p_spoof(scores, prior), strict=True):
        if np.isfinite(score):
            yield Window(float(start), float(end), float(score), float(probability))


def frame_windows(head: Head, frames: FrameLogits, seconds: float, prior: float) -> Iterator[Window]:
    """Yield the windows of a recording whose frames' logits are known."""
    times, logits = frames.windows(seconds)
    return windows_of(times.tolist(), head.calibrated(logits), prior)


def most_suspicious(windows: Iterable[Window], most: int = MARKED) -> list[Window]:
    """Return the windows to listen to, the lowest score first: none overlaps another.

    They are those that are likelier spoof than not; where there is none, the one that is likeliest.

    Examples
    --------
    >>> windows = [Window(0, 4, 3.0, 0.1), Window(2, 6, -2.0, 0.8), Window(4, 8, -3.0, 0.9), Window(8, 12, -1.0, 0.7)]
    >>> [window.start_seconds for window in most_suspicious(windows)]
    [4, 8]
    >>> [window.start_seconds for window in most_suspicious(windows[:1])]
    [0]
    """
    found: list[Window] = []
    for window in sorted(windows, key=lambda each: (each.score, each.start_seconds)):
        if len(found) == most or (found and window.p_spoof <= 0.5):
            break
        if not any(window.overlaps(other) for other in found):
            found.append(window)
    return found
