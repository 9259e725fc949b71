"""The page: what `evaluate` measured, as one HTML file that needs no network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

WIDTH, HEIGHT = 640, 250
LEFT, BOTTOM, TOP, RIGHT = 48, 40, 10, 10


@dataclass(frozen=True)
class Axis:
    """Values on a straight axis, and where they lie on the page.

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

    def at(self, value: float) -> float:
        """Where a value lies, in pixels."""
        span = self.high - self.low or 1.0
        return round(self.start + (value - self.low) / span * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Four to ten round values: where, and what is written there."""
        span = self.high - self.low or 1.0
        step = 10.0 ** math.floor(math.log10(span / 4))
        step = max(step, 1.0) if self.whole else step
        step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 8)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(self.at(number * step), f"{number * step:g}") for number in range(first, last + 1)]


def page(content: dict[str, Any]) -> str:
    """The report as HTML: self-contained, everything in it escaped.

    Parameters
    ----------
    content : dict
        What :func:`jobs.evaluate.measure` returns, with `head_id`, `prior` and `settings`.
    """
    # autoescape is on: names come from archives, and an archive may call a file <script>
    environment = Environment(loader=PackageLoader("jobs", "."), autoescape=True, undefined=StrictUndefined)
    environment.filters["share"] = lambda value: "–" if value is None else f"{100 * value:.1f} %"
    return environment.get_template("report.html.j2").render(
        **content,
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "bottom": BOTTOM, "top": TOP, "right": RIGHT},
        histogram=_histogram(content["curves"]),
        risk_coverage=_risk_coverage(content["curves"], content["headline"]),
    )


def _histogram(curves: dict[str, Any]) -> dict[str, Any]:
    low, high = curves["score_range"]
    across = Axis(low, high, LEFT, WIDTH - RIGHT)
    tallest = max(*curves["bonafide_scores"], *curves["spoof_scores"], 1)
    up = Axis(0, tallest, HEIGHT - BOTTOM, TOP, whole=True)
    n_bins = len(curves["bonafide_scores"])
    width = (WIDTH - RIGHT - LEFT) / n_bins

    def bars(counts: list[int]) -> list[dict[str, float]]:
        return [
            {"x": round(LEFT + index * width, 1), "y": up.at(count), "height": round(up.at(0) - up.at(count), 1)}
            for index, count in enumerate(counts)
        ]

    return {
        "across": across,
        "up": up,
        "bar_width": round(width * 0.9, 1),
        "bonafide": bars(curves["bonafide_scores"]),
        "spoof": bars(curves["spoof_scores"]),
    }


def _risk_coverage(curves: dict[str, Any], headline: dict[str, Any]) -> dict[str, Any]:
    across = Axis(0, 1, LEFT, WIDTH - RIGHT)
    up = Axis(0, max(*curves["risk"], 0.01) * 1.05, HEIGHT - BOTTOM, TOP)
    chosen = None
    if headline["risk"] is not None:
        chosen = {"x": across.at(headline["coverage"]), "y": up.at(min(headline["risk"], up.high))}
    points = " ".join(f"{across.at(c)},{up.at(r)}" for c, r in zip(curves["coverage"], curves["risk"], strict=True))
    return {"across": across, "up": up, "points": points, "chosen": chosen}
