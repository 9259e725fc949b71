"""Charts: numbers as shapes of inline SVG, which the page's template draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.special import ndtri

WIDTH, HEIGHT = 440, 300
LEFT, BOTTOM, TOP, RIGHT = 52, 44, 12, 24


@dataclass(frozen=True)
class Axis:
    """Values on an axis, and where they lie on the page.

    Examples
    --------
    >>> Axis(0.0, 10.0, 100.0, 200.0).at(2.5)
    125.0
    """

    low: float
    high: float
    start: float
    end: float
    whole: bool = False  # counts have no halves
    percent: bool = False

    def at(self, value: float) -> float:
        """Where a value lies, in pixels; at an end where it is beyond."""
        span = self.high - self.low or 1.0
        share = min(max((value - self.low) / span, 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Four to ten round values: where, and what is written there."""
        span = self.high - self.low or 1.0
        step = 10.0 ** math.floor(math.log10(span / 4))
        step = max(step, 1.0) if self.whole else step
        step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 8)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(self.at(number * step), self._text(number * step)) for number in range(first, last + 1)]

    def _text(self, value: float) -> str:
        return f"{100 * value:g} %" if self.percent else f"{value:g}"


@dataclass(frozen=True)
class ProbitAxis(Axis):
    """Error rates where two normals give a straight line: the axes of a DET plot.

    Examples
    --------
    >>> axis = ProbitAxis(0.001, 0.999, 0.0, 100.0)
    >>> axis.at(0.5), axis.at(0.0), [text for _, text in axis.ticks()][:3]
    (50.0, 0.0, ['0.1 %', '1 %', '5 %'])
    """

    def at(self, value: float) -> float:
        """Where a rate lies, in pixels; at an end where it is beyond."""
        low, high, place = (float(ndtri(min(max(each, 1e-9), 1 - 1e-9))) for each in (self.low, self.high, value))
        share = min(max((place - low) / (high - low), 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """The rates that DET plots are read by."""
        rates = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
        return [(self.at(rate), f"{100 * rate:g} %") for rate in rates if self.low <= rate <= self.high]


@dataclass(frozen=True)
class NamedAxis(Axis):
    """Places that are called by names: bins, say, each as wide as the next, named at some of their edges.

    Examples
    --------
    >>> NamedAxis(0.0, 20.0, 100.0, 200.0, names=((10.0, "2.5"),)).ticks()
    [(150.0, '2.5')]
    """

    names: tuple[tuple[float, str], ...] = ()

    def ticks(self) -> list[tuple[float, str]]:
        """Where the names stand."""
        return [(self.at(value), text) for value, text in self.names]


@dataclass
class Chart:
    """One picture: two axes, and lines, bars and dots, each with the name of its colour.

    Parameters
    ----------
    title, about : str
        What it shows; and in a sentence how to read it.
    across, up : Axis
    across_name, up_name : str
    """

    title: str
    about: str
    across: Axis
    up: Axis
    across_name: str
    up_name: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    bars: list[dict[str, Any]] = field(default_factory=list)
    dots: list[dict[str, Any]] = field(default_factory=list)
    height: int = HEIGHT

    def line(self, points: Iterable[tuple[float | None, float | None]], colour: str, *, faint: bool = False) -> None:
        """Add a line; a point that is not defined is left out."""
        places = [(self.across.at(x), self.up.at(y)) for x, y in points if x is not None and y is not None]
        kept = [place for before, place in zip([None, *places], places, strict=False) if place != before]
        self.lines.append({"points": " ".join(f"{x},{y}" for x, y in kept), "colour": colour, "faint": faint})

    def bar(self, low: float, high: float, value: float, colour: str, says: str) -> None:
        """Add a bar from zero, between two values on the axis across."""
        left, right, top = self.across.at(low), self.across.at(high), self.up.at(value)
        width = max(round((right - left) * 0.9, 1), 0.5)
        height = round(self.up.at(0.0) - top, 1)
        self.bars.append({"x": left, "y": top, "width": width, "height": height, "colour": colour, "says": says})

    def dot(self, x: float, y: float, colour: str, says: str, *, radius: float = 5.0, text: str = "") -> None:
        """Add a dot, with what it says when pointed at, and a text above it."""
        place = {"x": self.across.at(x), "y": self.up.at(y), "radius": round(radius, 1)}
        self.dots.append({**place, "colour": colour, "says": says, "text": text})


def across(low: float, high: float, **how: bool) -> Axis:
    """An axis along the bottom."""
    return Axis(low, high, LEFT, WIDTH - RIGHT, **how)


def up(low: float, high: float, height: int = HEIGHT, **how: bool) -> Axis:
    """An axis along the left."""
    return Axis(low, high, height - BOTTOM, TOP, **how)


def round_top(values: Sequence[float | None], least: float = 0.01) -> float:
    """The end of an axis that all values fit under."""
    return max([least, *(value for value in values if value is not None)]) * 1.05
