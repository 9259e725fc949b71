"""The picture of a stretch of a recording: waveform, spectrogram, contributions and window scores on one time axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.contributions import FrameLogits
from detector.metrics import Floats
from detector.overview import Overview
from jobs.reports.charts import Axis
from jobs.reports.explanation.png import data_url, png
from jobs.scoring.marks import Window
from jobs.telemetry.names import clock

WIDTH, LEFT, RIGHT, TOP, GAP, FOOT = 960, 64, 12, 20, 16, 24
HEIGHTS = {"waveform": 70, "spectrogram": 90, "contributions": 80, "windows": 80}
COLUMNS = (WIDTH - LEFT - RIGHT) // 2  # bars of contributions, 2 px each
DYNAMIC_RANGE = 70.0  # dB from the loudest place of a spectrogram to its darkest colour
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200)
"""Distances of ticks, in seconds."""
MAX_TICKS = 4  # of the scores of windows: a text is 16 px high
MIN_MARK = 4.0  # px; four seconds of three hours would be a third of one


class TimeAxis(Axis):
    """An axis of seconds, with ticks as a clock says them.

    Examples
    --------
    >>> TimeAxis(0.0, 10_800.0, 0.0, 900.0).ticks()[:3]
    [(0.0, '0:00'), (150.0, '30:00'), (300.0, '1:00:00')]
    """

    def ticks(self) -> list[tuple[float, str]]:
        """Return at most ten ticks, as (position, text)."""
        span = self.high - self.low
        step = next((each for each in STEPS if span / each <= 10), STEPS[-1])
        first, last = np.ceil(self.low / step - 1e-9), np.floor(self.high / step + 1e-9)
        places = [float(number * step) for number in np.arange(first, last + 1)]
        return [(self.at(each), clock(each) if step < 1 else clock(each).partition(".")[0]) for each in places]


@dataclass
class Row:
    """One row of a picture: paths, each with the name of its colour, a level axis, or an image."""

    name: str
    title: str
    top: float
    height: float
    ticks: list[tuple[float, str]] = field(default_factory=list)
    paths: list[tuple[str, str]] = field(default_factory=list)
    lines: list[float] = field(default_factory=list)
    image: str | None = None


@dataclass
class Picture:
    """A picture: its rows, its time axis, and the marked windows."""

    title: str
    time: TimeAxis
    rows: list[Row] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def foot(self) -> float:
        """Where the rows end."""
        return self.rows[-1].top + self.rows[-1].height if self.rows else float(TOP)

    @property
    def height(self) -> float:
        """Height with the texts of the time axis."""
        return self.foot + FOOT

    def row(self, name: str, title: str) -> Row:
        """Add a row below the others."""
        row = Row(name, title, self.foot + (GAP if self.rows else 0), HEIGHTS[name])
        self.rows.append(row)
        return row


def picture(title: str, start: float, end: float) -> Picture:
    """Return an empty picture of the stretch between two times."""
    return Picture(title, TimeAxis(start, max(end, start + 1e-3), LEFT, WIDTH - RIGHT))


def draw_sound(drawn: Picture, overview: Overview, start: float) -> None:
    """Draw waveform and spectrogram of samples that begin at a time."""
    n, row = len(overview.lowest), drawn.row("waveform", "waveform")
    if not n:
        return
    times = [start + overview.seconds * (place + 0.5) / n for place in range(n)]
    peak = float(max(overview.highest.max(), -overview.lowest.min(), 1e-4))
    level = Axis(-peak, peak, row.top + row.height, row.top)
    upper = [f"{drawn.time.at(x)},{level.at(y)}" for x, y in zip(times, overview.highest.tolist(), strict=True)]
    lower = [f"{drawn.time.at(x)},{level.at(y)}" for x, y in zip(times, overview.lowest.tolist(), strict=True)]
    row.paths.append(("wave", f"M{' L'.join([*upper, *reversed(lower)])}z"))
    levels = overview.levels.T[::-1]  # high frequencies on top
    shades = np.clip((levels - levels.max()) / DYNAMIC_RANGE + 1.0, 0.0, 1.0)
    row = drawn.row("spectrogram", "spectrogram, 0 to 8 kHz on the mel scale")
    row.image = data_url(png((255 * shades).astype(np.uint8)), "image/png")


def draw_contributions(drawn: Picture, frames: FrameLogits) -> float:
    """Draw what the frames of a stretch add to the logit, in bars; return how many seconds a bar sums up."""
    time = drawn.time
    inside = (frames.seconds >= time.low) & (frames.seconds <= time.high)
    n = int(min(max(inside.sum(), 1), COLUMNS))
    edges = np.linspace(time.low, time.high, n + 1)
    sums = np.histogram(frames.seconds[inside], edges, weights=frames.contributions[inside])[0]
    row = drawn.row("contributions", "added to the logit")
    largest = float(np.abs(sums).max(initial=1e-12))
    level = Axis(-largest, largest, row.top + row.height, row.top)
    for colour, sign in (("bonafide", 1.0), ("spoof", -1.0)):
        row.paths.append((colour, _bars(time, level, edges, np.where(sign * sums > 0.0, sums, 0.0))))
    row.ticks = [(level.at(value), f"{value:.2g}".replace("-", "−")) for value in (-largest, 0.0, largest)]
    row.lines = [level.at(0.0)]
    return float((time.high - time.low) / n)


def _bars(time: Axis, level: Axis, edges: Floats, sums: Floats) -> str:
    zero = level.at(0.0)
    bars = zip(edges[:-1].tolist(), edges[1:].tolist(), sums.tolist(), strict=True)
    return "".join(f"M{time.at(a)},{zero}H{time.at(b)}V{level.at(y)}H{time.at(a)}z" for a, b, y in bars if y)


def draw_windows(drawn: Picture, windows: Iterable[Window], threshold: float) -> None:
    """Draw the scores of windows as bars from their start to their end, and the score under which they are spoof."""
    time = drawn.time
    shown = [each for each in windows if each.start_seconds < time.high and each.end_seconds > time.low]
    row = drawn.row("windows", "score of each window, in nats")
    scores = [threshold, *(each.score for each in shown)]
    low, high = min(scores), max(scores)
    margin = 0.08 * (high - low) or 1.0
    level = Axis(low - margin, high + margin, row.top + row.height, row.top)
    for colour, is_spoof in (("bonafide", False), ("spoof", True)):
        of_class = [each for each in shown if (each.p_spoof > 0.5) == is_spoof]
        lines = (f"M{time.at(a)},{level.at(y)}H{time.at(b)}" for a, b, y, _ in of_class)
        row.paths.append((f"{colour} line", "".join(lines)))
    ticks = level.ticks()
    row.ticks = [(y, text.replace("-", "−")) for y, text in ticks[:: -(-len(ticks) // MAX_TICKS)]]
    row.lines = [level.at(threshold)]


def draw_marks(drawn: Picture, marked: Sequence[Window]) -> None:
    """Mark windows across all rows; they are numbered from 1 in the order in which they are given."""
    for number, window in enumerate(marked, start=1):
        if window.start_seconds < drawn.time.high and window.end_seconds > drawn.time.low:
            left, right = drawn.time.at(window.start_seconds), drawn.time.at(window.end_seconds)
            width = round(max(right - left, MIN_MARK), 1)
            drawn.marks.append({"number": number, "x": round((left + right - width) / 2, 1), "width": width})
