"""Charts: numbers converted to shapes of inline SVG, which the templates draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

WIDTH, HEIGHT = 440, 300
LEFT, BOTTOM, TOP, RIGHT = 52, 44, 12, 24


@dataclass(frozen=True)
class Axis:
    """An axis: the range of its values, and their positions on the page.

    Examples
    --------
    >>> Axis(0.0, 10.0, 100.0, 200.0).at(2.5)
    125.0
    """

    low: float
    high: float
    start: float
    end: float
    whole: bool = False  # counts have whole ticks only
    percent: bool = False

    def at(self, value: float) -> float:
        """Return the position of a value in pixels; a value outside the axis is at its end."""
        span = self.high - self.low or 1.0
        share = min(max((value - self.low) / span, 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return four to ten round values, as (position, text)."""
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
    """An axis of a DET plot: error rates, on a scale on which two normal distributions give a straight line.

    Examples
    --------
    >>> axis = ProbitAxis(0.001, 0.999, 0.0, 100.0)
    >>> axis.at(0.5), axis.at(0.0), [text for _, text in axis.ticks()][:3]
    (50.0, 0.0, ['0.1 %', '1 %', '5 %'])
    """

    def at(self, value: float) -> float:
        """Return the position of a rate in pixels; a rate outside the axis is at its end."""
        rates = (min(max(each, 1e-9), 1 - 1e-9) for each in (self.low, self.high, value))
        low, high, place = map(NormalDist().inv_cdf, rates)
        share = min(max((place - low) / (high - low), 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the rates that are usual on DET plots, as (position, text)."""
        rates = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
        return [(self.at(rate), f"{100 * rate:g} %") for rate in rates if self.low <= rate <= self.high]


@dataclass(frozen=True)
class NamedAxis(Axis):
    """An axis with names in place of values: for example bins of equal width, named at some of their edges.

    Examples
    --------
    >>> NamedAxis(0.0, 20.0, 100.0, 200.0, names=((10.0, "2.5"),)).ticks()
    [(150.0, '2.5')]
    """

    names: tuple[tuple[float, str], ...] = ()

    def ticks(self) -> list[tuple[float, str]]:
        """Return the names, as (position, text)."""
        return [(self.at(value), text) for value, text in self.names]


@dataclass
class Chart:
    """A picture: two axes, and lines, bars and dots, each with the name of its colour.

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
        """Add a line, without the points that are not defined."""
        places = [(self.across.at(x), self.up.at(y)) for x, y in points if x is not None and y is not None]
        kept = [place for before, place in zip([None, *places], places, strict=False) if place != before]
        self.lines.append({"points": " ".join(f"{x},{y}" for x, y in kept), "colour": colour, "faint": faint})

    def bar(self, low: float, high: float, value: float, colour: str, says: str) -> None:
        """Add a bar from zero, between two values of the horizontal axis."""
        left, right, top = self.across.at(low), self.across.at(high), self.up.at(value)
        width = max(round((right - left) * 0.9, 1), 0.5)
        height = round(self.up.at(0.0) - top, 1)
        self.bars.append({"x": left, "y": top, "width": width, "height": height, "colour": colour, "says": says})

    def dot(self, x: float, y: float, colour: str, says: str, *, radius: float = 5.0, text: str = "") -> None:
        """Add a dot, with a tooltip and a text above it."""
        place = {"x": self.across.at(x), "y": self.up.at(y), "radius": round(radius, 1)}
        self.dots.append({**place, "colour": colour, "says": says, "text": text})


def across(low: float, high: float, **how: bool) -> Axis:
    """Make a horizontal axis."""
    return Axis(low, high, LEFT, WIDTH - RIGHT, **how)


def up(low: float, high: float, height: int = HEIGHT, **how: bool) -> Axis:
    """Make a vertical axis."""
    return Axis(low, high, height - BOTTOM, TOP, **how)


def round_top(values: Sequence[float | None], least: float = 0.01) -> float:
    """Round up to a value that suits the end of an axis."""
    return max([least, *(value for value in values if value is not None)]) * 1.05
